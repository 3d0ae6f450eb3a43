# SPDX-License-Identifier: GPL-3.0-or-later
"""An emulated Google for the lab: metadata server, token endpoints, impersonation, package repositories.

``python -m lab.emulator --state DIR ...`` runs it, ``lab.emulator.launch`` starts that as a process, and
``lab.emulator.client`` controls it: identities, grants, clock, faults, certificates. The last two need
nothing but the standard library.
"""

from __future__ import annotations

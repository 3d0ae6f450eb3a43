# SPDX-License-Identifier: GPL-3.0-or-later
"""What must hold on a machine before, with and after the collection; run by .config/molecule/config.yml."""

from __future__ import annotations

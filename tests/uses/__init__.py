# SPDX-License-Identifier: GPL-3.0-or-later
"""The three uses on machines of the lab: developer VMs, runner images, fleets; and what looks after them."""

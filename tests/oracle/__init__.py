# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests whose judge is Poetry itself: real releases of it read and change what the modules wrote."""

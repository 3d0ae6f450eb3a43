# SPDX-License-Identifier: GPL-3.0-or-later
"""The program with real tokens: 48 hours in scaled time, and every Python that it runs on."""

from __future__ import annotations

import sys
from pathlib import Path

_PROGRAM = str(Path(__file__).resolve().parents[2] / "roles" / "gar_auth" / "files")
if _PROGRAM not in sys.path:
    sys.path.insert(0, _PROGRAM)

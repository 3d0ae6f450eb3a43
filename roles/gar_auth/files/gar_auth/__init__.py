# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps access tokens for Python repositories in Google Artifact Registry fresh (program C(gar-auth))."""

from __future__ import annotations

__version__ = "0.1.0"

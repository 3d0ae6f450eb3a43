# SPDX-License-Identifier: GPL-3.0-or-later
"""Access tokens for Google Artifact Registry, handed out when a client asks: keyring backend and command."""

__version__ = "0.1.0"

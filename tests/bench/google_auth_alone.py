# SPDX-License-Identifier: GPL-3.0-or-later
"""What a mint costs at least: google-auth alone gets one access token for a key, over a session of requests.

Usage: python -I google_auth_alone.py KEY
"""

from __future__ import annotations

import sys

import requests
from google.auth.transport.requests import Request
from google.oauth2 import service_account

credentials = service_account.Credentials.from_service_account_file(  # type: ignore[no-untyped-call]
    sys.argv[1], scopes=["https://www.googleapis.com/auth/cloud-platform"]
)
with requests.Session() as session:
    credentials.refresh(Request(session=session))
sys.exit(0 if credentials.token else 1)

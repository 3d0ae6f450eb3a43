# SPDX-License-Identifier: GPL-3.0-or-later
"""How Google's endpoints say no: in OAuth's form, and in that of its JSON interfaces."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

__all__ = ["ApiError", "OAuthError", "refuse"]


class OAuthError(Exception):
    """The request is answered with an OAuth error."""

    def __init__(self, error: str, description: str, *, status: int = 400) -> None:
        super().__init__(description)
        self.content: dict[str, object] = {"error": error, "error_description": description}
        self.status = status


class ApiError(Exception):
    """The request is answered with an error of Google's JSON interfaces, perhaps for a lacking permission."""

    def __init__(self, code: int, status: str, message: str, *, permission: str | None = None) -> None:
        super().__init__(message)
        error: dict[str, object] = {"code": code, "message": message, "status": status}
        if permission:
            error["details"] = [
                {
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": "IAM_PERMISSION_DENIED",
                    "domain": "iam.googleapis.com",
                    "metadata": {"permission": permission},
                }
            ]
        self.content: dict[str, object] = {"error": error}
        self.status = code


async def refuse(request: Request, error: Exception) -> Response:
    """Answer with the error, as Starlette's handler of both kinds."""
    assert isinstance(error, (OAuthError, ApiError))
    return JSONResponse(error.content, error.status)

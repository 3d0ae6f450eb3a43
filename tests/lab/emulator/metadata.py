# SPDX-License-Identifier: GPL-3.0-or-later
"""The metadata server of a Google virtual machine (plain HTTP, link-local address)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TypeAlias, Union

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .keys import sign_identity
from .records import DEFAULT_ACCOUNT
from .tokens import TokenStore

__all__ = ["HEADERS", "PROJECT", "Machine", "metadata_app"]

HEADERS = {"Metadata-Flavor": "Google", "Server": "Metadata Server for VM"}
"""Headers of every answer, errors included."""

PROJECT = "demo-project"
PROJECT_NUMBER = "123456789012"
SCOPES = ("https://www.googleapis.com/auth/cloud-platform", "https://www.googleapis.com/auth/userinfo.email")
TEXT = "application/text"
NOT_FOUND = """<!DOCTYPE html>
<html lang=en>
  <title>Error 404 (Not Found)!!1</title>
  <p><b>404.</b> <ins>That's an error.</ins>
  <p>The requested URL <code>{path}</code> was not found on this server.  <ins>That's all we know.</ins>
"""

Dynamic: TypeAlias = Callable[[Request], Response]
Node: TypeAlias = Union[str, tuple[str, ...], Dynamic, Mapping[str, "Node"]]  # noqa: UP007 - refers to itself


@dataclasses.dataclass
class Machine:
    """The virtual machine: its service accounts with their access scopes; the first is its ``default``."""

    accounts: dict[str, tuple[str, ...]] = dataclasses.field(
        default_factory=lambda: {DEFAULT_ACCOUNT: SCOPES}
    )

    def reset(self) -> None:
        """Attach the account that it starts with, alone."""
        self.accounts = {DEFAULT_ACCOUNT: SCOPES}


def metadata_app(tokens: TokenStore, machine: Machine) -> Starlette:
    """Build the server; ``tokens`` is asked for the machine's current tokens at each request."""

    def account(email: str, *, default: bool) -> Node:
        def token(request: Request) -> Response:
            current = tokens.current(email)
            request.scope["lab.entry"].identity = email
            content = {
                "access_token": current.value,
                "expires_in": tokens.remaining(current),
                "token_type": "Bearer",
            }
            return JSONResponse(content)

        def identity(request: Request) -> Response:
            audience = request.query_params.get("audience")
            if not audience:
                return Response("non-empty audience parameter required\n", 400, media_type="text/html")
            return Response(sign_identity(email=email, audience=audience), media_type="text/html")

        return {
            "aliases": ("default",) if default else (),
            "email": email,
            "identity": identity,
            "scopes": machine.accounts[email],
            "token": token,
        }

    def tree() -> Node:
        attached = [*machine.accounts]
        accounts = {email: account(email, default=email == attached[0]) for email in attached}
        first = {"default": accounts[attached[0]]} if attached else {}
        return {
            "instance": {
                "id": "4242424242424242424",
                "name": "dev-vm",
                "service-accounts": {**first, **accounts},
                "zone": f"projects/{PROJECT_NUMBER}/zones/europe-west1-b",
            },
            "project": {"numeric-project-id": PROJECT_NUMBER, "project-id": PROJECT},
            "universe": {"universe-domain": "googleapis.com"},
        }

    async def value(request: Request) -> Response:
        if request.headers.get("metadata-flavor") != "Google" or "x-forwarded-for" in request.headers:
            return Response("Missing required header: Metadata-Flavor: Google\n", 403, HEADERS, "text/html")
        node = tree()
        for part in filter(None, request.path_params["path"].split("/")):
            if not isinstance(node, Mapping) or part not in node:
                return Response(NOT_FOUND.format(path=request.url.path), 404, HEADERS, "text/html")
            node = node[part]
        response = node(request) if callable(node) else _render(node, request)
        response.headers.update(HEADERS)
        return response

    async def root(request: Request) -> Response:
        return Response("computeMetadata/\n", 200, HEADERS, TEXT)

    async def missing(request: Request, error: Exception) -> Response:
        return Response(NOT_FOUND.format(path=request.url.path), 404, HEADERS, "text/html")

    routes = [Route("/", root), Route("/computeMetadata/v1{path:path}", value)]
    return Starlette(routes=routes, exception_handlers={404: missing})


def _render(node: Node, request: Request) -> Response:
    if (
        request.query_params.get("recursive", "").lower() == "true"
        or request.query_params.get("alt") == "json"
    ):
        return JSONResponse(_recursive(node))
    if isinstance(node, str):
        return Response(node, media_type=TEXT)
    if isinstance(node, Mapping):
        lines = [f"{name}/" if isinstance(child, Mapping) else name for name, child in node.items()]
    else:
        lines = list(node) if isinstance(node, tuple) else []
    return Response("".join(f"{line}\n" for line in lines), media_type=TEXT)


def _recursive(node: Node) -> object:
    """Return the subtree without what is made on demand, in the camel case that Google uses for it."""
    if not isinstance(node, Mapping):
        return node
    return {_camel(name): _recursive(child) for name, child in node.items() if not callable(child)}


def _camel(name: str) -> str:
    first, *rest = [name] if "@" in name else name.split("-")
    return first + "".join(word.capitalize() for word in rest)

# SPDX-License-Identifier: GPL-3.0-or-later
"""A Python repository with the manners of Google's Artifact Registry (LOCATION-python.pkg.dev)."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import hashlib
import html
import re
import secrets
from pathlib import Path

from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from .keys import Accounts
from .tokens import TokenStore

__all__ = ["Repositories", "index_app"]

USER = "oauth2accesstoken"
KEY_USER = "_json_key_base64"
HOST_SUFFIX = "-python.pkg.dev"
UNAUTHENTICATED = "The request does not have valid authentication credentials."
PROHIBITED = "Request is prohibited by organization's policy."
NOT_FOUND = "Requested entity was not found."
EXISTS = "requested entity already exists"
SAFE_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
DISTRIBUTION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]*\.(whl|tar\.gz|zip)")
PERMISSIONS = ("upload", "download")
DIGESTS = ("sha256", "md5")


@dataclasses.dataclass
class Repositories:
    """The repositories below ``root`` (PROJECT/REPO/NAME/FILE), and who is denied what there.

    With ``perimeter`` set, the callers are outside a service perimeter that all repositories are in.
    """

    root: Path
    denied: dict[str, set[str]] = dataclasses.field(default_factory=dict)
    perimeter: bool = False

    def create(self, name: str) -> None:
        """Make the repository PROJECT/REPO if it is not there; raises ValueError for any other form."""
        parts = name.split("/")
        if len(parts) != 2 or not all(SAFE_NAME.fullmatch(part) for part in parts):
            raise ValueError(
                f"found the repository {name!r}, need PROJECT/REPO in lower case, e.g. demo-project/python"
            )
        self.root.joinpath(*parts).mkdir(parents=True, exist_ok=True)

    def find(self, project: str, repository: str) -> Path | None:
        """Return the repository's directory, or None if there is no such repository."""
        if not (SAFE_NAME.fullmatch(project) and SAFE_NAME.fullmatch(repository)):
            return None
        directory = self.root / project / repository
        return directory if directory.is_dir() else None

    def deny(self, identity: str, permission: str) -> None:
        """Refuse the identity to ``upload`` or ``download`` from now on."""
        if permission not in PERMISSIONS:
            raise ValueError(f"found the permission {permission!r}, need one of {', '.join(PERMISSIONS)}")
        self.denied.setdefault(identity, set()).add(permission)

    def allows(self, identity: str, permission: str) -> bool:
        """Tell whether the identity may ``upload`` or ``download``."""
        return permission not in self.denied.get(identity, ())


class _RequestError(Exception):
    """The request is answered with an error status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


def index_app(tokens: TokenStore, accounts: Accounts, repositories: Repositories) -> Starlette:
    """Build the index: every request needs an access token that is valid now, or a registered key."""
    index = _Index(tokens, accounts, repositories)
    base = "/{project}/{repository}"
    routes = [
        Route(base, index.upload, methods=["POST"]),
        Route(f"{base}/", index.upload, methods=["POST"]),
        Route(f"{base}/simple", index.packages),
        Route(f"{base}/simple/", index.packages),
        Route(f"{base}/simple/{{name}}", index.package),
        Route(f"{base}/simple/{{name}}/", index.package),
        Route(f"{base}/{{name}}/{{file}}", index.download),
        Route("/{rest:path}", index.anything),
    ]
    return Starlette(routes=routes, exception_handlers={_RequestError: _refuse})


@dataclasses.dataclass(frozen=True)
class _Index:
    """The handlers of the routes."""

    tokens: TokenStore
    accounts: Accounts
    repositories: Repositories

    async def packages(self, request: Request) -> Response:
        directory = self._enter(request, "download")
        return _page("Simple Index", {f"{path.name}/": path.name for path in sorted(directory.iterdir())})

    async def package(self, request: Request) -> Response:
        directory = self._enter(request, "download")
        project, repository, name = (request.path_params[key] for key in ("project", "repository", "name"))
        files = sorted((directory / name).glob("[!.]*")) if _normal(name) == name else []
        if not files:
            raise _RequestError(404, NOT_FOUND)
        base = f"/{project}/{repository}/{name}"
        links = {f"{base}/{file.name}#sha256={_sha256(file)}": file.name for file in files}
        return _page(f"Links for {name}", links)

    async def download(self, request: Request) -> Response:
        directory = self._enter(request, "download")
        name, file = request.path_params["name"], request.path_params["file"]
        path = directory / name / file
        if _normal(name) != name or not DISTRIBUTION.fullmatch(file) or not path.is_file():
            raise _RequestError(404, NOT_FOUND)
        return FileResponse(path, media_type="application/octet-stream")

    async def upload(self, request: Request) -> Response:
        directory = self._enter(request, "upload")
        async with request.form() as form:
            content = form.get("content")
            if form.get(":action") != "file_upload" or not isinstance(content, UploadFile):
                raise _RequestError(400, "need the fields ':action' (file_upload) and 'content' (a file)")
            data, file = await content.read(), content.filename or ""
            name = _normal(str(form.get("name", "")))
            digests = {algorithm: form.get(f"{algorithm}_digest") for algorithm in DIGESTS}
        if not name or not DISTRIBUTION.fullmatch(file) or not _normal(file).startswith(f"{name}-"):
            raise _RequestError(400, f"invalid file name {file!r} for the package {name!r}")
        for algorithm, digest in digests.items():
            if digest and digest != hashlib.new(algorithm, data, usedforsecurity=False).hexdigest():
                raise _RequestError(400, f"{algorithm}_digest does not match the content")
        path = directory / name / file
        if path.exists():
            raise _RequestError(400, EXISTS)
        path.parent.mkdir(exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        partial.write_bytes(data)
        partial.replace(path)
        return Response(status_code=200)

    async def anything(self, request: Request) -> Response:
        self._authenticate(request)
        raise _RequestError(404, NOT_FOUND)

    def _enter(self, request: Request, permission: str) -> Path:
        """Return the directory of the addressed repository if the caller may use it."""
        identity = self._authenticate(request)
        project, repository = request.path_params["project"], request.path_params["repository"]
        if self.repositories.perimeter:
            raise _RequestError(
                403, f"{PROHIBITED} vpcServiceControlsUniqueIdentifier: {secrets.token_hex(16)}"
            )
        if not self.repositories.allows(identity, permission):
            host = request.headers.get("host", "").partition(":")[0]
            location = host.removesuffix(HOST_SUFFIX) if host.endswith(HOST_SUFFIX) else "us"
            resource = f"projects/{project}/locations/{location}/repositories/{repository}"
            needed = f"artifactregistry.repositories.{permission}Artifacts"
            raise _RequestError(
                403, f'Permission "{needed}" denied on resource "{resource}" (or it may not exist)'
            )
        directory = self.repositories.find(project, repository)
        if directory is None:
            raise _RequestError(404, NOT_FOUND)
        return directory

    def _authenticate(self, request: Request) -> str:
        user, password = _credentials(request)
        if user == KEY_USER:
            identity = self.accounts.owner(password)
        else:
            identity = self.tokens.identity(password) if user == USER else None
        if identity is None:
            raise _RequestError(401, UNAUTHENTICATED)
        request.scope["lab.entry"].identity = identity
        return identity


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, _RequestError)
    challenge = {"WWW-Authenticate": f'Basic realm="{request.url.hostname}"'}
    return PlainTextResponse(error.text, error.status, challenge if error.status == 401 else None)


def _credentials(request: Request) -> tuple[str, str]:
    """Return user and password of Basic authentication; a Bearer token counts as that of an access token."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return USER, value
    try:
        user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return (user, password) if scheme.lower() == "basic" else ("", "")


def _normal(name: str) -> str:
    """Return the name as PEP 503 normalises it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _page(title: str, links: dict[str, str]) -> Response:
    anchors = "".join(
        f'<a href="{html.escape(href)}">{html.escape(text)}</a><br/>\n' for href, text in links.items()
    )
    head = f"<!DOCTYPE html><html><head><title>{html.escape(title)}</title></head>"
    return HTMLResponse(f"{head}<body>\n{anchors}</body></html>\n")

# SPDX-License-Identifier: GPL-3.0-or-later
"""C(gar-auth doctor): whether the sources of a project agree with the names and URLs that have tokens."""

from __future__ import annotations

import os
import shlex
import stat
import typing as t
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from gar_auth._toml_read import NotToml, values
from gar_auth.config import Repository
from gar_auth.doctor_poetry import address
from gar_auth.doctor_probe import index_url
from gar_auth.doctor_report import Finding, good, note, problem, public_url
from gar_auth.errors import Exit, Failure

__all__ = ["Source", "check_sources", "find", "sources"]

_FILE = "pyproject.toml"
_MAX_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Source:
    """One entry of C([[tool.poetry.source]])."""

    name: str
    url: str


def find(start: Path) -> Path | None:
    """The nearest pyproject.toml, in the directory or above it."""
    with_parents = (start, *start.parents) if start.is_absolute() else (start,)
    return next((path / _FILE for path in with_parents if os.path.lexists(path / _FILE)), None)


def sources(path: Path) -> list[Source]:
    """The sources of a project.

    :raises Failure: the file cannot be read or is no TOML (65).
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise Failure(f"{path} is not a regular file; remove it", code=Exit.UNUSABLE)
            content = stream.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise Failure(f"{path} is larger than 1 MiB; is it the project's own?", code=Exit.UNUSABLE)
        data: t.Any = values(content.decode())
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}", code=Exit.UNUSABLE) from None
    except (NotToml, UnicodeDecodeError) as error:
        what = error if isinstance(error, NotToml) else "not UTF-8"
        raise Failure(f"{path}: {what}; run: poetry check", code=Exit.UNUSABLE) from None
    for key in ("tool", "poetry", "source"):
        data = data.get(key) if isinstance(data, dict) else None
    return [
        Source(str(one["name"]), str(one["url"]))
        for one in (data if isinstance(data, list) else [])
        if isinstance(one, dict) and "name" in one and "url" in one
    ]


def check_sources(
    path: str, found: t.Sequence[Source], repositories: t.Sequence[Repository]
) -> list[Finding]:
    """Each source that is, or is meant to be, one of our repositories."""
    findings = [one for source in found for one in _source(source, repositories)]
    if findings:
        return findings
    name = repositories[0].name if repositories else "NAME"
    url = index_url(repositories[0]) if repositories else "URL"
    return [
        note("project", f"{path} has no source of ours; poetry source add --priority explicit {name} {url}")
    ]


def _source(source: Source, repositories: t.Sequence[Repository]) -> t.Iterator[Finding]:
    host, path = address(source.url)
    by_name = next((one for one in repositories if one.name == source.name), None)
    by_url = next((one for one in repositories if address(one.publish_url) == (host, path)), None)
    by_path = next((one for one in repositories if path and address(one.publish_url)[1] == path), None)
    meant = by_url or by_name or by_path
    if meant is None:
        return
    url = index_url(meant)
    remove = f"poetry source remove {shlex.quote(source.name)}"  # somebody else's text
    change = f"{remove} && poetry source add --priority explicit {meant.name} {url}"
    if by_url is None and by_name is not None and address(by_name.publish_url)[0] == host:
        yield problem(
            "project",
            f"source {source.name} is at {public_url(source.url)}",
            cause=f"the token of {by_name.name} is for {by_name.publish_url}: another repository",
            cure=change,
        )
    elif by_url is None:
        yield problem(
            "project",
            f"source {source.name} is at {public_url(source.url)}",
            cause=f"wrong host: {meant.name} is at {address(meant.publish_url)[0]}, and"
            f" {host or 'the URL names no host'}" + (" is not" if host else ""),
            cure=change,
        )
    elif by_name is not by_url:
        yield problem(
            "project",
            f"source {source.name} has the URL of {by_url.name}",
            cause=f"http-basic is bound to the name: {by_url.name} has a token, and {source.name} none",
            cure=change,
        )
    elif "@" in urlsplit(source.url).netloc:
        yield problem(
            "project",
            f"source {source.name} has a login in its URL",
            cause="Poetry takes it instead of the token; a user name alone is sent with an empty password",
            cure=change,
        )
    elif meant.index_url and not source.url.rstrip("/").endswith("/simple"):
        yield problem(
            "project",
            f"source {source.name} is at {public_url(source.url)}",
            cause="that is where packages are published; the list of packages is below simple/",
            cure=change,
        )
    else:
        yield good("project", f"source {source.name} is registered under the same name")

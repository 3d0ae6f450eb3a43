# SPDX-License-Identifier: GPL-3.0-or-later
"""C(gar-auth doctor): what keeps this user's Poetry from a token that is there. Pure."""

from __future__ import annotations

import os
import re
import shlex
import typing as t

from gar_auth.config import Repository
from gar_auth.doctor_poetry import Poetry, address, variables
from gar_auth.doctor_report import Finding, good, note, problem, public_url
from gar_auth.errors import Exit

__all__ = ["check_poetry"]

_BASIC = re.compile(r"POETRY_HTTP_BASIC_(.+)_(USERNAME|PASSWORD)")
_HIDING = re.compile(r"POETRY_REPOSITORIES_[A-Z_]+_URL")


def check_poetry(
    poetry: Poetry,
    repositories: t.Sequence[Repository],
    present: t.Mapping[str, str | None],
    *,
    again: t.Mapping[str, str],
    keyring: bool = False,
) -> list[Finding]:
    """All that can go wrong between auth.toml, or the keyring, and Poetry.

    :param present: by repository, the digest of its identity's present token; None where there is none.
    :param again: by repository, the command that writes its present token.
    :param keyring: tokens are not written; the keyring hands them out, bound to the URL.
    """
    findings = [*_disabled(poetry)] if keyring else [_directory(poetry)]
    for repository in repositories:
        if keyring:
            findings += _hiding(poetry, repository)
        else:
            findings += _entry(
                poetry, repository, repositories, present.get(repository.name), again[repository.name]
            )
        findings += _token(poetry, repository)
        findings += _registered(poetry, repository)
    if not keyring:
        findings += _other_names(poetry, repositories)
    findings += _environment(poetry, repositories)
    findings += _netrc(poetry, repositories)
    return findings


def _directory(poetry: Poetry) -> Finding:
    if poetry.reads == poetry.directory:
        return good("poetry", f"Poetry reads {poetry.directory}, where the tokens are written")
    if poetry.steered_by is None:
        return problem(
            "poetry",
            f"Poetry reads {poetry.reads}, and the tokens are written into {poetry.directory}",
            cause="gar_auth_config_dir names another directory than Poetry's own",
            cure=f"export POETRY_CONFIG_DIR={shlex.quote(poetry.directory)}, or correct gar_auth_config_dir",
        )
    return problem(
        "poetry",
        f"Poetry reads {poetry.reads}, and the tokens are written into {poetry.directory}",
        cause=f"{poetry.steered_by} is set",
        cure=f"unset {poetry.steered_by}, or set gar_auth_config_dir to {poetry.reads}",
    )


def _entry(
    poetry: Poetry,
    repository: Repository,
    repositories: t.Sequence[Repository],
    present: str | None,
    again: str,
) -> t.Iterator[Finding]:
    name = repository.name
    if name not in poetry.basic:
        twins = sorted(set(poetry.basic) - {one.name for one in repositories})
        twin = next((one for one in twins if variables(one) & variables(name)), None)
        yield problem(
            "poetry",
            f"auth.toml has no http-basic.{name}",
            cause=f"http-basic is bound to the exact name, and the entry there is for {twin}"
            if twin
            else "no token was written yet, or somebody removed the entry",
            cure=again,
            code=Exit.TEMPORARY,
        )
    elif poetry.basic[name] is None:
        yield problem(
            "poetry",
            f"http-basic.{name} in auth.toml has another user name than Artifact Registry's",
            cause="somebody has put a login of another kind there since the last token",
            cure=f"poetry config --unset http-basic.{name}; then {again}",
        )
    elif present is not None and poetry.basic[name] != present:
        yield problem(
            "poetry",
            f"http-basic.{name} in auth.toml is not the present token",
            cause="the writer has not run since, or another program has put an older file back",
            cure=again,
            code=Exit.TEMPORARY,
        )
    else:
        yield good("poetry", f"http-basic.{name} in auth.toml is {'the present' if present else 'a'} token")


def _disabled(poetry: Poetry) -> t.Iterator[Finding]:
    """Whether Poetry asks a keyring at all."""
    if not poetry.keyring or os.environ.get("POETRY_KEYRING_ENABLED", "").lower() in ("false", "0", "no"):
        in_file = not poetry.keyring
        yield problem(
            "poetry",
            "keyring.enabled is false" if in_file else "POETRY_KEYRING_ENABLED is false",
            cause="Poetry then asks no keyring, and finds no token",
            cure="poetry config --unset keyring.enabled" if in_file else "unset POETRY_KEYRING_ENABLED",
        )


def _hiding(poetry: Poetry, repository: Repository) -> t.Iterator[Finding]:
    name = repository.name
    if name in poetry.basic:
        yield problem(
            "poetry",
            f"auth.toml has http-basic.{name}",
            cause="Poetry takes it instead of the keyring's token, and nobody renews it",
            cure=f"poetry config --unset http-basic.{name}",
        )
    else:
        yield good("poetry", f"auth.toml has nothing for {name}, so Poetry asks the keyring")


def _token(poetry: Poetry, repository: Repository) -> t.Iterator[Finding]:
    name = repository.name
    if name in poetry.tokens:
        yield problem(
            "poetry",
            f"pypi-token.{name} is set",
            cause="Poetry publishes with it instead, and Artifact Registry takes no such token",
            cure=f"poetry config --unset pypi-token.{name}",
        )


def _registered(poetry: Poetry, repository: Repository) -> t.Iterator[Finding]:
    name, url = repository.name, poetry.registered.get(repository.name)
    cure = f"poetry config repositories.{name} {repository.publish_url}"
    if url is None:
        yield note("poetry", f"{name} is not registered, `poetry publish -r {name}` needs: {cure}")
    elif address(url)[0] != address(repository.publish_url)[0]:
        yield problem(
            "poetry",
            f"repositories.{name} is {public_url(url)}",
            cause=f"wrong host: {name} is at {address(repository.publish_url)[0]}",
            cure=cure,
        )
    elif address(url) != address(repository.publish_url) or "@" in url:
        yield problem(
            "poetry",
            f"repositories.{name} is {public_url(url)}",
            cause=f"that is another repository than {repository.publish_url}"
            if "@" not in url
            else "a login in the URL takes the place of the token",
            cure=cure,
        )
    elif url.rstrip("/").endswith("/simple"):
        yield problem(
            "poetry",
            f"repositories.{name} is {public_url(url)}",
            cause="that is where packages are installed from; nothing can be published there",
            cure=cure,
        )


def _other_names(poetry: Poetry, repositories: t.Sequence[Repository]) -> t.Iterator[Finding]:
    """Our repositories, registered under a name for which nobody writes a token."""
    names = {one.name for one in repositories}
    places = {address(one.publish_url): one.name for one in repositories}
    for other, url in sorted(poetry.registered.items()):
        name = places.get(address(url))
        if other in names or other in poetry.basic or name is None:
            continue
        yield problem(
            "poetry",
            f"repositories.{other} has the URL of {name}",
            cause=f"http-basic is bound to the name: {name} has a token, and {other} none",
            cure=f"poetry config --unset {shlex.quote(f'repositories.{other}')}, and use -r {name}",
        )


def _environment(poetry: Poetry, repositories: t.Sequence[Repository]) -> t.Iterator[Finding]:
    ours = {part: one.name for one in repositories for part in variables(one.name)}
    seen = set()
    for variable in sorted(poetry.variables):
        if match := _BASIC.fullmatch(variable):
            part = match[1]
            if part in ours and part not in seen:
                seen.add(part)
                yield problem(
                    "environment",
                    f"{variable} is set",
                    cause=f"Poetry takes it instead of http-basic.{ours[part]}, and nobody renews it",
                    cure=f"unset POETRY_HTTP_BASIC_{part}_USERNAME POETRY_HTTP_BASIC_{part}_PASSWORD, also in"
                    " shell profiles and CI settings",
                )
            elif part not in ours and variable in poetry.ours:
                names = ", ".join(one.name for one in repositories)
                yield problem(
                    "environment",
                    f"{variable} holds a login of Artifact Registry",
                    cause=f"it is bound to a repository named {part.lower().replace('_', '-')}, not to a"
                    f" URL; the names here: {names}",
                    cure=f"unset POETRY_HTTP_BASIC_{part}_USERNAME POETRY_HTTP_BASIC_{part}_PASSWORD",
                )
        elif variable.startswith("POETRY_PYPI_TOKEN_") and variable[18:] in ours:
            yield problem(
                "environment",
                f"{variable} is set",
                cause="Poetry publishes with it, and Artifact Registry accepts no such token",
                cure=f"unset {variable}",
            )
        elif _HIDING.fullmatch(variable):
            yield problem(
                "environment",
                f"{variable} is set",
                cause="with any such variable Poetry sees none of the repositories in config.toml"
                f" ({', '.join(sorted(poetry.registered)) or 'there are none now'})",
                cure=f"unset {variable}, and register the repository: poetry config repositories.NAME URL",
            )


def _netrc(poetry: Poetry, repositories: t.Sequence[Repository]) -> t.Iterator[Finding]:
    if poetry.netrc_damaged:
        yield note("netrc", f"{poetry.netrc} cannot be parsed, so nobody uses it")
    hosts = sorted({address(one.publish_url)[0].partition(":")[0] for one in repositories})
    for host in hosts:
        entry = next((one for one in (host, "default") if one in poetry.netrc_hosts), None)
        if entry:
            line = "default" if entry == "default" else f"machine {host}"
            yield problem(
                "netrc",
                f"{poetry.netrc} has an entry for {host}" + (" (default)" if entry == "default" else ""),
                cause="Poetry before 2.3.3 sends it instead of the token; later ones where there is no token",
                cure=f"remove the entry `{line}` from {poetry.netrc}",
            )

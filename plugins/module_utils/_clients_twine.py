# SPDX-License-Identifier: GPL-3.0-or-later
"""What a .pypirc needs for C(twine upload -r NAME), and how it is taken out again. Pure."""

from __future__ import annotations

import typing as t

from . import _clients_ini as ini
from ._clients_urls import USER, is_publish_url, same_url

if t.TYPE_CHECKING:
    from ._validate import Repository

__all__ = ["edit", "warnings"]

_DISTUTILS, _SERVERS = "distutils", "index-servers"
#: What twine takes where no index-servers are named.
_DEFAULTS = ["pypi", "testpypi"]
_RESERVED = ("DEFAULT", _DISTUTILS, "server-login", *_DEFAULTS)


def edit(text: str, repositories: t.Sequence[Repository], *, present: bool, purge: bool) -> str:
    """The text with the repositories' sections, or without them.

    :param text: ends with a line break, or is empty.
    :param purge: also without those of ours that are not among the repositories.
    :raises ini.IniProblem: the user has something else there.
    """
    urls = {one.name: one.publish_url for one in repositories}
    unwanted = [] if present else [*urls]
    if purge:
        unwanted += [name for name in ini.scan(text) if name not in urls and _is_ours(text, name)]
    for name in unwanted:
        text = _drop(text, name, urls.get(name))
    if not present:
        return _clean(text)
    if shared := set(ini.values(text).get("DEFAULT", {})) & {_SERVERS, *_KEYS}:
        raise ini.IniProblem(
            f"[DEFAULT] has {', '.join(sorted(shared))}; move it to the sections that need it"
        )
    for one in repositories:
        text = _add(text, one)
    return text if repositories else _clean(text)


_KEYS = ("username", "password", "repository", "ca_cert", "client_cert")


def _add(text: str, one: Repository) -> str:
    if one.name in _RESERVED:
        raise ini.IniProblem(f"[{one.name}] means something else to twine; name the repository otherwise")
    known = ini.values(text).get(one.name)
    adopted = False
    if known is not None:
        cure = f"remove the section [{one.name}], or name the repository otherwise"
        if known.get("password"):
            raise ini.IniProblem(
                f"[{one.name}] has a password, which twine would send instead of a token; {cure}"
            )
        if known.get("username", USER) != USER:
            raise ini.IniProblem(f"[{one.name}] has another username than {USER}; {cure}")
        if not same_url(known.get("repository"), one.publish_url) and not _is_ours(text, one.name):
            raise ini.IniProblem(f"[{one.name}] is another repository; {cure}")
        adopted = "username" not in known
        section = ini.scan(text)[one.name]
        if not same_url(known.get("repository"), one.publish_url):
            text = ini.set_value(text, section.options["repository"], one.publish_url)
        if adopted:
            text = ini.add_option(text, ini.scan(text)[one.name], [ini.ADDED, f"username = {USER}"])
    text = _list(text, one.name, marked=adopted)
    if known is None:
        lines = [f"repository = {one.publish_url}", f"username = {USER}"]
        text = ini.add_section(text, one.name, lines, marked=False)
    return text


def _list(text: str, name: str, *, marked: bool) -> str:
    """Name it among the index-servers."""
    option = _servers(text)
    if option is None:
        servers = [*_DEFAULTS, *([ini.ADDED] if marked else []), name]
        lines = [f"{_SERVERS} =", *(f"    {server}" for server in servers)]
        section = ini.scan(text).get(_DISTUTILS)
        if section is None:
            return ini.add_section(text, _DISTUTILS, lines, marked=True)
        return ini.add_option(text, section, [ini.ADDED, *lines])
    if name in ini.values(text)[_DISTUTILS][_SERVERS].split():
        return text
    return ini.add_item(text, option, name, marked=marked)


def _drop(text: str, name: str, url: str | None) -> str:
    """Take a repository out, as far as it is ours.

    :param url: where it uploads to, if it is declared; needed for other hosts.
    """
    section = ini.scan(text).get(name)
    if name in _RESERVED or (section and not _is_ours(text, name, url)):
        return text
    adopted = section is not None and section.options["username"].marked
    if section and adopted:
        text = ini.drop_option(text, section.options["username"])
    elif section:
        for key in ("repository", "username"):
            text = ini.drop_option(text, ini.scan(text)[name].options[key])
        section = ini.scan(text)[name]
        text = text if section.options else ini.drop_section(text, section)
    option = _servers(text)
    return ini.drop_item(text, option, name.__eq__, only_marked=adopted) if option else text


def _clean(text: str) -> str:
    """The text without the list of servers that we made, where nothing but twine's own is left in it."""
    option = _servers(text)
    section = ini.scan(text).get(_DISTUTILS)
    if option and section and ini.values(text)[_DISTUTILS][_SERVERS].split() == _DEFAULTS:
        text = ini.drop_option(text, option) if option.marked or section.marked else text
        section = ini.scan(text)[_DISTUTILS]
    if section and section.marked and not any(_is_ours(text, name) for name in ini.scan(text)):
        text = ini.drop_section(text, section)
    return text


def _servers(text: str) -> ini.Option | None:
    section = ini.scan(text).get(_DISTUTILS)
    return section.options.get(_SERVERS) if section else None


def _is_ours(text: str, name: str, url: str | None = None) -> bool:
    """Whether the section uploads to Artifact Registry, or that URL, with a token from the keyring."""
    options = ini.values(text).get(name, {})
    place = options.get("repository", "")
    return (
        (is_publish_url(place) or same_url(place, url))
        and options.get("username") == USER
        and "password" not in options
    )


def warnings(text: str) -> list[str]:
    """What in the file keeps twine from asking the keyring."""
    if not ini.values(text).get("server-login", {}).get("password"):
        return []
    return ["[server-login] has a password, which twine sends to every repository; move it to [pypi]"]

# SPDX-License-Identifier: GPL-3.0-or-later
"""What a pip.conf needs so that pip asks the C(keyring) command, and how it is taken out again. Pure."""

from __future__ import annotations

import typing as t

from . import _clients_ini as ini
from ._clients_urls import index_of, is_ours, same_url

if t.TYPE_CHECKING:
    from ._validate import Repository

__all__ = ["edit", "warnings"]

_URLS, _PROVIDER = "extra-index-url", "keyring-provider"
_LINE = f"{_PROVIDER} = subprocess"


def edit(text: str, repositories: t.Sequence[Repository], *, present: bool, purge: bool) -> str:
    """The text with the repositories' indexes, or without them.

    :param text: ends with a line break, or is empty.
    :param purge: also without those of ours that are not among the repositories.
    :raises ini.IniProblem: another section would be in the way.
    """
    urls = list(dict.fromkeys(index_of(one) for one in repositories if one.index_url))
    text = _drop(text, urls, listed=not present, others=purge)
    if present and urls:
        text = _add(text, urls)
    return _clean(text)


def _add(text: str, urls: t.Sequence[str]) -> str:
    sections = ini.scan(text)
    default = sections.get("DEFAULT")
    if "global" not in sections:
        if default and default.options:
            raise ini.IniProblem("there is a [DEFAULT] and no [global]; rename it to [global]")
        lines = [_LINE, f"{_URLS} =", *(f"    {url}" for url in urls)]
        return ini.add_section(text, "global", lines, marked=True)
    for key in (_PROVIDER, _URLS):
        if _name(default, key):
            raise ini.IniProblem(f"[DEFAULT] has {key}; move it to [global]")
    provider = _find(text, _PROVIDER)
    if provider is None:
        text = ini.add_option(text, sections["global"], [ini.ADDED, _LINE])
    elif ini.values(text)["global"][provider.key] != "subprocess":
        text = ini.substitute(text, provider, f"{provider.key} = subprocess")
    if _find(text, _URLS) is None:
        lines = [f"{_URLS} =", *(f"    {url}" for url in urls)]
        return ini.add_option(text, ini.scan(text)["global"], lines)
    for url in urls:
        option = _find(text, _URLS)
        if option and not any(same_url(url, known) for known in _urls(text)):
            text = ini.add_item(text, option, url)
    return text


def _drop(text: str, urls: t.Sequence[str], *, listed: bool, others: bool) -> str:
    def goes(url: str) -> bool:
        if any(same_url(url, one) for one in urls):
            return listed
        return others and is_ours(url)

    option = _find(text, _URLS)
    return ini.drop_item(text, option, goes) if option else text


def _clean(text: str) -> str:
    """The text without what only served indexes of ours, where none is left."""
    if any(map(is_ours, _urls(text))):
        return text
    section = ini.scan(text).get("global")
    if section is None:
        return text
    provider = _find(text, _PROVIDER)
    if provider and ini.values(text)["global"][provider.key] == "subprocess":
        ours = provider.marked or ini.was_replaced(text, provider) or section.marked
        text = ini.drop_option(text, provider) if ours else text
    section = ini.scan(text)["global"]
    return ini.drop_section(text, section) if section.marked else text


def _urls(text: str) -> list[str]:
    option = _find(text, _URLS)
    return ini.values(text)["global"][option.key].split() if option else []


def _name(section: ini.Section | None, wanted: str) -> str | None:
    """The option's key as it is written: pip takes C(_) for C(-), and the last one of several."""
    found = [key for key in (section.options if section else ()) if _normalised(key) == wanted]
    return found[-1] if found else None


def _normalised(key: str) -> str:
    name = key.replace("_", "-")
    return name[2:] if name.startswith("--") else name


def _find(text: str, wanted: str) -> ini.Option | None:
    section = ini.scan(text).get("global")
    name = _name(section, wanted)
    return section.options[name] if section and name else None


def warnings(text: str) -> list[str]:
    """What in the file keeps pip from using the indexes."""
    found: list[str] = []
    for name, section in ini.scan(text).items():
        for wanted in (_URLS, _PROVIDER):
            key = _name(section, wanted)
            if name in ("install", "download", "wheel", "lock") and key:
                if wanted == _PROVIDER and ini.values(text)[name][key] == "subprocess":
                    continue
                found.append(f"[{name}] has {wanted}, which pip {name} takes instead of that of [global]")
    return found

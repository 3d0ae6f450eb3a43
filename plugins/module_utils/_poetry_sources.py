# SPDX-License-Identifier: GPL-3.0-or-later
"""The sources of a Poetry project: what was declared, what its pyproject.toml holds, what it should hold.

Pure; C(_poetry_sources_edit.py) brings the plan into the text. The rules are those of Poetry 1.8 to 2.5 (its
C(Factory.create_pool) and C(RepositoryPool)): names are equal without regard to case, a slash at the end of a
URL means nothing, a source without C(priority) is a primary one, and PyPI has no URL.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from ._toml_read import NotToml, values
from ._validate import InvalidInput, Problem, parse_repositories, redact

__all__ = [
    "Entry",
    "Source",
    "SourcesProblem",
    "Table",
    "effective",
    "orphans",
    "parse_sources",
    "plan",
    "read",
]

_DEPRECATED = ("default", "secondary")  # keys of Poetry 1.8, which Poetry 2 refuses
_PLACE = ("project", "location", "repository", "url")
_ANYWHERE = {"project": "my-project", "location": "europe-west1", "repository": "python"}

Table = dict[str, t.Any]


class SourcesProblem(Exception):
    """The text is no Poetry project's, or cannot or must not be changed so; the message names the cure."""


@dataclass(frozen=True)
class Source:
    """A declared source; what is None stays as the project has it."""

    name: str
    url: str | None = None
    priority: str | None = None


@dataclass(frozen=True)
class Entry:
    """One table of the text after the edit, or one that is taken out of it."""

    values: Table
    #: Its number among the tables before the edit; None: a new one.
    origin: int | None
    kept: bool = True


def parse_sources(
    declared: t.Any, *, present: bool, allow_other_hosts: bool = False, variable: str = "sources"
) -> list[Source]:
    """Check declared sources and derive their index URLs.

    :param declared: list of mappings as for C(parse_repositories), with C(priority); a name alone is enough
        for PyPI, for a source that the project has already, and for a removal.
    :raises InvalidInput: with every problem found.
    """
    problems: list[Problem] = []
    repositories = declared
    if isinstance(declared, list):
        repositories = [
            _as_repository(item, number, f"{variable}[{number}]", present=present, problems=problems)
            for number, item in enumerate(declared)
        ]
        if sum(_is_pypi(item) for item in declared) > 1:
            problems.append(Problem(variable, "PyPI a second time", "each source once"))
    try:
        parsed = parse_repositories(
            repositories, variable=variable, allow_other_hosts=allow_other_hosts, allow_empty=not present
        )
    except InvalidInput as error:
        raise InvalidInput([*problems, *error.problems]) from None
    if problems:
        raise InvalidInput(problems)
    sources: list[Source] = []
    for item, repository in zip(declared, parsed):
        located = present and any(item.get(key) is not None for key in _PLACE)
        name = "PyPI" if _is_pypi(item) else repository.name
        url = (repository.index_url or item["url"]) if located else None
        sources.append(Source(name, url, item.get("priority")))
    return sources


def _as_repository(item: t.Any, number: int, path: str, *, present: bool, problems: list[Problem]) -> t.Any:
    """What the validator of repositories is to check."""
    if not isinstance(item, dict):
        return item
    given = {key: value for key, value in item.items() if value is not None and key != "priority"}
    located = sorted(given.keys() & set(_PLACE))
    if _is_pypi(item):
        if located and present:
            allowed = "PyPI with a priority only: Poetry knows its URL"
            example = "{name: PyPI, priority: primary}"
            problems.append(Problem(path, f"PyPI with {', '.join(located)}", allowed, example))
        return {"name": f"PyPI.{number}", **_ANYWHERE}
    if not located or not present:
        return {"name": given.get("name"), **_ANYWHERE}
    if isinstance(given.get("url"), str):
        given["url"] = re.sub(r"/simple/?\Z", "/", given["url"])
    return given


def _is_pypi(item: t.Any) -> bool:
    return isinstance(item, dict) and _key(item) == "pypi"


def _key(table: Table) -> str:
    """What Poetry compares names by."""
    return str(table.get("name", "")).lower()


def read(text: str) -> list[Table]:
    """The tables C([[tool.poetry.source]]), in their order.

    :raises SourcesProblem: no TOML, or not a pyproject.toml that Poetry uses.
    """
    try:
        tree = values(text)
    except NotToml as error:
        raise SourcesProblem(str(error)) from error
    tool = tree.get("tool", {})
    poetry = tool.get("poetry") if isinstance(tool, dict) else tool
    if poetry is None and not isinstance(tree.get("project"), dict):
        raise SourcesProblem("neither [tool.poetry] nor [project] is there; make it a project: poetry init")
    if not isinstance(poetry, (dict, type(None))):
        raise SourcesProblem("tool.poetry is not a table; repair it")
    sources = (poetry or {}).get("source", [])
    if not isinstance(sources, list) or not all(isinstance(table, dict) for table in sources):
        raise SourcesProblem("tool.poetry.source is not a list of tables; repair it, see: poetry check")
    return sources


def plan(
    existing: t.Sequence[Table], sources: t.Sequence[Source], *, present: bool, purge: bool
) -> list[Entry]:
    """All tables as they should be, in the text's order, with those that are to go.

    Declared ones take the places that they have together, in the declared order. A new one stands before the
    next declared one that is there, or at the end. All others keep their places.

    :param purge: take out what is not declared.
    :raises SourcesProblem: a new source has no URL, or Poetry would not accept the result.
    """
    wanted = {source.name.lower(): source for source in sources}
    numbers = {key: n for n, table in reversed([*enumerate(existing)]) if (key := _key(table)) in wanted}
    entries: list[Entry] = []
    if present:
        refill = iter([key for key in wanted if key in numbers])
        for number, table in enumerate(existing):
            if number in numbers.values():
                key = next(refill)
                entries.append(Entry(_merged(existing[numbers[key]], wanted[key]), numbers[key]))
            else:
                entries.append(Entry(table, number, kept=not purge))
        place = len(entries)
        for key in reversed(wanted):
            if key in numbers:
                place = [entry.origin for entry in entries].index(numbers[key])
            else:
                entries.insert(place, Entry(_new(wanted[key]), None))
    else:
        entries = [
            Entry(table, number, kept=_key(table) not in wanted) for number, table in enumerate(existing)
        ]
    _accept([entry.values for entry in entries if entry.kept])
    return entries


def _new(source: Source) -> Table:
    pypi = source.name == "PyPI"
    if not source.url and not pypi:
        raise SourcesProblem(
            f"the source {source.name} is not there yet; give its url, or project, location and repository"
        )
    table = {"name": source.name} if pypi else {"name": source.name, "url": source.url}
    return {**table, "priority": source.priority or ("primary" if pypi else "supplemental")}


def _merged(table: Table, source: Source) -> Table:
    merged = dict(table)
    if source.name == "PyPI":
        merged.pop("url", None)
    else:
        merged["name"] = source.name  # credentials are bound to its very spelling
        if source.url and str(table.get("url", "")).rstrip("/") != source.url.rstrip("/"):
            merged["url"] = source.url
    if source.priority:
        for key in _DEPRECATED:
            merged.pop(key, None)
        if merged.get("priority", "primary") != source.priority:
            merged["priority"] = source.priority
    return merged


def _accept(tables: t.Sequence[Table]) -> None:
    """Refuse what Poetry would refuse for every command."""
    names = [_key(table) for table in tables]
    for table in tables:
        if names.count(_key(table)) > 1:
            raise SourcesProblem(f"the source {table.get('name')} is there more than once; keep one of them")
    if "pypi" in names and all(_priority(table) == "explicit" for table in tables):
        raise SourcesProblem("every source would be explicit, PyPI too; Poetry needs one that is not")


def _priority(table: Table) -> str:
    return next((key for key in _DEPRECATED if table.get(key)), str(table.get("priority", "primary")).lower())


def effective(tables: t.Iterable[Table]) -> list[dict[str, str | None]]:
    """The sources as Poetry sees them, without passwords in URLs."""
    return [
        {
            "name": str(table.get("name", "")),
            "url": redact(str(table["url"])) if "url" in table else None,
            "priority": _priority(table),
        }
        for table in tables
    ]


def orphans(before: str, after: str) -> list[str]:
    """Dependencies that name a source which the edit has removed."""
    gone = {_key(table) for table in read(before)} - {_key(table) for table in read(after)} - {"pypi"}
    found: set[str] = set()

    def walk(name: str, value: t.Any) -> None:
        if isinstance(value, list):
            for item in value:
                walk(name, item)
        elif isinstance(value, dict):
            if str(value.get("source")).lower() in gone:
                found.add(name)
            for key, item in value.items():
                walk(key, item)

    walk("", values(after).get("tool", {}).get("poetry", {}))
    return sorted(found)

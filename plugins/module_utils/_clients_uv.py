# SPDX-License-Identifier: GPL-3.0-or-later
"""What a uv.toml needs so that uv asks the C(keyring) command, and how it is taken out again. Pure."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from ._clients_ini import ADDED, REPLACED, line_break, lines_of
from ._clients_urls import index_of, is_ours, same_url
from ._toml_edit import EditFailed, in_toml, splice
from ._toml_read import NotToml, same, values
from ._toml_scan import ARRAY_TABLE, LOOSE, PAIR, TABLE, Statement, members, statements

if t.TYPE_CHECKING:
    from ._validate import Repository

__all__ = ["edit", "warnings"]

_INDEX, _PROVIDER = "index", "keyring-provider"
_LINE = f'{_PROVIDER} = "subprocess"'
#: Otherwise uv asks without a token first, and for every package again with one.
#: https://docs.astral.sh/uv/concepts/indexes/#always-authenticating; older releases ignore it
_AT_ONCE = {"authenticate": "always"}
_TOKEN = re.compile(
    r"""\"{3}(?:\\.|(?!\"{3})[^\\])*\"{3,5}|'{3}(?:(?!'{3}).)*'{3,5}|"(?:\\.|[^"\\])*"|'[^']*'|\#[^\n]*|[\[\]{}]""",
    re.DOTALL,
)
_COMMA = re.compile(r"\s*,")
_LAYOUT = (
    "the indexes are written in a way that cannot be edited safely; write each one as an [[index]] table"
)


def edit(text: str, repositories: t.Sequence[Repository], *, present: bool, purge: bool) -> str:
    """The text with the repositories' indexes, or without them.

    :param text: ends with a line break, or is empty.
    :param purge: also without those of ours that are not among the repositories.
    :raises EditFailed: it is no TOML, or the user has something else there.
    """
    try:
        before = values(text)
    except NotToml as error:
        raise EditFailed(str(error)) from error
    wanted = {one.name: index_of(one) for one in repositories if one.index_url}
    indexes = before.get(_INDEX, [])
    if not isinstance(indexes, list) or not all(isinstance(one, dict) for one in indexes):
        raise EditFailed("index is no list of tables, which uv needs; repair it")
    kept = _planned(indexes, wanted, present=present, purge=purge)
    after = {key: value for key, value in before.items() if key != _INDEX}
    after[_INDEX] = [entry for entry in kept if entry is not None]
    if present and wanted:
        text = _with_provider(text)
        after[_PROVIDER] = "subprocess"
    result = _with_indexes(text, indexes, kept)
    if not any(is_ours(entry.get("url")) for entry in kept if entry):
        result = _without_provider(result)
        after.pop(_PROVIDER, None)
        if _PROVIDER in (left := values(result)):
            after[_PROVIDER] = left[_PROVIDER]
    try:
        done = same(_comparable(values(result)), _comparable(after))
    except NotToml:
        done = False
    if not done:
        raise EditFailed(_LAYOUT)
    return result


def _comparable(tree: dict[str, t.Any]) -> dict[str, t.Any]:
    """An empty list of indexes means what none means."""
    return {key: value for key, value in tree.items() if key != _INDEX or value}


def _planned(
    indexes: t.Sequence[dict[str, t.Any]], wanted: t.Mapping[str, str], *, present: bool, purge: bool
) -> list[dict[str, t.Any] | None]:
    """The entries as they are to be, None for those to be taken out; new ones follow the old."""
    kept: list[dict[str, t.Any] | None] = []
    for entry in indexes:
        name, url = entry.get("name"), entry.get("url")
        declared = wanted.get(name) if isinstance(name, str) else None
        if declared is None:
            kept.append(None if purge and is_ours(url) else entry)
        elif not is_ours(url) and not same_url(url, declared):
            if present:
                raise EditFailed(
                    f"the index {name} is there already with another URL;"
                    " remove it, or name the repository otherwise"
                )
            kept.append(entry)
        elif not present:
            kept.append(None)
        else:
            kept.append(entry if same_url(url, declared) else {**entry, "url": declared})
    there = {entry.get("name") for entry in kept if entry}
    if present:
        kept += [{"name": name, "url": url, **_AT_ONCE} for name, url in wanted.items() if name not in there]
    return kept


@dataclass(frozen=True)
class _Span:
    """Where an entry stands, and where the value of its C(url)."""

    start: int
    end: int
    url: tuple[int, int]


def _with_indexes(
    text: str, indexes: t.Sequence[dict[str, t.Any]], kept: t.Sequence[dict[str, t.Any] | None]
) -> str:
    array = next((one for one in statements(text) if one.kind == PAIR and one.path == (_INDEX,)), None)
    if array and _header_before(text, array):
        array = None  # a key of that name in some table
    spans = _elements(text, array) if array else list(_tables(text))
    if len(spans) != len(indexes):
        raise EditFailed(_LAYOUT)
    new = [entry for entry in kept[len(indexes) :] if entry]
    places: list[tuple[int, int, str]] = []
    for number, (span, entry) in enumerate(zip(spans, kept)):
        if entry is None:
            places.append((*_gap(text, spans, kept, number, inline=array is not None), ""))
        elif not same(entry, indexes[number]):
            places.append((*span.url, in_toml(entry["url"])))
    end = line_break(text)
    if array:
        behind = next(
            (span.end for span, entry in zip(reversed(spans), reversed(kept[: len(spans)])) if entry), 0
        )
        inside = ", ".join(map(in_toml, new))
        if new and behind:
            places.append((behind, behind, f", {inside}"))
        elif new:
            places.append((array.value + 1, array.value + 1, inside + (", " if spans else "")))
        return splice(text, places)
    text = splice(text, places)
    for entry in new:
        lines = [f"[[{_INDEX}]]", *(f"{key} = {in_toml(value)}" for key, value in entry.items())]
        text += (end if text else "") + "".join(f"{line}{end}" for line in lines)
    return text


def _header_before(text: str, statement: Statement) -> bool:
    return any(one.kind in (TABLE, ARRAY_TABLE) and one.start < statement.start for one in statements(text))


def _gap(
    text: str,
    spans: t.Sequence[_Span],
    kept: t.Sequence[dict[str, t.Any] | None],
    number: int,
    *,
    inline: bool,
) -> tuple[int, int]:
    """What to take out with an entry: a blank line above its table, or one comma."""
    span = spans[number]
    if not inline:
        above = lines_of(text[: span.start])
        blank = above[-1] if above and not above[-1].strip() else ""
        return span.start - len(blank), span.end
    if any(kept[:number]):
        return spans[number - 1].end, span.end
    if number + 1 < len(spans):
        return span.start, spans[number + 1].start
    comma = _COMMA.match(text, span.end)
    return span.start, comma.end() if comma else span.end


def _tables(text: str) -> t.Iterator[_Span]:
    """The C([[index]]) tables, from the header to the last value."""
    header: Statement | None = None
    end, url, inner = 0, (0, 0), False
    for one in statements(text):
        if one.kind in (TABLE, ARRAY_TABLE):
            inner = one.path[:1] == (_INDEX,) and len(one.path) > 1
            if inner:
                end = one.end
                continue
            if header:
                yield _Span(header.start, end, url)
            header = one if one.kind == ARRAY_TABLE and one.path == (_INDEX,) else None
            end, url = one.end, (0, 0)
        elif one.kind == PAIR:
            end = one.end
            if one.path == ("url",) and not inner:
                url = (one.value, one.value_end)
    if header:
        yield _Span(header.start, end, url)


def _elements(text: str, array: Statement) -> list[_Span]:
    """The inline tables in the array."""
    spans: list[_Span] = []
    depth = start = 0
    for token in _TOKEN.finditer(text, array.value, array.value_end):
        if token[0] in ("[", "{"):
            depth += 1
            if depth == 2:
                start = token.start()
        elif token[0] in ("]", "}"):
            depth -= 1
            if depth == 1:
                url = next((one for one in members(text, start) if one.path == ("url",)), None)
                spans.append(_Span(start, token.end(), (url.value, url.end) if url else (0, 0)))
    return spans


def _provider(text: str) -> tuple[int, int, int] | None:
    """Start and end of its statement, and where its value starts."""
    for one in statements(text):
        if one.kind in (TABLE, ARRAY_TABLE):
            return None
        if one.kind == PAIR and one.path == (_PROVIDER,):
            return one.start, one.end, one.value
    return None


def _with_provider(text: str) -> str:
    found = _provider(text)
    end = line_break(text)
    if found is None:
        place = _top(text)
        return f"{text[:place]}{ADDED}{end}{_LINE}{end}{text[place:]}"
    if values(text)[_PROVIDER] == "subprocess":
        return text
    old = "".join(f"{REPLACED}{line}" for line in lines_of(text[found[0] : found[1]]))
    return f"{text[: found[0]]}{old}{_LINE}{end}{text[found[1] :]}"


def _top(text: str) -> int:
    """Where a key of the document itself goes: below the others, else below the file's head."""
    place = head = 0
    for one in statements(text):
        if one.kind in (TABLE, ARRAY_TABLE):
            return place or head
        if one.kind == PAIR:
            place = one.end
        elif one.kind == LOOSE and not text[one.start : one.end].strip():
            head = one.end
    return place or len(text)


def _without_provider(text: str) -> str:
    """The text without the C(keyring-provider) that we put in, and with what it had replaced."""
    found = _provider(text)
    if found is None or values(text)[_PROVIDER] != "subprocess":
        return text
    above = lines_of(text[: found[0]])
    if above and above[-1].strip() == ADDED:
        return "".join(above[:-1]) + text[found[1] :]
    first = len(above)
    while first and above[first - 1].startswith(REPLACED):
        first -= 1
    if first == len(above):
        return text
    return "".join([*above[:first], *(line[len(REPLACED) :] for line in above[first:])]) + text[found[1] :]


def warnings(text: str) -> list[str]:
    """What in the file keeps uv from using the indexes."""
    pip = values(text).get("pip")
    provider = pip.get(_PROVIDER, "subprocess") if isinstance(pip, dict) else "subprocess"
    if provider == "subprocess":
        return []
    return [f"[pip] has {_PROVIDER}, which uv pip takes instead of that at the top"]

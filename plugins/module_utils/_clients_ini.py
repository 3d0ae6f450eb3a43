# SPDX-License-Identifier: GPL-3.0-or-later
"""Edit an INI text as pip and twine read it (C(configparser)) by whole lines; all other bytes stay.

Each function takes a text whose last line is ended and returns the new one. A line of ours that could also
be the user's has C(ADDED) above it; what had to make room for ours stays as a comment that starts with
C(REPLACED).
"""

from __future__ import annotations

import configparser
import re
import typing as t
from dataclasses import dataclass, field

__all__ = [
    "ADDED",
    "REPLACED",
    "IniProblem",
    "Option",
    "Section",
    "add_item",
    "add_option",
    "add_section",
    "drop_item",
    "drop_option",
    "drop_section",
    "line_break",
    "lines_of",
    "scan",
    "set_value",
    "substitute",
    "values",
    "was_replaced",
]

ADDED = "# added by devbox.artifact_registry"
REPLACED = "# replaced by devbox.artifact_registry: "
_WAS_EMPTY = "# empty before devbox.artifact_registry"

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_BLANKS = re.compile(r"\s*")
_WORD = re.compile(r"\S+")


class IniProblem(Exception):
    """The text cannot be read, or not be edited; the message holds nothing of it."""


@dataclass
class Option:
    """One option with its lines; C(first) and C(last) are numbers of lines."""

    key: str
    first: int
    last: int
    #: Where the value starts in the first line.
    column: int
    indent: str
    marked: bool


@dataclass
class Section:
    """A section, or (with the name None) what comes before the first one."""

    name: str | None
    line: int
    marked: bool
    #: By lower case key, C(_) and C(-) as they are written.
    options: dict[str, Option] = field(default_factory=dict)


def values(text: str) -> dict[str, dict[str, str]]:
    """Section -> option -> value as the clients' parser reads them, C(DEFAULT) as a section like any other.

    :raises IniProblem: they would refuse the text.
    """
    parser = configparser.RawConfigParser(default_section="\n")
    try:
        parser.read_string(text.replace("\r\n", "\n").replace("\r", "\n"))
    except configparser.MissingSectionHeaderError as error:
        raise IniProblem(f"line {error.lineno} comes before the first [section]") from None
    except configparser.ParsingError as error:
        number = next((line for line, _text in error.errors), 0)
        raise IniProblem(f"line {number} is neither a [section] nor an option = value") from None
    except (configparser.DuplicateSectionError, configparser.DuplicateOptionError) as error:
        raise IniProblem(f"line {error.lineno} repeats a section or an option") from None
    except configparser.Error:  # its own message would quote the text
        raise IniProblem("it is no INI file") from None
    return {name: dict(parser.items(name)) for name in parser.sections()}


def lines_of(text: str) -> list[str]:
    """The lines with their line breaks, as universal newlines divide them."""
    return _LINE.findall(text)


def line_break(text: str) -> str:
    """The line break of the first line, else a line feed."""
    first = _LINE.match(text)
    return first[0][len(first[0].rstrip("\r\n")) :] or "\n" if first else "\n"


def scan(text: str) -> dict[str, Section]:
    """Where sections and options stand, by C(configparser)'s rules; for texts that C(values) accepts."""
    lines = lines_of(text)
    sections: dict[str, Section] = {}
    section: Section | None = None
    option: Option | None = None
    level = 0
    for number, line in enumerate(lines):
        content = line.strip()
        if not content or content[0] in "#;":
            continue
        indent = _blanks(line)
        if option and len(indent) > level:
            option.last = number
            continue
        level, option = len(indent), None
        marked = number > 0 and lines[number - 1].strip() == ADDED
        if header := configparser.RawConfigParser.SECTCRE.match(content):
            section = Section(header["header"], number, marked)
            sections[header["header"]] = section
        elif section and (pair := configparser.RawConfigParser.OPTCRE.match(content)):
            column = len(indent) + max(pair.start("value"), 0)
            key = pair["option"].lower().rstrip()
            option = section.options[key] = Option(key, number, number, column, indent, marked)
    return sections


def _blanks(line: str) -> str:
    match = _BLANKS.match(line.rstrip("\r\n"))
    return match[0] if match else ""


def _words(lines: t.Sequence[str], option: Option) -> t.Iterator[tuple[int, int, int]]:
    """Line, start and end of each word of the option's value."""
    for number in range(option.first, option.last + 1):
        start = option.column if number == option.first else 0
        if number > option.first and lines[number].strip()[:1] in ("#", ";"):
            continue
        for word in _WORD.finditer(lines[number], start):
            yield number, word.start(), word.end()


def add_section(text: str, name: str, options: t.Sequence[str], *, marked: bool) -> str:
    """Put a new section to the end, behind a blank line.

    :param options: lines without line breaks.
    """
    end = line_break(text)
    added = [ADDED] * marked + [f"[{name}]", *options]
    return text + (end if text else "") + "".join(f"{line}{end}" for line in added)


def add_option(text: str, section: Section, options: t.Sequence[str]) -> str:
    """Put lines behind the section's last option, as deeply indented as that one."""
    lines, end = lines_of(text), line_break(text)
    last = max(section.options.values(), key=lambda option: option.last, default=None)
    if last:
        position, indent = last.last + 1, last.indent
    else:  # less than what follows would make that a part of ours
        position = section.line + 1
        indent = _blanks(next((line for line in lines[position:] if _is_content(line)), ""))
    lines[position:position] = [f"{indent}{line}{end}" for line in options]
    return "".join(lines)


def _is_content(line: str) -> bool:
    return line.strip()[:1] not in ("", "#", ";")


def add_item(text: str, option: Option, item: str, *, marked: bool = False) -> str:
    """Put a word behind the others of the option's value, on a line of its own."""
    lines, end = lines_of(text), line_break(text)
    indent = _blanks(lines[option.last]) if option.last > option.first else f"{option.indent}    "
    added = [ADDED] * marked + [item]
    if not any(True for _word in _words(lines, option)):
        added.insert(0, _WAS_EMPTY)
    lines[option.last + 1 : option.last + 1] = [f"{indent}{line}{end}" for line in added]
    return "".join(lines)


def drop_item(
    text: str, option: Option, wanted: t.Callable[[str], bool], *, only_marked: bool = False
) -> str:
    """Take words out of the option's value; the option goes where none is left.

    :param wanted: whether a word is to go.
    :param only_marked: only those with C(ADDED) above them.
    """
    lines = lines_of(text)
    words = list(_words(lines, option))
    kept = len(words)
    for number, start, end in reversed(words):
        line = lines[number]
        marked = number > option.first and lines[number - 1].strip() == ADDED
        if not wanted(line[start:end]) or (only_marked and not marked):
            continue
        kept -= 1
        before, after = line[:start], line[end:]
        if number > option.first and not (before + after).strip():
            lines[number] = ""
            if marked:
                lines[number - 1] = ""
        elif before[option.column if number == option.first else 0 :].strip():
            lines[number] = before.rstrip() + after
        else:
            lines[number] = before + (after.lstrip() if after.strip() else after)
    if kept or kept == len(words):
        return "".join(lines)
    inside = range(option.first + 1, option.last + 1)
    remark = next((number for number in inside if lines[number].strip() == _WAS_EMPTY), None)
    if remark is None:
        return drop_option(text, option)
    lines[remark] = ""
    return "".join(lines)


def drop_option(text: str, option: Option) -> str:
    """Take the option out, with C(ADDED) above it; what it had replaced comes back."""
    lines = lines_of(text)
    first = option.first - option.marked
    back = first
    while back and lines[back - 1].startswith(REPLACED):
        back -= 1
    lines[back : option.last + 1] = [line[len(REPLACED) :] for line in lines[back:first]]
    return "".join(lines)


def was_replaced(text: str, option: Option) -> bool:
    """Whether the option stands in the place of another one."""
    return option.first > 0 and lines_of(text)[option.first - 1].startswith(REPLACED)


def substitute(text: str, option: Option, line: str) -> str:
    """Put a line in the place of the option, whose own lines stay as comments."""
    lines = lines_of(text)
    place = slice(option.first, option.last + 1)
    lines[place] = [f"{REPLACED}{old}" for old in lines[place]] + [f"{option.indent}{line}{line_break(text)}"]
    return "".join(lines)


def set_value(text: str, option: Option, value: str) -> str:
    """Give an option of ours another value."""
    lines = lines_of(text)
    start = lines[option.first][: option.column].rstrip()
    lines[option.first : option.last + 1] = [f"{start} {value}{line_break(text)}"]
    return "".join(lines)


def drop_section(text: str, section: Section) -> str:
    """Take a section of ours out, with one blank line above it; one that has options only loses C(ADDED)."""
    lines = lines_of(text)
    if section.options:
        del lines[section.line - section.marked : section.line]
        return "".join(lines)
    first = section.line - section.marked
    first -= first > 0 and not lines[first - 1].strip()
    del lines[first : section.line + 1]
    return "".join(lines)

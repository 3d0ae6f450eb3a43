# SPDX-License-Identifier: GPL-3.0-or-later
"""The guides in C(docs): what they show can be typed, and the messages are those that the program prints."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import yaml
from unit.messages import UNKNOWN, calls

from gar_auth.errors import Exit, Reason

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
GUIDES = sorted(DOCS.glob("*.md"))
TROUBLE = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
PROGRAM = ROOT / "roles" / "gar_auth" / "files" / "gar_auth"

# What can be typed


@pytest.mark.parametrize("path", [ROOT / "README.md", *GUIDES], ids=lambda path: str(path.name))
def test_every_link_leads_to_a_file_and_a_heading(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for link, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", text):
        target = (path.parent / link).resolve() if link else path
        name = str(target.relative_to(ROOT))
        assert target.exists(), name
        if anchor:
            assert anchor in anchors(target), f"{name}#{anchor}"


def anchors(path: Path) -> set[str]:
    """The anchors of a file's headings, as the usual renderers make them."""
    titles = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_index_has_every_guide() -> None:
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    names = {path.name for path in GUIDES if path.name != "README.md"}
    assert set(re.findall(r"^\| \[[^]]+\]\((\w+\.md)\) \| \S", index, re.MULTILINE)) == names


def snippets(path: Path, kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: str(path.name))
def test_every_snippet_of_yaml_parses(guide: Path) -> None:
    for text in snippets(guide, "yaml"):
        assert isinstance(yaml.safe_load(text), (dict, list)), text


@cache
def variables() -> frozenset[str]:
    """All that a role's argument specification or a playbook names."""
    found: set[str] = set()
    for path in ROOT.glob("roles/*/meta/argument_specs.yml"):
        for spec in yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"].values():
            found |= spec.get("options", {}).keys()
    shared = [*ROOT.glob("playbooks/*.yml"), *ROOT.glob("roles/*/defaults/main.yml")]
    for path in shared:
        found |= set(re.findall(r"\b(?:artifact_registry|rollout)_\w+", path.read_text(encoding="utf-8")))
    return frozenset(found)


@cache
def others() -> frozenset[str]:
    """What has such a name and is no variable: roles, modules and their values, and Python packages."""
    places = ("roles/*", "plugins/modules/*.py", "roles/gar_auth/files/*", "playbooks/*.yml")
    modules = [path.read_text(encoding="utf-8") for path in ROOT.glob("plugins/modules/*.py")]
    values = {value for text in modules for value in re.findall(r"V\((\w+)\)", text)}
    return frozenset(path.stem for place in places for path in ROOT.glob(place)) | values


_NAMED = re.compile(
    r"\b(?:(?:artifact_registry|gar_auth|poetry|gcloud|rollout|fleet_status)_[a-z][a-z_]*[a-z]|credential_search)\b"
)


@pytest.mark.parametrize("path", [ROOT / "README.md", *GUIDES], ids=lambda path: str(path.name))
def test_every_variable_and_module_exists(path: Path) -> None:
    named = set(_NAMED.findall(path.read_text(encoding="utf-8")))
    assert named - variables() - others() == set()


@pytest.mark.parametrize("path", [ROOT / "README.md", *GUIDES], ids=lambda path: str(path.name))
def test_every_playbook_exists(path: Path) -> None:
    named = re.findall(r"ansible-playbook devbox\.artifact_registry\.(\w+)", path.read_text(encoding="utf-8"))
    places = {f"playbooks/{name}.yml" for name in named}
    assert [place for place in sorted(places) if not (ROOT / place).exists()] == []


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: str(path.name))
def test_every_command_of_the_program_exists(guide: Path) -> None:
    named = {
        command
        for text in (
            *snippets(guide, "console"),
            *re.findall(r"`[^`\n]+`", guide.read_text(encoding="utf-8")),
        )
        for command in re.findall(r"(?:^|[`$;&] ?|sudo )gar-auth ([a-z]+)", text, re.MULTILINE)
    }
    source = (PROGRAM / "commands.py").read_text(encoding="utf-8")
    assert named <= set(re.findall(r"\bcommand\(\"(\w+)\"", source))


def test_the_readme_names_the_five_playbooks() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    names = re.findall(
        r"^\| `(\w+)` \|", readme.partition("| playbook |")[2].partition("\n\n")[0], re.MULTILINE
    )
    assert names == ["devbox", "ci_image", "fleet", "status", "teardown"]


# What the program prints


@dataclass(frozen=True)
class Printed:
    """A message of the doctor, and all forms of what it has found and of the cause."""

    place: str
    checks: frozenset[str]
    found: frozenset[str]
    causes: frozenset[str]


@dataclass(frozen=True)
class Row:
    """A row of the guide; a note has no cause."""

    checks: frozenset[str]
    found: str
    cause: str | None


def says_something(text: str) -> bool:
    """Whether there is more in it than what only a run knows."""
    return re.search(r"[a-z]{3}", text) is not None


def printed(name: str) -> list[Printed]:
    return [
        Printed(call.place, call.texts[0], call.texts[1], call.texts.get("cause", frozenset()))
        for call in calls([*sorted(PROGRAM.glob("doctor*.py")), PROGRAM / "check.py"], name)
    ]


def tables(text: str) -> Iterator[list[str]]:
    """The cells of all rows of tables, headers included."""
    for line in text.splitlines():
        if line.startswith("|") and not re.fullmatch(r"[| -]+", line):
            yield [cell.strip() for cell in line.strip("|").split(" | ")]


def rows() -> list[Row]:
    """What the guide says of the doctor: titles name the checks, an empty first cell repeats the last one."""
    found = []
    part = TROUBLE.partition("\n## What the doctor says\n")[2].partition("\n## ")[0]
    for section in part.split("\n### ")[1:]:
        title, _newline, text = section.partition("\n")
        checks = frozenset(re.findall(r"`(\w+)`", title))
        above = ""
        for cells in tables(text):
            if cells[0] in ("it prints", "note"):
                continue
            assert cells[-1], cells
            above = cells[0] or above
            found.append(Row(checks, above, cells[1] if len(cells) == 3 else None))
    return found


def matches(cell: str, texts: Iterable[str]) -> bool:
    """Whether one of the texts is what the cell shows: capitals, numbers and C(…) stand for anything."""
    parts = re.split(rf"(\b[A-Z][A-Z_]+\b|\b[0-9]+\b|{UNKNOWN})", cell.replace("`", ""))
    pattern = "".join(".*" if number % 2 else re.escape(part) for number, part in enumerate(parts))
    return any(re.fullmatch(pattern, text.replace("`", ""), re.DOTALL) for text in texts)


PROBLEMS = printed("problem")
NOTES = printed("note")
#: A state that is no problem may, by the letters of the source, stand in a problem too.
GOOD = {text for one in printed("good") for text in one.found}
ROWS = rows()


def test_the_texts_of_the_program_are_found_in_its_source() -> None:
    """What the two tests below compare with is not empty."""
    assert len(PROBLEMS) > 40
    assert len(NOTES) > 8
    causes = {cause for one in PROBLEMS for cause in one.causes}
    assert "the key is revoked, deleted or damaged: …" in causes, "through a dictionary in another function"
    assert "somebody ran `systemctl mask`: systemd does not start it, whoever asks" in causes


@pytest.mark.parametrize("one", [*PROBLEMS, *NOTES], ids=lambda one: str(one.place))
def test_every_message_of_the_doctor_is_in_the_guide(one: Printed) -> None:
    here = [row for row in ROWS if row.checks & one.checks and (row.cause is None) == (not one.causes)]
    for text in filter(says_something, one.found - GOOD):
        assert any(matches(row.found, [text]) for row in here), text
    for text in filter(says_something, one.causes):
        said = [row for row in here if row.cause is not None and matches(row.found, one.found)]
        assert any(matches(row.cause or "", [text]) for row in said), text


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row.cause or row.found)[:60])
def test_the_guide_names_only_what_the_doctor_prints(row: Row) -> None:
    there = NOTES if row.cause is None else PROBLEMS
    assert says_something(row.found + (row.cause or "")), row
    assert any(
        row.checks & one.checks
        and matches(row.found, one.found)
        and (row.cause is None or matches(row.cause, one.causes))
        for one in there
    )


def test_every_refusal_of_google_is_in_the_guide_and_no_other() -> None:
    part = TROUBLE.partition("\n## What Google refuses\n")[2].partition("\n`gar-auth status --json`")[0]
    cells = [one[0] for one in tables(part)][1:]
    texts = {
        text.partition("; ")[0]
        for call in calls([PROGRAM / "refusals.py"], "Failure")
        for text in call.texts[0]
    }
    assert [text for text in sorted(texts) if not any(matches(cell, [text]) for cell in cells)] == []
    assert [cell for cell in cells if not matches(cell, texts)] == []


def test_every_class_of_errors_is_in_the_guide() -> None:
    part = TROUBLE.partition("| `error_class` |")[2].partition("\n\n")[0]
    named = [name for cells in tables(part) for name in re.findall(r"`(\w+)`", cells[0])]
    assert sorted(named) == sorted(reason.value for reason in Reason)


def test_every_state_of_a_users_token_is_in_the_guide() -> None:
    tree = ast.parse((PROGRAM / "status.py").read_text(encoding="utf-8"))
    deciding = [one for one in tree.body if getattr(one, "name", "") in ("_compare", "_reach")]
    states = {
        node.value
        for function in deciding
        for statement in function.body  # type: ignore[attr-defined]
        if not isinstance(statement, ast.Expr)  # the docstring
        for node in ast.walk(statement)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    part = TROUBLE.partition("\n## What status says\n")[2].partition("\n## ")[0]
    assert {cells[0].strip("`") for cells in tables(part)} - {"it says"} == states


def test_every_exit_code_is_in_the_guide() -> None:
    part = TROUBLE.partition("\n## Exit codes\n")[2].partition("\n## ")[0]
    named = {int(cells[0]): cells[1] for cells in tables(part) if cells[0].isdigit()}
    assert named == {int(code): code.name.lower() for code in Exit}

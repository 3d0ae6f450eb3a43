# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of the report in a real browser: what somebody sees, clicks and reads, and that it is safe."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator
from typing import Any, Protocol

import pytest

from uses.browser import Browser, Page, launch
from uses.plays import CHECKOUT
from uses.reports import EVIL, answer, collected, page, report

PICTURES = CHECKOUT / ".build" / "status"
ROWS = "[...document.querySelectorAll('main > section > table > tbody > tr')]"
SEEN = f"{ROWS}.filter(row => row.checkVisibility())"

#: The least contrast of a text with what is behind it (WCAG 2.2, 1.4.3: 4.5 for text of an ordinary size).
CONTRAST = """(() => {
  const canvas = Object.assign(document.createElement("canvas"), {width: 1, height: 1});
  const context = canvas.getContext("2d");
  const pixel = (colours) => {
    context.clearRect(0, 0, 1, 1);
    for (const colour of colours) { context.fillStyle = colour; context.fillRect(0, 0, 1, 1); }
    return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3).map(v => v / 255);
  };
  const linear = (v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = (colours) => {
    const [red, green, blue] = pixel(colours).map(linear);
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  let worst = [99, ""];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement, words = texts.currentNode.data.trim();
    if (!words || !element.checkVisibility() || element.closest("script, title")) continue;
    const behind = [];
    for (let one = element; one; one = one.parentElement) {
      behind.unshift(getComputedStyle(one).backgroundColor);
    }
    const colour = getComputedStyle(element)[element.closest("svg") ? "fill" : "color"];
    const pair = [light([...behind, colour]), light(behind)].sort((a, b) => b - a);
    const ratio = (pair[0] + 0.05) / (pair[1] + 0.05);
    if (ratio < worst[0]) worst = [ratio, words.slice(0, 40)];
  }
  return worst;
})()"""


class Open(Protocol):
    """Opens the page of a fleet; a number is a made-up fleet of that size."""

    def __call__(
        self,
        fleet: int | dict[str, dict[str, Any]] = 200,
        *,
        scripts: bool = True,
        width: int = 1280,
        height: int = 900,
    ) -> Page: ...


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launch() as running:
        yield running


@pytest.fixture(scope="module")
def visit(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Open:
    place = tmp_path_factory.mktemp("pages")

    def open_page(
        fleet: int | dict[str, dict[str, Any]] = 200,
        *,
        scripts: bool = True,
        width: int = 1280,
        height: int = 900,
    ) -> Page:
        path = place / (f"{fleet}.html" if isinstance(fleet, int) else "own.html")
        if not isinstance(fleet, int) or not path.exists():
            hosts = collected(fleet) if isinstance(fleet, int) else fleet
            path.write_text(page(report(hosts)), encoding="utf-8")
        return browser.open(path.as_uri(), scripts=scripts, width=width, height=height)

    return open_page


def names(shown: Page) -> list[str]:
    """The hosts that are seen, in their order."""
    found = shown.run(f"{SEEN}.map(row => row.querySelector('th button')?.textContent).filter(Boolean)")
    return [str(name) for name in found]


def press(shown: Page, selector: str) -> None:
    shown.run(f"document.querySelector({selector!r}).click()")


def open_details(shown: Page) -> None:
    """Of the first ten hosts."""
    shown.run("[...document.querySelectorAll('tbody th button')].slice(0, 10).forEach(one => one.click())")


def search(shown: Page, words: str) -> None:
    shown.run("document.querySelector('#search').focus()")
    shown.run("document.querySelector('#search').select()")
    shown.call("Input.insertText", text=words)
    shown.run("new Promise(done => setTimeout(done))")


def test_the_counts_are_those_of_the_report(visit: Open) -> None:
    counts = report(collected(200))["summary"]
    shown = visit()
    texts = shown.run("[...document.querySelectorAll('.card b')].map(one => Number(one.textContent))")
    assert texts == [counts["hosts"], counts["fine"], counts["stale"], counts["failed"]]
    assert len(names(shown)) == 200


@pytest.mark.parametrize("state", ["fine", "stale", "failed"])
def test_a_count_filters_by_its_state_and_a_second_click_takes_that_back(visit: Open, state: str) -> None:
    shown = visit()
    press(shown, f".card.{state}")
    made = report(collected(200))
    assert names(shown) == [host["name"] for host in made["hosts"] if host["state"] == state]
    assert shown.run(f"document.querySelector('.card.{state}').ariaPressed") == "true"
    assert shown.run("document.querySelector('#shown').textContent") == f"{made['summary'][state]} of 200 fit"
    press(shown, f".card.{state}")
    assert len(names(shown)) == 200


def test_search_finds_names_versions_users_and_causes(visit: Open) -> None:
    fleet = {
        "one": answer(),
        "two": answer(users={"carol": {"models": "fresh"}}),
        "three": {"unreachable": True, "msg": "No route to host"},
    }
    shown = visit(fleet)
    for words, expected in (
        ("ONE", ["one"]),
        ("carol", ["two"]),
        ("no route", ["three"]),
        ("poetry 2.5.1", ["one", "two"]),
        ("", ["three", "one", "two"]),
    ):
        search(shown, words)
        assert names(shown) == expected, words
    search(shown, "nothing of that kind")
    assert shown.run("document.querySelector('#nothing').checkVisibility()")
    press(shown, "#reset")
    assert len(names(shown)) == 3


def test_a_version_shows_the_hosts_that_have_it(visit: Open) -> None:
    shown = visit()
    press(shown, "[data-search='Poetry 1.8.5']")
    expected = {
        host["name"] for host in report(collected(200))["hosts"] if host["versions"]["poetry"] == "1.8.5"
    }
    assert set(names(shown)) == expected


def test_each_column_sorts_both_ways_and_says_so(visit: Open) -> None:
    shown = visit(40)
    heads = "[...document.querySelectorAll('main > section > table > thead th')]"
    assert shown.run(f"{heads}.map(head => head.ariaSort)") == ["ascending", *["none"] * 6]
    for column in (1, 2, 3, 4, 5, 6, 0):
        for direction in ("ascending", "descending"):
            shown.run(f"{heads}[{column}].firstElementChild.click()")
            expected = ["none"] * 7
            expected[column] = direction
            assert shown.run(f"{heads}.map(head => head.ariaSort)") == expected
            cells = shown.run(
                f"{SEEN}.map(row => row.cells[{column}]).map(cell => 'v' in cell.dataset ?"
                " Number(cell.dataset.v) : (cell.querySelector('button') ?? cell).textContent.trim())"
            )
            if column < 3:
                assert cells == sorted(cells, reverse=direction == "descending")
            assert len(cells) == 40


def test_versions_sort_as_numbers(visit: Open) -> None:
    fleet = {}
    for version in ("2.10.0", "2.9.1", "1.8.5"):
        one = answer()
        fleet[version] = {**one, "stdout": one["stdout"].replace("2.5.1", version)}
    shown = visit(fleet)
    shown.run("document.querySelectorAll('thead button')[3].click()")
    assert names(shown) == ["1.8.5", "2.9.1", "2.10.0"]


def test_sorting_and_details_work_by_the_keyboard(visit: Open) -> None:
    shown = visit(12)
    shown.run("document.querySelectorAll('thead button')[1].focus()")
    shown.press("Enter", code=13, text="\r")
    assert names(shown) == sorted(names(shown))
    shown.run("document.querySelector('tbody th button').focus()")
    shown.press(" ", code=32, text=" ")
    shown.until("document.querySelector('.details')?.checkVisibility() ?? false")
    assert shown.run("document.activeElement.ariaExpanded") == "true"


def test_details_have_every_cause_with_its_cure_and_what_each_user_has(visit: Open) -> None:
    problems = [
        {"check": "index", "level": "problem", "found": f"found {one}", "cause": "why", "cure": f"do {one}"}
        for one in range(3)
    ]
    users = {"alice": {"tools": "fresh"}, "bob": {"tools": "stale"}}
    shown = visit({"web": answer(-5, code=75, doctor=problems, users=users)})
    press(shown, "tbody th button")
    text = shown.run("document.querySelector('.details').innerText")
    for words in ("found 0", "found 2", "index: why", "alice", "fresh", "bob", "stale", "expired", "3.11.2"):
        assert words in text
    cures = shown.run("[...document.querySelectorAll('.cure code')].map(one => one.textContent)")
    assert cures == ["do 0", "do 1", "do 2"]
    press(shown, "tbody th button")
    assert shown.run("document.querySelector('.details')") is None


def test_a_cure_is_copied(visit: Open) -> None:
    shown = visit({"gone": {"unreachable": True, "msg": "No route to host"}})
    press(shown, "tbody th button")
    shown.run(
        "navigator.clipboard.writeText = (words) => { window.copied = words; return Promise.resolve(); }"
    )
    press(shown, ".cure button")
    shown.until("document.querySelector('.cure button').textContent === 'Copied'")
    assert shown.run("window.copied") == "ansible gone -m ansible.builtin.ping"


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_texts_are_readable_in_light_and_dark(visit: Open, colours: str) -> None:
    shown = visit(60)
    shown.prefer(prefers_color_scheme=colours)
    shown.run(
        "document.querySelectorAll('tbody th button').forEach((one, index) => index < 8 && one.click())"
    )
    worst, text = shown.run(CONTRAST)
    assert worst >= 4.5, text


def test_colours_follow_the_system_until_somebody_chooses(visit: Open) -> None:
    shown = visit(12)
    ground = "getComputedStyle(document.body).backgroundColor"
    shown.prefer(prefers_color_scheme="light")
    light = shown.run(ground)
    shown.prefer(prefers_color_scheme="dark")
    dark = shown.run(ground)
    assert light != dark
    press(shown, "#theme")
    assert shown.run(ground) == light
    shown.call("Page.reload")
    shown.browser.wait("Page.loadEventFired")
    assert shown.run(ground) == light, "it is remembered"
    press(shown, "#theme")
    assert shown.run(ground) == dark


def test_nothing_is_loaded_and_nothing_goes_wrong(visit: Open) -> None:
    shown = visit()
    press(shown, "tbody th button")
    search(shown, "build")
    press(shown, "#theme")
    (address,) = shown.requests()
    assert address.startswith("file:///")
    assert shown.complaints() == []


def test_markup_from_hosts_is_shown_as_text_and_never_runs(visit: Open) -> None:
    problem = {"check": EVIL, "level": "problem", "found": EVIL, "cause": EVIL, "cure": EVIL}
    evil = answer(code=75, doctor=[problem], users={EVIL: {EVIL: EVIL}}, hints=[EVIL], provider=EVIL)
    shown = visit({EVIL: evil, "gone": {"unreachable": True, "msg": EVIL}})
    open_details(shown)
    search(shown, "<img")
    assert EVIL in names(shown)
    assert shown.run("document.querySelectorAll('img').length") == 0
    assert shown.run("typeof window.owned") == "undefined"
    assert EVIL in shown.run("document.querySelector('.details').innerText")
    assert len(shown.requests()) == 1
    assert shown.complaints() == []


def test_a_script_that_got_in_would_not_run(visit: Open) -> None:
    shown = visit(1)
    shown.run(
        "document.body.insertAdjacentHTML('beforeend', '<img src=\"data:,x\" onerror=\"window.owned = 1\">');"
        "const script = document.createElement('script'); script.textContent = 'window.owned = 1';"
        "document.body.append(script);"
        "new Promise(done => setTimeout(done, 50))"
    )
    assert shown.run("typeof window.owned") == "undefined"
    assert any("Content Security Policy" in words for words in shown.complaints())


def test_without_scripts_the_counts_the_plot_and_all_hosts_are_there(visit: Open) -> None:
    shown = visit(300, scripts=False)
    assert shown.run("document.querySelector('.card.fine').innerText").split()[0].isdigit()
    assert len(names(shown)) == 300
    assert shown.run("document.querySelector('noscript').innerText").startswith("Search")
    assert not shown.run("document.querySelector('#search').checkVisibility()")


def test_every_token_and_failed_host_is_in_the_plot(visit: Open) -> None:
    fleet = {"a": answer(600), "b": answer(-9, code=75), "c": answer(None, code=75), "d": {}}
    shown = visit(fleet)
    kinds = shown.run("[...document.querySelectorAll('.plot > rect')].map(one => one.className.baseVal)")
    assert sorted(kinds) == ["expired", "missing", "unknown", "valid"]
    inside = shown.run(
        "(() => { const frame = document.querySelector('.plot').getBoundingClientRect(); return "
        "[...document.querySelectorAll('.plot > rect')].map(one => one.getBoundingClientRect())"
        ".every(one => one.left >= frame.left && one.right <= frame.right + 1 && one.top >= frame.top && "
        "one.width > 5 && one.height > 1); })()"
    )
    assert inside


@pytest.mark.parametrize("width", [320, 390, 700, 1000, 1280, 1920])
def test_no_width_scrolls_sideways(visit: Open, width: int) -> None:
    shown = visit(60, width=width)
    shown.run(
        "document.querySelectorAll('tbody th button').forEach((one, index) => index < 5 && one.click())"
    )
    assert shown.run("document.documentElement.scrollWidth") <= width
    assert names(shown)


def test_print_has_all_hosts_light_and_without_controls(visit: Open) -> None:
    shown = visit(300)
    assert len(names(shown)) == 250, "more are shown when somebody asks"
    shown.prefer(media="print", prefers_color_scheme="dark")
    assert len(names(shown)) == 300
    assert shown.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not shown.run("document.querySelector('#search').checkVisibility()")
    assert base64.b64decode(shown.call("Page.printToPDF")["data"]).startswith(b"%PDF")


def test_more_than_250_hosts_are_shown_when_somebody_asks(visit: Open) -> None:
    shown = visit(300)
    assert shown.run("document.querySelector('#further').textContent") == "Show the other 50"
    press(shown, "#further")
    assert len(names(shown)) == 300
    assert not shown.run("document.querySelector('#further').checkVisibility()")


def test_5000_hosts_are_filtered_and_sorted_at_once(visit: Open) -> None:
    shown = visit(5000)
    for act in (
        "document.querySelector('.card.stale').click()",
        "document.querySelector('.card').click()",
        "document.querySelectorAll('thead button')[1].click()",
    ):
        spent = shown.run(
            f"(() => {{ const start = performance.now(); {act}; document.body.offsetHeight;"
            " return performance.now() - start; })()"
        )
        assert spent < 3000, act
    assert len(names(shown)) == 250


@pytest.mark.parametrize(
    ("fleet", "width", "colours"),
    [(1, 1280, "light"), (12, 1280, "dark"), (200, 1440, "light"), (200, 1440, "dark"), (200, 390, "light")],
)
def test_pictures_are_made_of_what_is_seen_for_people_to_look_at(
    visit: Open, fleet: int, width: int, colours: str
) -> None:
    """Whether the page is as it should be is for the tests above; how it looks, for people."""
    shown = visit(fleet, width=width, height=1000)
    shown.prefer(prefers_color_scheme=colours)
    press(shown, "tbody th button")
    path = PICTURES / f"{fleet}-hosts-{width}-{colours}.png"
    shown.shoot(path)
    assert len(names(shown)) == fleet
    assert shown.run("document.querySelector('.details').checkVisibility()")
    assert struct.unpack(">4s2I", path.read_bytes()[12:24]) == (b"IHDR", width, 1000)

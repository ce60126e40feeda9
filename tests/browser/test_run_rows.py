"""What is trained, in the run view of a real browser: seen, read aloud, narrow, dark, on paper."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from accessibility import objections
from browser.run_reader import RunReader, written
from conftest import watched_page
from run.example_events import row, scored, told

CHAPTERS = ("run-it-for-real",)

PANEL = "run-view .run-rows-slot"
LINE = "(token) => getComputedStyle(token).borderBottomStyle"


def with_rows(folder: Path, *rows: dict[str, Any]) -> Path:
    """A log that ends, whose second and third events tell of its rows."""
    path = written(folder, "rows", "--steps", "20", "--end", "finished")
    first, *rest = map(json.loads, path.read_text().splitlines())
    more = [{"kind": "rows", "step": 0, **one} for one in rows]
    events = [first, *({**first_head(first), **one} for one in more), *rest]
    lines = [json.dumps({**event, "seq": seq}) for seq, event in enumerate(events)]
    path.write_text("\n".join(lines) + "\n")
    return path


def first_head(event: dict[str, Any]) -> dict[str, Any]:
    """What every event of that log begins with."""
    return {name: event[name] for name in ("v", "run", "att", "t", "rt")}


def drop(reader: RunReader, path: Path) -> None:
    """Give the page a log from elsewhere."""
    reader.page.locator("run-list input[type=file]").set_input_files(path)
    reader.wait(lambda: reader.state["run"] == "rows", "the file")
    reader.wait_notice("finished")


@pytest.fixture(scope="module")
def opened(
    chromium: Browser, static_site: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Page]:
    with watched_page(chromium.new_context()) as page:
        drop(RunReader(page, static_site.url), with_rows(tmp_path_factory.mktemp("told"), told()))
        yield page


@pytest.fixture
def shown(opened: Page) -> Page:
    """A page that shows what is trained, on a screen."""
    opened.emulate_media(media="screen")
    return opened


def test_the_panel_stands_in_its_column_and_axe_finds_nothing(
    chromium: Browser, static_site: Any, tmp_path: Path
) -> None:
    context = chromium.new_context(bypass_csp=True)
    reader = RunReader(context.new_page(), static_site.url)
    drop(reader, with_rows(tmp_path, told(), scored()))
    summary = reader.page.locator(f"{PANEL} summary")
    summary.focus()
    reader.page.keyboard.press("Enter")
    assert "rows.jsonl:31" in reader.page.locator(PANEL).inner_text()
    assert objections(reader.page, PANEL, ("dark", 390)) == []
    context.close()


def test_trained_and_read_tokens_differ_by_their_line_and_an_end_by_its_box(shown: Page) -> None:
    token = shown.locator(f"{PANEL} .run-rows li:first-child")
    assert token.locator(".run-part-read .run-token").first.evaluate(LINE) == "dotted"
    assert token.locator(".run-part-trained .run-token").first.evaluate(LINE) == "solid"
    box = token.locator(".run-part-end .run-token").evaluate(
        "(one) => getComputedStyle(one).outline"
    )
    assert "1px" in box


def test_a_sentence_from_right_to_left_is_laid_out_so(shown: Page) -> None:
    tokens = shown.locator(f"{PANEL} .run-rows li:nth-child(2) .run-token")
    first, second = (tokens.nth(place).bounding_box() for place in (0, 1))
    assert first is not None
    assert second is not None
    assert first["x"] > second["x"]


def test_hostile_rows_turn_nothing_around_and_are_no_elements(
    page: Page, static_site: Any, tmp_path: Path
) -> None:
    evil = "<img src=x onerror=document.title='owned'>\u202eabc"
    reader = RunReader(page, static_site.url)
    drop(reader, with_rows(tmp_path, {**told(), "how": evil, "first": [row(evil, place=evil)]}))
    panel = page.locator(PANEL)
    assert "U+202E" in panel.inner_text()
    assert "\u202e" not in panel.inner_text()
    assert panel.locator("img").count() == 0
    assert page.title() != "owned"


def test_an_older_log_has_no_panel(page: Page, static_site: Any, tmp_path: Path) -> None:
    reader = RunReader(page, static_site.url)
    drop(reader, with_rows(tmp_path))
    assert page.locator(PANEL).inner_text() == ""


def test_on_paper_the_lines_below_trained_tokens_stay(shown: Page) -> None:
    shown.emulate_media(media="print")
    token = shown.locator(f"{PANEL} .run-part-trained .run-token").first
    assert token.evaluate(LINE) == "solid"
    assert shown.locator(PANEL).evaluate("(panel) => panel.scrollWidth <= panel.clientWidth")


def test_a_live_run_shows_its_rows_while_it_goes_on(page: Page, serve_site: Any) -> None:
    reader = RunReader(page, serve_site.url)
    path = with_rows(serve_site.runs, told(), scored())
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:2]))
    reader.choose("live:rows")
    reader.wait(lambda: "rows.jsonl:17" in page.locator(PANEL).inner_text(), "the rows")
    assert page.locator(f"{PANEL} summary").count() == 0
    with path.open("a") as file:
        file.write("".join(lines[2:]))
    reader.wait(lambda: page.locator(f"{PANEL} summary").count() == 1, "what θ₀ makes of them")


def test_data_that_nothing_was_trained_on_are_dropped_and_alone_in_the_view(
    page: Page, static_site: Any, tmp_path: Path
) -> None:
    file = tmp_path / "data.json"
    said = {**told(), **scored(), "file": "rows.jsonl", "model": "SmolLM2-135M"}
    file.write_text(json.dumps({**said, "held_out": {"rows": 9, "trained": 2}}))
    RunReader(page, static_site.url)
    page.locator("run-list input[type=file]").set_input_files(file)
    expect(page.locator("run-view")).to_have_attribute("data-state", "data")
    panel = page.locator(PANEL)
    expect(panel).to_contain_text("rows.jsonl, as SmolLM2-135M reads it")
    expect(panel).to_contain_text("2 examples are held out and trained as well")
    for hidden in (".run-head-slot", ".run-charts", ".run-tools", ".run-log"):
        expect(page.locator(f"run-view {hidden}").first).to_be_hidden()
    assert objections(page, "run-view") == []

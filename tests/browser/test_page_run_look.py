"""How the fine-tune stands in the page: accessible, in its column, usable with keys, unscripted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from accessibility import Look, looks, objections
from browser.page_run_reader import SHORT, PageRunReader
from conftest import StaticSite, watched_page
from unfrozen.lab.choices import PRESETS

CHAPTERS = ("forgetting",)

LIGHT: Look = ("light", 1280)
DARK: Look = ("dark", 320)


@pytest.fixture(scope="module")
def reader(chromium: Browser, static_site: StaticSite) -> Iterator[PageRunReader]:
    """A reader who has not trained yet."""
    with watched_page(chromium.new_context(bypass_csp=True)) as page:
        yield PageRunReader(page, static_site.url)


def test_axe_finds_nothing_before_a_run(reader: PageRunReader) -> None:
    assert objections(reader.page, "page-run", DARK) == []


def test_everything_is_done_with_the_keyboard(reader: PageRunReader) -> None:
    page = reader.page
    reader.choices = SHORT
    start = reader.root.locator(".page-run-start")
    start.focus()
    for _ in PRESETS:
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert reader.choices["weight_decay"] == PRESETS[-1].choices["weight_decay"]
    reader.root.locator(".page-run-settings summary").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    dial = reader.root.locator(".page-run-grid input").first
    assert dial.evaluate("(dial) => dial === document.activeElement")
    before = reader.choices["lr"]
    page.keyboard.press("ArrowLeft")
    assert reader.choices["lr"] < before
    reader.choices = SHORT
    start.focus()
    page.keyboard.press("Enter")
    reader.wait(lambda: reader.state["status"] == "finished", "a run")
    assert start.evaluate("(button) => button === document.activeElement")
    reader.root.get_by_role("button", name="Save in browser").focus()
    page.keyboard.press("Enter")
    reader.shows("Saved in this browser")
    remove = reader.root.get_by_role("button", name="Remove from browser")
    assert remove.evaluate("(button) => button === document.activeElement")
    page.keyboard.press("Enter")
    reader.shows("No longer saved")
    reader.root.locator("#page-run-prompt").focus()
    page.keyboard.press("Enter")
    reader.root.locator(".page-run-answer").first.wait_for()


def test_axe_finds_nothing_after_a_run_and_nothing_sticks_out(reader: PageRunReader) -> None:
    assert reader.train(SHORT)["ok"]
    reader.root.locator(".page-run-settings summary").click()
    reader.root.get_by_role("button", name="Ask", exact=True).click()
    reader.root.locator(".page-run-answer").first.wait_for()
    assert objections(reader.page, "page-run", LIGHT) == []
    for _ in looks(reader.page, LIGHT, DARK):
        for button in reader.root.locator("button:visible").all():
            box = button.bounding_box()
            assert box is not None
            assert box["height"] >= 24, button.inner_text()


def test_without_scripts_the_plane_and_the_presets_are_there_and_nothing_can_be_pressed(
    chromium: Browser, static_site: StaticSite
) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(static_site.url)
    root = page.locator("page-run")
    assert "needs JavaScript" in root.inner_text()
    assert root.locator(".page-run-dot-start").is_visible()
    assert root.locator("button:enabled, input:enabled").count() == 0
    assert root.locator(".chip").count() == len(PRESETS)
    context.close()

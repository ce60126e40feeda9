"""Layouts in the page: ranked when asked, one chosen sets the knobs, nothing waits for them."""

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from browser.planner_reader import SECONDS, PlannerReader
from unfrozen.frameworks.page import layouts
from unfrozen.planner.state import as_query

CHAPTERS = ("the-planner",)

SIXTEEN = {"gpu": "H100 SXM", "gpus": "16", "sharding": "zero3", "grad_accum": "4"}
ROWS = ".mp-layouts-row"
FIND = "[data-way=layouts]"


def told(state: dict[str, str], framework: str = "") -> dict[str, Any]:
    """What Python says at the end of the search."""
    found = layouts({"state": state, "framework": framework})
    while not found["done"]:
        found = layouts({"state": state, "framework": framework})
    return found


def asked(planner: PlannerReader, state: dict[str, str]) -> PlannerReader:
    """The planner of that state."""
    address = f"planner?{as_query(state)}"
    planner.page.evaluate("(address) => { location.hash = address }", address)
    planner.shows(state)
    planner.page.locator("memory-planner:not([data-waits])").wait_for()  # nothing is drawn anew
    return planner


@pytest.fixture
def sixteen(planner: PlannerReader) -> PlannerReader:
    """A planner of sixteen GPUs."""
    return asked(planner, SIXTEEN)


def ranked(page: Page) -> None:
    """Wait for the end of a search that was begun: until then, the ranking is the one so far."""
    expect(page.locator(FIND)).to_have_text("Rank the layouts", timeout=SECONDS * 1000)


def test_layouts_are_ranked_and_one_that_is_used_is_the_plan(
    sixteen: PlannerReader,
) -> None:
    page = sixteen.page
    assert page.locator(ROWS).count() == 0
    page.locator(FIND).click()
    ranked(page)
    rows = told(SIXTEEN)["rows"]
    assert page.locator(ROWS).count() == len(rows)
    assert rows[0]["label"] in page.locator(ROWS).first.inner_text()
    page.locator("[data-way=layouts-2]").click()
    sixteen.shows(rows[2]["state"])
    assert sixteen.view["verdict"]["kind"] == "yes"
    assert rows[2]["memory"] in sixteen.view["bar"]["total"]["text"]
    page.locator(f"{ROWS} .mp-tag").wait_for()
    assert page.locator(ROWS).count() == len(rows)
    assert sixteen.control("micro_batch").input_value() == rows[2]["state"].get("micro_batch", "1")


def test_the_layouts_of_a_framework_come_with_what_to_type(
    sixteen: PlannerReader,
) -> None:
    page = sixteen.page
    page.locator(FIND).click()
    page.locator(ROWS).first.wait_for(timeout=SECONDS * 1000)
    page.locator("[data-way=layouts-by]").select_option("megatron")
    fold = page.locator("[data-key=layouts-command]")
    fold.wait_for(timeout=SECONDS * 1000)
    ranked(page)
    fold.locator("summary").click()
    expected = told(SIXTEEN, "megatron")["rows"][0]["command"]
    assert fold.locator("code").text_content() == expected


def test_another_plan_ends_the_search_and_is_shown_at_once(
    sixteen: PlannerReader,
) -> None:
    page = sixteen.page
    page.locator(FIND).click()
    changed = SIXTEEN | {"seq_len": "4096"}
    sixteen.type("seq_len", "4096")
    sixteen.shows(changed)
    assert page.locator(ROWS).count() == 0
    assert page.locator(FIND).inner_text() == "Rank the layouts"


def test_what_cannot_be_held_is_reported(planner: PlannerReader) -> None:
    page = asked(planner, {"gpu": "L4"}).page
    page.locator(FIND).click()
    page.get_by_text("Nothing that fits").wait_for(timeout=SECONDS * 1000)

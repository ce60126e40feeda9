"""The one plan in the page: found when asked, used as the plan, for data of a file and a budget."""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from browser.planner_reader import SECONDS, PlannerReader
from unfrozen.planner.state import as_query
from unfrozen.project.page import plan

CHAPTERS = ("the-planner",)

EIGHT = {"gpu": "H100 SXM", "gpus": "8"}
FOUND = ".mp-first"
FIND = "[data-way=one-plan]"


def told(state: dict[str, str], framework: str = "") -> dict[str, Any]:
    """What Python says at the end of the search."""
    found = plan({"state": state, "framework": framework})
    while not found["done"]:
        found = plan({"state": state, "framework": framework})
    return found


def asked(planner: PlannerReader, state: dict[str, str]) -> PlannerReader:
    """The planner of that state."""
    address = f"planner?{as_query(state)}"
    planner.page.evaluate("(address) => { location.hash = address }", address)
    planner.shows(state)
    planner.page.locator("memory-planner:not([data-waits])").wait_for()  # nothing is drawn anew
    return planner


@pytest.fixture
def eight(planner: PlannerReader) -> PlannerReader:
    """A planner of eight GPUs."""
    return asked(planner, EIGHT)


def found(page: Page) -> None:
    """Wait for the end of a search that was begun."""
    expect(page.locator(FIND)).to_have_text("Find the plan", timeout=SECONDS * 1000)


def test_a_plan_is_found_and_is_the_plan_once_it_is_used(eight: PlannerReader) -> None:
    page = eight.page
    assert page.locator(FOUND).count() == 0
    page.locator(FIND).click()
    found(page)
    answer = told(EIGHT)
    first = page.locator(FOUND)
    assert answer["first"]["title"] in first.inner_text()
    assert first.locator("code").text_content() == answer["first"]["command"]
    assert page.locator(".mp-layouts-row").count() == len(answer["rows"])
    page.locator("[data-way=one-plan-0]").click()
    eight.shows(answer["first"]["state"])
    assert eight.view["verdict"]["kind"] in ("yes", "narrow")
    first.locator(".mp-tag").wait_for()


def test_another_plan_ends_the_search_and_a_framework_begins_one(eight: PlannerReader) -> None:
    page = eight.page
    page.locator(FIND).click()
    found(page)
    page.locator("[data-way=one-plan-by]").select_option("megatron")
    code = page.locator(f"{FOUND} code")
    expect(code).to_contain_text("pretrain_gpt.py", timeout=SECONDS * 1000)
    eight.type("seq_len", "4096")
    eight.shows(EIGHT | {"seq_len": "4096"})
    assert page.locator(FOUND).count() == 0


def test_a_press_right_after_typing_finds_the_plan_of_what_was_typed(eight: PlannerReader) -> None:
    page = eight.page
    page.evaluate(
        """([length, find]) => {
          const field = document.querySelector(length);
          field.value = "4096";
          field.dispatchEvent(new Event("input", { bubbles: true }));
          document.querySelector(find).click();
        }""",
        ["input[data-key=seq_len]:not([type=range])", FIND],
    )
    found(page)
    state = EIGHT | {"seq_len": "4096"}
    eight.shows(state)
    assert page.locator(f"{FOUND} code").text_content() == told(state)["first"]["command"]


def test_a_file_of_rows_becomes_the_readers_data(eight: PlannerReader, tmp_path: Path) -> None:
    page = eight.page
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "four letters here"}\n' * 3)
    page.locator("[data-file=tokens]").set_input_files(rows)
    eight.shows(EIGHT | {"tokens": "3 x 1 x 4"})
    assert eight.control("tokens").input_value() == "3 × 1 × 4"
    rows.write_text("{")
    page.locator("[data-file=tokens]").set_input_files(rows)
    expect(page.locator("#mp-error-tokens")).to_contain_text("rows.jsonl:1: this is not JSON")


def test_a_budget_that_is_too_small_says_what_the_cheapest_costs(eight: PlannerReader) -> None:
    asked(eight, EIGHT | {"budget": "0.01"}).page.locator(FIND).click()
    eight.page.get_by_text("the cheapest full fine-tuning costs").wait_for(timeout=SECONDS * 1000)

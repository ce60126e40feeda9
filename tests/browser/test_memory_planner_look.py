"""How the planner stands in the page: accessible and inside its column, in every state."""

import pytest
from playwright.sync_api import Browser

from accessibility import Look, objections, violations
from browser.door import door
from browser.planner_reader import PlannerReader
from conftest import StaticSite, matrix

CHAPTERS = ("the-planner",)

OPEN_ALL = "() => document.querySelectorAll('memory-planner details').forEach((d) => d.open = true)"
STATES = {
    "sharded": ("#planner?gpus=16&sharding=zero3&micro_batch=2&price=2", "live"),
    "fits": ("#planner?method=qlora&gpu=RTX+4090&checkpointing=full", "live"),
    "stale": ("#planner?seq_len=none&lora_rank=0&method=lora", "stale"),
}


@pytest.mark.parametrize("state", matrix(STATES, "sharded"))
def test_axe_finds_nothing_and_nothing_sticks_out(planner: PlannerReader, state: str) -> None:
    fragment, standing = STATES[state]
    planner.page.allowed_errors.append("Applying inline style")  # type: ignore[attr-defined]
    planner.page.evaluate("(fragment) => { location.hash = fragment }", fragment)
    planner.wait(standing)
    planner.page.locator("memory-planner:not([data-waits])").wait_for()
    planner.page.evaluate(OPEN_ALL)
    look: Look = ("dark", 320) if standing == "stale" else ("light", 1440)
    assert objections(planner.page, "memory-planner", look) == []


def test_the_list_of_models_is_accessible_while_it_is_open(planner: PlannerReader) -> None:
    planner.page.allowed_errors.append("Applying inline style")  # type: ignore[attr-defined]
    planner.control("model").click()
    assert planner.root.locator("[role=option]:visible").count() > 20
    assert violations(planner.page, "memory-planner") == []


def test_nothing_moves_when_the_planner_comes_alive(
    chromium: Browser, static_site: StaticSite
) -> None:
    heights = []
    for script in (False, True):
        context = chromium.new_context(java_script_enabled=script)
        page = context.new_page()
        page.goto(door(static_site.url, "planner"))
        planner = page.locator("memory-planner")
        planner.scroll_into_view_if_needed()
        if script:
            page.locator("memory-planner[data-standing]:not([data-standing=quiet])").wait_for()
        box = planner.bounding_box()
        assert box is not None
        heights.append(box["height"])
        context.close()
    assert abs(heights[0] - heights[1]) < 2


def test_on_paper_the_plan_is_there_and_its_controls_are_not(
    chromium: Browser, static_site: StaticSite
) -> None:
    page = chromium.new_page()
    page.emulate_media(media="print")
    page.goto(door(static_site.url, "planner"))
    assert page.locator(".mp-bar").is_visible()
    assert page.locator(".mp-verdict").is_visible()
    assert not page.locator(".mp-controls").is_visible()
    page.close()

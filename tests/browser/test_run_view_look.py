"""How the run view stands in the page: accessible and in its column, in every state and width."""

from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from accessibility import objections
from browser.door import door
from browser.run_reader import RunReader, reaches, written
from conftest import matrix

CHAPTERS = ("run-it-for-real",)

STATES = {
    "finished": ("--steps", "60", "--end", "finished"),
    "diverged": ("--steps", "60", "--nan-at", "30", "--until", "35", "--end", "failed"),
    "trainer-gone": ("--steps", "60", "--until", "25"),
}


@pytest.fixture(scope="module")
def logs(serve_site: Any) -> None:
    """A run in each state, written once."""
    for name, options in STATES.items():
        written(serve_site.runs, f"look-{name}", *options)


@pytest.mark.usefixtures("logs")
@pytest.mark.parametrize("state", matrix(STATES, "finished"))
def test_axe_finds_nothing_and_nothing_sticks_out(
    chromium: Browser, serve_site: Any, state: str
) -> None:
    context = chromium.new_context(bypass_csp=True)
    reader = RunReader(context.new_page(), serve_site.url)
    reader.choose(f"live:look-{state}")
    reader.wait_notice(state)
    reader.page.locator("run-view summary").click()
    reader.page.locator("run-view data-table table").first.wait_for()
    looks = ("light", 1280), ("dark", 320)
    assert objections(reader.page, "run-view", *looks) == []
    context.close()


@pytest.mark.usefixtures("logs")
def test_a_chart_is_read_with_the_arrow_keys(page: Page, serve_site: Any) -> None:
    reader = RunReader(page, serve_site.url)
    reader.choose("live:look-finished")
    reader.wait_notice("finished")
    chart = page.locator("run-view run-chart").first
    reaches(chart, 60)
    chart.locator(".run-stage").focus()
    page.keyboard.press("Home")
    readout = chart.locator(".run-readout")
    assert readout.inner_text().startswith("step 0 · held-out 2.610")
    page.keyboard.press("ArrowRight")
    assert readout.inner_text().startswith("step 1 · each batch ")
    page.keyboard.press("End")
    assert readout.inner_text().startswith("step 60 · ")
    page.keyboard.press("Tab")
    assert readout.inner_text() == ""


def test_without_a_runner_a_recording_is_shown_and_named(page: Page, static_site: Any) -> None:
    reader = RunReader(page, static_site.url)
    assert page.locator("runner-status").get_attribute("data-state") == "absent"
    page.locator("run-view").scroll_into_view_if_needed()
    reader.wait(lambda: reader.state["status"] == "finished", "a recording")
    reader.wait_notice("finished")
    assert page.locator("run-view .run-about").inner_text()
    assert reader.state["evals"]["general"]["delta"][-1] > 0
    page.goto(door(static_site.url, "runs"))
    recorded = page.locator("run-list tr[data-key^='recording:']").get_by_role("link")
    recorded.first.wait_for()
    titles = recorded.all_inner_texts()
    assert len(titles) >= 2
    assert len(set(titles)) == len(titles)

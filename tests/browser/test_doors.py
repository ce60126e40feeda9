"""The pages of the site: the article's figures lead to them, and the same plan or run is there."""

import pytest
from playwright.sync_api import Browser, Page, expect

from accessibility import SHORTEN, objections
from browser.decision_reader import DecisionReader
from browser.door import door
from browser.planner_reader import PlannerReader
from browser.run_reader import RunReader, written
from conftest import Server, StaticSite
from unfrozen.planner import compare_plans

CHAPTERS = ("when-full-fine-tuning-wins", "the-planner", "run-it-for-real")
ON_TOP = """() => {
  const boxes = [".mp-controls", ".mp-bar", "[data-way=one-plan]"].map((part) =>
    document.querySelector(`memory-planner ${part}`).getBoundingClientRect());
  return Math.max(...boxes.map((box) => box.bottom));
}"""

USE_AND_EDIT = """() => {
  document.querySelector(".mp-slot-plans [data-way^=plans-use]").click();
  const field = document.querySelector("memory-planner input[data-key=micro_batch]");
  field.value = 4;
  field.dispatchEvent(new Event("input", { bubbles: true }));
}"""


def test_plan_and_decision_go_from_the_article_to_their_page_and_back(
    page: Page, static_site: StaticSite
) -> None:
    page.goto(static_site.url)
    figure = PlannerReader(page)
    assert not figure.root.locator("[data-fold]").count()
    figure.root.locator("[data-preset=qlora]").click()
    figure.settle("#planner?method=qlora")
    assert "Also set: Method." in figure.root.inner_text()
    figure.root.locator(".mp-more").click()
    page.wait_for_url(f"{static_site.url}planner/#planner?method=qlora")
    whole = PlannerReader(page)
    whole.settle("#planner?method=qlora")
    assert whole.verdict == "It fits."
    whole.fold("settings")
    whole.type("lora_rank", "64")
    whole.settle("#planner?method=qlora&lora_rank=64")
    page.get_by_role("link", name="Article", exact=True).click()
    page.wait_for_url(f"{static_site.url}#&planner?method=qlora&lora_rank=64")
    PlannerReader(page).shows({"method": "qlora", "lora_rank": "64"})
    decides_on_the_page(page, static_site.url, "planner?method=qlora&lora_rank=64")


def decides_on_the_page(page: Page, url: str, plan: str) -> None:
    """Follow the article's decision to its page, and come back to what was decided and planned."""
    figure = DecisionReader(page)
    figure.control("tasks").fill("5")
    decided = f"#decision?tasks=5&{plan}"
    figure.settle(decided)
    order = figure.order
    assert not figure.root.locator(".md-checks").count()
    figure.root.get_by_role("link", name="Why this order").click()
    page.wait_for_url(f"{url}planner/#decision?tasks=5")
    whole = DecisionReader(page)
    whole.settle("#decision?tasks=5")
    assert whole.order == order
    expect(whole.root.locator(".md-checks").first).to_be_visible()
    page.go_back()
    page.wait_for_url(f"{url}{decided}")


def test_the_article_plays_a_recording_and_leads_to_all_of_it(
    page: Page, static_site: StaticSite
) -> None:
    page.clock.install()
    page.goto(static_site.url)
    page.locator("run-view").scroll_into_view_if_needed()
    figure = RunReader(page)
    figure.wait(lambda: figure.notice == "playing" and figure.brief["step"] > 0, "first step")
    played = figure.brief["step"]
    figure.wait(lambda: figure.brief["step"] > played, "later step")
    page.clock.fast_forward(8000)
    figure.poll(lambda: figure.notice == "finished", "end")
    assert not page.locator("run-view .run-tools").count()
    page.locator(".run-more").click()
    page.wait_for_url(f"{static_site.url}runs/?recording=demo.jsonl")
    whole = RunReader(page)
    whole.wait_notice("finished")
    expect(page.locator("run-chart canvas").nth(4)).to_be_attached()
    whole.choose("recording:demo-careful.jsonl")
    page.wait_for_url(f"{static_site.url}runs/?recording=demo-careful.jsonl")
    whole.wait_notice("finished")
    chosen = whole.brief["run"]
    page.reload()
    again = RunReader(page)
    again.wait(lambda: again.brief["run"] == chosen, "the chosen recording")


def test_who_wants_less_motion_is_shown_the_recording_whole(
    chromium: Browser, static_site: StaticSite
) -> None:
    page = chromium.new_context(reduced_motion="reduce").new_page()
    page.goto(static_site.url)
    page.locator("run-view").scroll_into_view_if_needed()
    figure = RunReader(page)
    seen = []
    figure.wait(lambda: seen.append(figure.notice) or figure.notice == "finished", "end")
    assert "playing" not in seen
    page.context.close()


def test_the_article_plays_a_recording_beside_a_runner_until_it_has_a_run(
    page: Page, server: Server
) -> None:
    page.goto(server.url)
    page.locator("run-view").scroll_into_view_if_needed()
    figure = RunReader(page)
    figure.poll(lambda: figure.notice == "playing", "recording")
    written(server.runs, "mine", "--steps", "3", "--end", "finished")
    figure.poll(lambda: figure.brief["run"] == "mine", "run of this machine")


def test_the_address_of_a_run_opens_it_and_its_token_leaves_the_address(
    page: Page, serve_site: Server
) -> None:
    written(serve_site.runs, "older", "--steps", "3", "--end", "finished")
    written(serve_site.runs, "newer", "--steps", "4", "--end", "finished")
    page.goto(f"{serve_site.origin}/runs/?run=older#t={serve_site.token}")
    reader = RunReader(page)
    reader.wait_notice("finished")
    assert reader.brief["run"] == "older"
    assert page.url == f"{serve_site.origin}/runs/?run=older"
    reader.choose("live:newer")
    reader.wait(lambda: reader.brief["run"] == "newer", "the other run")
    assert page.url == f"{serve_site.origin}/runs/?run=newer"


def test_controls_and_answer_are_in_one_view_and_on_a_telephone_the_answer_stays(
    planner: PlannerReader,
) -> None:
    page = planner.page
    page.set_viewport_size({"width": 1280, "height": 800})
    assert page.evaluate(ON_TOP) < 800
    page.set_viewport_size({"width": 390, "height": 844})
    page.evaluate("() => scrollTo(0, 0)")
    strip = planner.root.locator(".mp-slot-strip")
    expect(strip).to_be_in_viewport()
    expect(planner.control("model")).to_be_in_viewport()
    expect(strip).to_have_text("It does not fit. 120 GiB of 79.1 GiB")
    planner.root.locator("[data-preset=qlora]").click()
    expect(strip).to_contain_text("It fits.")
    planner.fold("settings")
    planner.control("optimizer").scroll_into_view_if_needed()
    expect(strip).to_be_in_viewport()


def test_plans_are_kept_side_by_side_in_the_address_and_back_takes_one_away(
    planner: PlannerReader,
) -> None:
    page, url = planner.page, planner.page.url.partition("#")[0]
    rows = planner.root.locator(".mp-slot-plans li")
    planner.root.get_by_role("button", name="Keep this plan").click()
    expect(rows).to_have_count(1)
    planner.root.locator("[data-preset=qlora]").click()
    expect(rows).to_have_count(2)
    expect(rows.nth(1)).to_contain_text("Method: QLoRA")
    saved = compare_plans({"plans": [""], "now": "method=qlora"})["rows"][1]["saved"]
    expect(rows.nth(1)).to_contain_text(saved)
    rows.nth(1).get_by_role("button", name="Keep").click()
    page.wait_for_url(f"{url}#planner?method=qlora&plans?plan=&plan=method%3Dqlora")
    rows.nth(0).get_by_role("button", name="Use").click()
    expect(planner.root.locator(".verdict-title")).to_have_text("It does not fit.")
    page.wait_for_url(f"{url}#planner&plans?plan=&plan=method%3Dqlora")
    again = page.context.new_page()  # the address alone
    again.goto(page.url)
    rows = again.locator("memory-planner .mp-slot-plans li")
    expect(rows).to_have_count(2)
    expect(rows.nth(0)).to_contain_text("shown")
    rows.nth(1).get_by_role("button", name="Remove").click()
    expect(rows).to_have_count(1)
    again.go_back()
    expect(rows).to_have_count(2)
    again.close()


def test_an_edit_before_a_kept_plan_is_answered_is_made_in_that_plan(
    planner: PlannerReader,
) -> None:
    planner.root.locator("[data-preset=qlora]").click()
    planner.settle("#planner?method=qlora")
    planner.root.get_by_role("button", name="Keep this plan").click()
    planner.root.locator("[data-preset]:not([data-preset=qlora]) >> nth=0").click()
    rows = planner.root.locator(".mp-slot-plans li")
    expect(rows).to_have_count(2)
    planner.page.evaluate(USE_AND_EDIT)
    planner.settle("#planner?method=qlora&micro_batch=4&plans?plan=method=qlora")


@pytest.mark.matrix  # the tests of what is on them have their own
def test_axe_finds_nothing_on_the_pages(chromium: Browser, static_site: StaticSite) -> None:
    context = chromium.new_context(bypass_csp=True)
    page = context.new_page()
    for name, last in (("planner", "memory-planner[data-standing]"), ("runs", "run-list tbody tr")):
        page.goto(door(static_site.url, name))
        page.locator(last).first.wait_for()
        page.evaluate(SHORTEN)
        assert objections(page, "html", ("light", 1280), ("dark", 390)) == [], name
    context.close()

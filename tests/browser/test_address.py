"""A plan stays in the address: through links, a reload, and Back."""

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from browser.decision_reader import DecisionReader
from browser.planner_reader import PlannerReader
from conftest import Server, StaticSite, watched_page
from unfrozen.decision import view as decided
from unfrozen.planner import view

CHAPTERS = (
    "the-memory-wall",
    "forgetting",
    "the-learning-rate",
    "when-full-fine-tuning-wins",
    "the-planner",
    "references",
)

PLAN = "planner?micro_batch=4"
STATE = {"micro_batch": "4"}
SECONDS = 30
IN_SIGHT = """(id) => {
  const { top } = document.getElementById(id).getBoundingClientRect();
  return top > -50 && top < 500;
}"""


def stands(page: Page, fragment: str, place: str = "") -> None:
    """Wait until the address ends so and, where a place is named, the reader is there."""
    for _ in range(SECONDS * 20):
        hash = page.evaluate("() => decodeURIComponent(location.hash)")
        if hash == fragment and (not place or page.evaluate(IN_SIGHT, place)):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"the address says {hash!r}, not {fragment!r}, or {place} is not in sight")


def test_a_link_brings_decision_and_plan_and_leaves_the_token_to_the_runner(
    page: Page, serve_site: Server
) -> None:
    task = "model=Qwen/Qwen3-4B&gpu=L4&gpus=2&tasks=3&learn=knowledge&want=keep&price=1.2"
    plan = "method=lora&seq_len=8192&lora_rank=64&gpus=4&sharding=zero2&unit=GB"
    link = f"#decision?{task}&planner?{plan}"
    page.goto(f"{serve_site.origin}/planner/{link}&t={serve_site.token}")
    decision, planner = DecisionReader(page), PlannerReader(page)
    decision.settle(link)
    planner.settle(link)
    assert decision.view == json.loads(json.dumps(decided(task)))
    assert decision.root.locator("[value=knowledge]").is_checked()
    assert decision.root.locator("[value=keep]").is_checked()
    assert decision.control("price").input_value() == "1.2"
    assert "Cost" in decision.root.inner_text()
    state = dict(part.split("=") for part in plan.split("&"))
    assert planner.view == json.loads(json.dumps(view(state)))
    assert planner.control("lora_rank").input_value() == "64"
    assert planner.control("sharding").input_value() == "zero2"
    assert planner.root.locator("[data-unit=GB]").get_attribute("aria-pressed") == "true"
    assert page.locator("runner-status").get_attribute("data-state") != "absent"


@pytest.fixture(scope="module")
def planner_up(chromium: Browser, static_site: StaticSite) -> Iterator[PlannerReader]:
    """The article, its planner up."""
    with watched_page(chromium.new_context()) as page:
        page.goto(static_site.url)
        reader = PlannerReader(page)
        reader.type("micro_batch", "4")
        reader.settle(f"#{PLAN}")
        yield reader


@pytest.fixture
def planned(planner: PlannerReader) -> PlannerReader:
    """A reader who has chosen four sequences."""
    planner.type("micro_batch", "4")
    planner.settle(f"#{PLAN}")
    return planner


def follow(page: Page, selector: str) -> None:
    """Press a link, wherever it is."""
    page.locator(selector).first.evaluate("(link) => link.click()")


LINKS = {
    ".toc a[href='#references']": "references",
    "a.cite[href='#ref-hu2021']": "ref-hu2021",
    ".anchor[href='#forgetting']": "forgetting",
    ".skip": "article",
    "a.note-ref": "note-1",
}


def test_a_link_leads_to_its_place_and_keeps_the_plan(planned: PlannerReader) -> None:
    page = planned.page
    for selector, place in LINKS.items():
        follow(page, selector)
        stands(page, f"#{place}&{PLAN}", "" if place == "article" else place)
        assert planned.view["state"] == STATE


def test_an_address_that_is_sent_opens_at_its_place(page: Page, static_site: StaticSite) -> None:
    page.goto(f"{static_site.url}#the-learning-rate&{PLAN}")
    stands(page, f"#the-learning-rate&{PLAN}", "the-learning-rate")


def test_back_leaves_the_place_and_then_the_plan(planned: PlannerReader) -> None:
    page = planned.page
    follow(page, ".toc a[href='#references']")
    stands(page, f"#references&{PLAN}")
    page.go_back()
    stands(page, f"#{PLAN}")
    planned.shows(STATE)
    page.go_back()
    planned.settle("")
    planned.shows({})
    page.go_forward()
    planned.shows(STATE)


def test_planner_and_decision_share_the_address(planned: PlannerReader) -> None:
    page = planned.page
    decision = DecisionReader(page)
    decision.control("tasks").fill("5")
    decision.settle(f"#decision?tasks=5&{PLAN}")
    page.go_back()
    stands(page, f"#{PLAN}")


def test_a_reload_keeps_the_plan_and_the_place(planned: PlannerReader) -> None:
    page = planned.page
    follow(page, ".toc a[href='#references']")
    stands(page, f"#references&{PLAN}", "references")
    page.reload()
    stands(page, f"#references&{PLAN}", "references")
    reader = PlannerReader(page)
    reader.wait("live")
    reader.shows(STATE)

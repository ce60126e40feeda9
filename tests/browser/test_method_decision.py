"""The decision in the page: every way to set it, and what it does when it cannot decide."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route

from accessibility import objections, violations
from browser.decision_reader import DecisionReader
from browser.door import door
from browser.planner_reader import PlannerReader
from conftest import StaticSite, matrix, watched_page
from unfrozen.decision import view
from unfrozen.decision.ranking import flips
from unfrozen.decision.task import read_task
from unfrozen.planner import glance

CHAPTERS = ("when-full-fine-tuning-wins", "the-planner")

OPEN_ALL = (
    "() => document.querySelectorAll('method-decision details').forEach((d) => d.open = true)"
)
STATES = {
    "priced": ("#decision?gpus=8&tasks=20&price=2.5&model=meta-llama/Llama-3.1-70B", "live"),
    "nothing": ("#decision?model=meta-llama/Llama-3.1-70B&gpu=RTX 4090&learn=knowledge", "live"),
    "stale": ("#decision?gpus=none", "stale"),
}


@pytest.fixture(scope="module")
def printed(chromium: Browser, static_site: StaticSite) -> Iterator[Page]:
    """The page without scripts."""
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(door(static_site.url, "planner"))
    yield page
    context.close()


@pytest.fixture(scope="module")
def baked(chromium: Browser, static_site: StaticSite) -> Iterator[DecisionReader]:
    """The decision alive, as it was baked: nobody has touched it."""
    with watched_page(chromium.new_context()) as page:
        yield DecisionReader(page, static_site.url)


def test_the_default_is_complete_without_script(printed: Page) -> None:
    found: Any = view({})
    root = printed.locator("method-decision")
    text = root.inner_text()
    assert found["title"] in text
    assert found["text"] in text
    for method in found["methods"]:
        assert method["name"] in text
        assert not [number for number in method["numbers"] if number["text"] not in text]
        assert not [flip for flip in found["flips"][method["key"]] if flip["text"] not in text]
    root.locator("summary").first.click()
    assert "gpu_runner train" in root.locator("[data-copy=full]").inner_text()
    root.locator("summary").first.click()
    assert root.locator("button:visible").count() == 0
    assert root.locator("select").first.is_disabled()
    assert "need JavaScript" in text


def test_what_turns_live_says_what_was_baked(baked: DecisionReader, printed: Page) -> None:
    words = "(result) => result.textContent"
    result = "method-decision .widget-result"
    assert baked.page.locator(result).evaluate(words) == printed.locator(result).evaluate(words)
    assert baked.root.get_attribute("data-standing") == "baked"
    assert baked.address == ""


def test_an_edit_gives_the_answer_of_the_command_line(decision: DecisionReader) -> None:
    decision.control("model").select_option("Qwen/Qwen3-4B")
    decision.control("gpu").select_option("RTX 4090")
    decision.settle("#decision?model=Qwen/Qwen3-4B&gpu=RTX+4090")
    state = {"model": "Qwen/Qwen3-4B", "gpu": "RTX 4090"}
    assert decision.view == json.loads(json.dumps(view(state)))
    assert decision.title == decision.view["title"]
    assert decision.order == [method["name"] for method in decision.view["methods"]]
    decision.root.locator("[data-slides=gpus]").focus()
    decision.page.keyboard.press("End")
    decision.settle("#decision?model=Qwen/Qwen3-4B&gpu=RTX+4090&gpus=64")
    assert decision.control("gpus").input_value() == "64"
    text = decision.root.locator("[data-slides=gpus]").get_attribute("aria-valuetext")
    assert text == "64 GPUs"


def test_a_flip_is_pressed_and_its_method_comes_first_and_back_undoes_it(
    decision: DecisionReader,
) -> None:
    assert decision.order[0] == "Full fine-tuning"
    flip = flips(read_task({}), "lora")[0]
    decision.root.locator("[data-flip^=lora]").first.click()
    decision.shows("LoRA")
    decision.settle(f"#decision?{flip.key}={flip.value}")
    assert decision.order[0].startswith("LoRA")
    assert decision.control(flip.key).input_value() == str(flip.value)
    focus = decision.page.evaluate("() => document.activeElement.className")
    assert focus == "verdict-title"
    decision.page.go_back()
    decision.shows("Full fine-tuning")
    decision.page.go_forward()
    decision.shows("LoRA")


def test_a_method_opens_in_the_planner_with_the_same_memory(decision: DecisionReader) -> None:
    decision.root.locator("[data-key=md-lora] > summary").click()
    link = decision.root.locator("[data-key=md-lora] .md-planner")
    query = decision.view["methods"][1]["planner"]
    assert link.get_attribute("href") == f"#planner?{query}"
    link.click()
    expected: Any = glance(query)
    planner = PlannerReader(decision.page)
    planner.shows(expected["state"])
    shown = planner.view["bar"]["total"]["text"]
    assert shown == expected["bar"]["total"]["text"]
    memory = decision.view["methods"][1]["numbers"][0]["text"]
    assert shown.replace("\xa0", " ") == memory
    top = decision.page.evaluate(
        "() => document.querySelector('memory-planner').getBoundingClientRect().top"
    )
    assert -200 < top < 400
    assert decision.title.startswith("Full fine-tuning")


def test_everything_is_reached_by_keyboard(decision: DecisionReader) -> None:
    decision.root.locator("[value=enough]").focus()
    decision.page.keyboard.press("ArrowDown")
    decision.settle("#decision?want=most")
    decision.root.locator("[data-key=md-full] > summary").focus()
    decision.page.keyboard.press("Enter")
    assert decision.root.locator("[data-copy=full]").is_visible()
    decision.control("tasks").focus()
    decision.page.keyboard.press("Control+A")
    decision.page.keyboard.type("50")
    decision.settle("#decision?tasks=50&want=most")
    assert decision.root.locator("[data-copy=full]").is_visible()  # a fold stays open
    assert decision.page.evaluate("() => document.activeElement.dataset.key") == "tasks"


def test_a_command_is_copied(decision: DecisionReader) -> None:
    decision.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    decision.root.locator("[data-key=md-qlora] > summary").click()
    decision.root.locator("[data-copies=qlora]").click()
    decision.root.get_by_text("Copied", exact=True).first.wait_for()
    copied = decision.page.evaluate("() => navigator.clipboard.readText()")
    assert copied == decision.view["methods"][2]["command"]["text"]


@pytest.mark.matrix
def test_python_that_does_not_come_leaves_the_baked_answer_and_so_does_a_wrong_number(
    page: Page, static_site: StaticSite
) -> None:
    page.allowed_errors.append("net::ERR_FAILED")  # type: ignore[attr-defined]
    page.route("**/pyodide.asm.wasm", lambda route: route.abort())
    reader = DecisionReader(page, static_site.url)
    reader.control("gpus").fill("65")
    reader.wait("failed")
    status = reader.root.locator(".widget-status")
    assert "Python could not be downloaded" in status.inner_text()
    assert reader.title == "Full fine-tuning."
    page.unroute("**/pyodide.asm.wasm")
    status.locator("button").click()
    reader.wait("stale")
    assert "1 … 64" in reader.root.locator("#md-error-gpus").inner_text()
    assert reader.control("gpus").get_attribute("aria-invalid") == "true"
    assert reader.title == "Full fine-tuning."
    assert "when this page was built" in status.inner_text()
    reader.control("gpus").fill("2")
    reader.settle("#decision?gpus=2")
    assert reader.root.locator("#md-error-gpus").is_hidden()
    reader.root.locator("[value=keep]").check()
    reader.settle("#decision?gpus=2&want=keep")
    assert reader.title == "A prompt."


@pytest.mark.matrix
def test_controls_that_do_not_arrive_are_missed_in_words(
    page: Page, static_site: StaticSite
) -> None:
    page.allowed_errors.append("net::ERR_FAILED")  # type: ignore[attr-defined]
    page.route("**/decision.json", lambda route: route.abort())
    page.goto(door(static_site.url, "planner"))
    page.locator("method-decision").scroll_into_view_if_needed()
    page.get_by_text("The controls could not be loaded").wait_for()
    assert page.locator("method-decision .verdict-title").inner_text() == "Full fine-tuning."


@pytest.mark.parametrize("state", matrix(STATES, "priced"))
def test_axe_finds_nothing_and_nothing_sticks_out(decision: DecisionReader, state: str) -> None:
    fragment, standing = STATES[state]
    decision.page.allowed_errors.append("Applying inline style")  # type: ignore[attr-defined]
    decision.page.evaluate("(fragment) => { location.hash = fragment }", fragment)
    decision.wait(standing)
    decision.page.locator("method-decision:not([data-waits])").wait_for()
    decision.page.evaluate(OPEN_ALL)
    assert objections(decision.page, "method-decision", ("dark", 390)) == []


@pytest.mark.matrix
def test_axe_finds_nothing_before_it_comes_alive(
    chromium: Browser, static_site: StaticSite
) -> None:
    context = chromium.new_context(bypass_csp=True)
    page = context.new_page()

    def never_answered(_: Route) -> None:
        """Leave the request waiting."""

    page.route("**/decision.json", never_answered)
    page.goto(door(static_site.url, "planner"))
    page.locator("method-decision").scroll_into_view_if_needed()
    assert violations(page, "method-decision") == []
    context.close()


def test_nothing_moves_when_it_comes_alive(baked: DecisionReader, printed: Page) -> None:
    assert baked.root.get_attribute("data-standing") == "baked"
    boxes = [page.locator("method-decision").bounding_box() for page in (baked.page, printed)]
    assert boxes[0] is not None
    assert boxes[1] is not None
    assert abs(boxes[0]["height"] - boxes[1]["height"]) < 2


def test_on_paper_the_answer_is_there_and_its_controls_are_not(baked: DecisionReader) -> None:
    page = baked.page
    page.emulate_media(media="print")
    assert page.locator("method-decision .verdict-title").is_visible()
    assert page.locator(".md-methods").is_visible()
    assert not page.locator(".md-controls").is_visible()
    page.emulate_media(media="screen")

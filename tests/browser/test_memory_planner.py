"""The planner in the page: every way to set it, and what it does when it cannot plan."""

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from browser.door import door
from browser.planner_reader import SECONDS, PlannerReader
from conftest import StaticSite
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.planner import glance, outline, view

CHAPTERS = ("the-planner",)

FAINT = """(texts) => texts.filter((text) => {
  for (let each = text; each.localName !== "memory-planner"; each = each.parentElement)
    if (getComputedStyle(each).opacity !== "1") return true;
  return false;
}).length"""
OPEN = {"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": "*"}
SMALL = CATALOGUE["HuggingFaceTB/SmolLM2-135M"].config


@pytest.fixture(scope="module")
def printed(chromium: Browser, static_site: StaticSite) -> Iterator[Page]:
    """The page without scripts."""
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(door(static_site.url, "planner"))
    yield page
    context.close()


def test_the_default_plan_is_complete_without_script(printed: Page) -> None:
    page = printed
    text = page.locator("memory-planner").inner_text()
    found: Any = view({})
    for words in (
        found["verdict"]["title"],
        found["bar"]["total"]["text"],
        "Changes that save memory",
    ):
        assert words in text
    assert page.locator(".mp-bar .predicted").count() == len(found["bar"]["parts"])
    page.locator("[data-key=part-params] > summary").click()
    assert page.locator("[data-key=part-params] .mp-formula").first.is_visible()
    page.locator("[data-key=part-params] > summary").click()
    assert page.locator(".range").first.is_disabled()
    assert not page.locator(".mp-apply").first.is_visible()
    assert "need JavaScript" in text


def test_what_turns_live_is_what_was_baked(
    page: Page, printed: Page, static_site: StaticSite
) -> None:
    reader = PlannerReader(page, static_site.url)
    html = "(result) => result.outerHTML"
    result = "memory-planner .widget-result"
    assert page.locator(result).evaluate(html) == printed.locator(result).evaluate(html)
    assert reader.root.get_attribute("data-standing") == "baked"
    assert reader.plan == ""


def test_a_slider_redraws_everything_with_the_numbers_of_the_command_line(
    planner: PlannerReader,
) -> None:
    planner.root.locator("[data-slides=seq_len]").focus()
    planner.page.keyboard.press("End")
    longest = planner.view["sliders"][0]["steps"][-1]
    planner.settle(f"#planner?seq_len={longest}")
    assert planner.control("seq_len").input_value() == longest
    assert planner.view == json.loads(json.dumps(view({"seq_len": longest})))
    assert planner.root.locator(".verdict-text").inner_text() == planner.view["verdict"]["text"]
    text = planner.root.locator("[data-slides=seq_len]").get_attribute("aria-valuetext")
    assert text == f"{int(longest):,} tokens"


def test_a_model_is_found_by_typing_and_taken_with_enter(planner: PlannerReader) -> None:
    search = planner.control("model")
    search.click()
    search.fill("qwen3 8b")
    options = planner.root.locator("[role=option]:visible")
    assert options.all_inner_texts()[0].startswith("Qwen/Qwen3-8B")
    assert search.get_attribute("aria-activedescendant") == options.first.get_attribute("id")
    planner.page.keyboard.press("Enter")
    planner.settle("#planner?model=Qwen/Qwen3-8B")
    assert "Qwen/Qwen3-8B" in planner.root.locator(".mp-facts").inner_text()
    search.fill("no such model")
    assert "No model of the list matches" in planner.root.locator(".field-note").inner_text()
    search.fill("llama")
    assert planner.root.locator(".field-note").inner_text() == ""
    planner.page.keyboard.press("Escape")
    assert search.input_value() == "Qwen/Qwen3-8B"


def test_a_config_is_pasted_or_dropped_and_a_broken_one_explained(planner: PlannerReader) -> None:
    planner.fold("config")
    planner.type("config", json.dumps(SMALL))
    facts = planner.root.locator(".mp-facts")
    expect(facts).to_contain_text("135M parameters")
    assert planner.view["facts"]["exact"] == "134,515,008"
    good = planner.root.locator(".mp-slot-bar").inner_html()
    planner.type("config", json.dumps(SMALL | {"num_attention_heads": 7}))
    planner.wait("stale")
    area, error = planner.control("config"), planner.root.locator("#mp-error-config")
    assert area.get_attribute("aria-invalid") == "true"
    assert "num_attention_heads is 7" in error.inner_text()
    assert planner.root.locator(".mp-slot-bar").inner_html() == good
    assert "last plan that could be made" in planner.root.locator(".widget-status").inner_text()
    planner.page.locator("memory-planner:not([data-waits])").wait_for()  # its advice comes too
    dropped = json.dumps(CATALOGUE["openai-community/gpt2"].config)
    planner.page.evaluate(
        """(text) => {
          const dataTransfer = new DataTransfer();
          dataTransfer.items.add(new File([text], "config.json"));
          const drop = new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer });
          document.querySelector("memory-planner .mp-bar").dispatchEvent(drop);
        }""",
        dropped,
    )
    expect(facts).to_contain_text("124M parameters")
    assert planner.view["facts"]["exact"] == "124,439,808"
    assert error.is_hidden()
    area.blur()  # the file has replaced what was typed there
    planner.settle(f"#planner?{unquote(planner.view['query'])}")
    assert planner.view["facts"]["exact"] == "124,439,808"


def gated(route: Route) -> None:
    """The hub's answer for a model whose terms nobody has accepted."""
    route.fulfill(status=401, headers={**OPEN, "X-Error-Code": "GatedRepo"})


def good(route: Route) -> None:
    """The hub's answer with a config.json."""
    route.fulfill(headers={**OPEN, "X-Repo-Commit": "3f2a1bc9" * 5}, body=json.dumps(SMALL))


def test_a_wrong_number_is_reported_at_its_control_even_in_a_closed_fold(
    planner: PlannerReader,
) -> None:
    planner.page.evaluate("() => { location.hash = 'planner?optimizer=sgd&moments=fp32' }")
    planner.wait("stale")
    assert planner.root.locator("#mp-error-moments").is_visible()
    assert "null" in planner.root.locator("#mp-error-moments").inner_text()
    planner.control("moments").select_option("")
    planner.wait()
    planner.type("seq_len", "many")
    planner.wait("stale")
    assert "whole number" in planner.root.locator("#mp-error-seq_len").inner_text()
    assert planner.root.locator("svg text").evaluate_all(FAINT) == 0  # it can still be read
    planner.type("seq_len", "4,096")
    planner.settle("#planner?optimizer=sgd&seq_len=4096")


def test_a_name_outside_the_list_asks_the_hub_only_when_its_reader_does(
    planner: PlannerReader, static_site: StaticSite
) -> None:
    asked: list[str] = []
    page = planner.page
    page.on("request", lambda request: asked.append(request.url))
    planner.control("model").fill("Qwen/Qwen9-9B")
    page.keyboard.press("Enter")
    planner.settle("#planner?model=Qwen/Qwen9-9B")
    facts = planner.root.locator("[data-part=verdict]")
    expect(facts).to_contain_text("the size that its name says")
    address = "https://huggingface.co/Qwen/Qwen9-9B/resolve/main/config.json"
    link = facts.get_by_role("link")
    assert link.get_attribute("href") == address
    assert link.get_attribute("rel") == "noopener noreferrer"
    host = static_site.url.split("/some")[0]
    assert not [url for url in asked if not url.removeprefix("blob:").startswith(host)]
    answers = iter([Route.abort, gated, good])
    page.allowed_errors.append(address)  # type: ignore[attr-defined]  # no answer is an error there
    page.route(address, lambda route: next(answers)(route))
    for says in ("cannot be reached", "accepted its terms", "revision 3f2a1bc93f2a"):
        facts.get_by_role("button", name="Ask huggingface.co").click()
        expect(planner.root.locator("[data-read]")).to_contain_text(says)
    expect(facts).to_contain_text("Qwen/Qwen9-9B: 135M parameters")
    assert facts.get_by_role("button").count() == 0
    assert planner.control("model").input_value() == "Qwen/Qwen9-9B"
    planner.control("model").fill("owner/no-size")
    page.keyboard.press("Enter")
    planner.wait("stale")
    error = planner.root.locator("#mp-error-model")
    assert error.get_by_role("link").inner_text() in error.inner_text()
    assert error.get_by_role("button", name="Ask huggingface.co").is_visible()
    planner.control("model").fill("qwen3 8b")
    page.keyboard.press("Enter")
    planner.settle("#planner?model=Qwen/Qwen3-8B")


def test_advice_is_applied_and_back_undoes_it(planner: PlannerReader) -> None:
    row = planner.root.locator(".mp-advice-row").first
    promised = row.locator(".mp-advice-total").inner_text()
    row.locator(".mp-apply").click()
    expect(planner.page).to_have_url(re.compile("#planner."))
    planner.settle(planner.plan)
    total = planner.view["bar"]["total"]["text"].replace("\xa0", " ")
    assert total in promised.replace("\xa0", " ")
    assert planner.plan.startswith("#planner?")
    changed, state = planner.plan, planner.view["state"]
    planner.page.go_back()
    planner.settle("")
    planner.shows({})
    planner.page.go_forward()
    planner.settle(changed)
    planner.shows(state)


def test_back_takes_what_was_typed_out_of_its_field(planner: PlannerReader) -> None:
    planner.control("micro_batch").focus()
    planner.type("micro_batch", "4")
    planner.settle("#planner?micro_batch=4")
    planner.page.go_back()
    planner.shows({})
    expect(planner.control("micro_batch")).to_have_value("1")
    planner.page.keyboard.press("Tab")
    planner.page.wait_for_timeout(500)
    planner.settle("")


def test_a_cell_that_runs_for_ever_does_not_hold_the_planner(
    page: Page, static_site: StaticSite
) -> None:
    page.goto(static_site.url)
    planner = PlannerReader(page)
    page.evaluate(
        """() => {
          const cell = document.querySelector("live-cell");
          cell.code = "import unfrozen.plan\\nunfrozen.plan.plan_job = None\\nwhile True: pass";
          window.runInTest = cell.run();
        }"""
    )
    page.locator("python-status[data-phase=running]").wait_for(timeout=SECONDS * 1000)
    planner.root.locator("[data-preset=qlora]").click()
    planner.settle("#planner?method=qlora")
    expected: Any = glance({"method": "qlora"})
    assert planner.verdict == expected["verdict"]["title"]
    assert planner.root.locator("[data-preset=qlora]").get_attribute("aria-pressed") == "true"
    page.evaluate("() => document.querySelector('live-cell').stop()")


def test_everything_is_reached_and_kept_by_keyboard(planner: PlannerReader) -> None:
    planner.root.locator("[data-key=number-device] > summary").focus()
    planner.page.keyboard.press("Enter")
    assert planner.root.locator("[data-key=number-device] .mp-formula").is_visible()
    planner.control("micro_batch").focus()
    planner.page.keyboard.press("Control+A")
    planner.page.keyboard.type("4")
    planner.settle("#planner?micro_batch=4")
    assert planner.root.locator("[data-key=number-device] .mp-formula").is_visible()
    assert planner.page.evaluate("() => document.activeElement.dataset.key") == "micro_batch"
    planner.root.locator(".mp-advice .mp-apply").first.focus()
    before = planner.page.url
    planner.page.keyboard.press("Enter")
    expect(planner.page).not_to_have_url(before)
    planner.settle(planner.plan)
    inside = "() => document.activeElement.closest('memory-planner') !== null"
    assert planner.page.evaluate(inside)


def test_a_command_is_copied(planner: PlannerReader) -> None:
    page = planner.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    planner.root.locator("[data-key=job] > summary").click()
    for name in ("run", "job"):
        planner.root.locator(f"[data-copies={name}]").click()
        expect(planner.root.locator(f"[data-copies={name}]")).to_have_text("Copied")
        copied = page.evaluate("() => navigator.clipboard.readText()")
        assert copied == planner.view["commands"][name]


def test_python_that_does_not_come_withdraws_the_verdict_and_leaves_a_way_on(
    page: Page, static_site: StaticSite
) -> None:
    page.allowed_errors.append("net::ERR_FAILED")  # type: ignore[attr-defined]

    def refuse(route: Route) -> None:
        route.abort()

    page.route("**/pyodide.asm.wasm", refuse)
    reader = PlannerReader(page, static_site.url)
    bar = page.locator("python-status")
    expect(bar).to_have_attribute("data-phase", "idle")
    expected: Any = glance({"seq_len": "4096"})  # no common one
    page.evaluate("(plan) => { location.hash = plan; }", f"planner?{expected['query']}")
    reader.wait("failed")
    assert "Python could not be downloaded" in reader.root.locator(".widget-status").inner_text()
    verdict = reader.root.locator(".verdict-title")
    expect(verdict).to_be_hidden()  # what was baked says nothing of these settings
    page.unroute("**/pyodide.asm.wasm", refuse)
    reader.root.locator(".widget-status button").click()
    reader.settle(f"#planner?{expected['query']}")
    assert reader.view["bar"]["total"] == expected["bar"]["total"]
    expect(verdict).to_be_visible()
    expect(bar).to_have_attribute("data-phase", "ready")
    assert not page.get_by_role("button", name="Run all").is_visible()  # there are no cells


def test_a_common_plan_is_there_before_python_and_two_edits_are_both_of_it(
    page: Page, static_site: StaticSite
) -> None:
    page.allowed_errors.append("net::ERR_FAILED")  # type: ignore[attr-defined]
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/pyodide.asm.wasm", hold)
    reader = PlannerReader(page, static_site.url)
    page.evaluate("(plan) => { location.hash = plan; }", "planner?model=Qwen/Qwen3-8B")
    size = reader.root.locator(".mp-facts").first
    expect(size).to_contain_text("Qwen/Qwen3-8B: 8.19B parameters")
    reader.root.locator("[data-preset=lora]").click()
    expected: Any = outline({"model": "Qwen/Qwen3-8B", "method": "lora"})
    reader.shows(expected["state"])
    assert reader.verdict == expected["verdict"]["title"] == "It fits."
    assert reader.view["bar"] == json.loads(json.dumps(expected["bar"]))
    assert (
        "the rest is still of the plan before" in reader.root.locator(".widget-status").inner_text()
    )
    reader.control("gpu").select_option("MI300X")  # no common one
    expect(reader.root.locator(".verdict-title")).to_be_hidden()
    for route in held:
        route.abort()


def test_controls_that_do_not_arrive_are_missed_in_words(
    page: Page, static_site: StaticSite
) -> None:
    page.allowed_errors.append("net::ERR_FAILED")  # type: ignore[attr-defined]
    page.route("**/planner.json", lambda route: route.abort())
    page.goto(door(static_site.url, "planner"))
    page.locator("memory-planner").scroll_into_view_if_needed()
    page.get_by_text("The controls could not be loaded").wait_for()
    assert page.locator("memory-planner .verdict-title").inner_text() == "It does not fit."

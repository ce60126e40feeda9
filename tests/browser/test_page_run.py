"""The fine-tune in the page: a model learns, forgets and answers, in a browser, for a reader."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from accessibility import Look, looks, objections
from browser.page_run_reader import LONG, MODEL, SHORT, STOPPED_WITHIN_SECONDS, PageRunReader
from browser.plain_host import ISOLATION, Host
from conftest import matrix, watched_page
from slowness import slowness
from unfrozen.lab.choices import CHALLENGE, PRESETS, SEEDS
from unfrozen.schema.offline import SNAPSHOT

CHAPTERS = ("forgetting",)

QUICK = {"rows_per_step": 4, "eval_rows": 4, "eval_every": 400, "sample_tokens": 0}
"""What a run may leave out that is no dial."""
STEPS = 60
LIGHT: Look = ("light", 1280)
DARK: Look = ("dark", 320)
HEAVY = ("demo/", "pyodide/", "python/")
KNOWN_BEFORE = {"63 + 95 =": "158", "71 + 65 =": "136", "55 + 97 =": "152"}
PUT = """(row) => new Promise((resolve) => {
  const opening = indexedDB.open("unfrozen-runs", 1);
  opening.onsuccess = () => {
    const rows = opening.result.transaction("runs", "readwrite").objectStore("runs");
    rows.put(row).onsuccess = () => (opening.result.close(), resolve());
  };
})"""


@pytest.fixture(scope="module")
def cold(chromium: Browser, host: Host) -> Iterator[PageRunReader]:
    """A reader before the first run, on a host that isolates its pages."""
    host.headers = ISOLATION
    with watched_page(chromium.new_context(accept_downloads=True)) as page:
        page.allowed_errors.append("404")  # type: ignore[attr-defined]
        reader = PageRunReader(page, host.url)
        reader.choices = QUICK | {"sample_tokens": 2, "steps": STEPS, "lr": 2e-3}
        page.wait_for_timeout(300)
        assert not heavy(host), "fetched before the button was pressed"
        yield reader


@pytest.fixture(scope="module")
def failed(cold: PageRunReader, host: Host) -> dict[str, Any]:
    """How a first try without the model ended, with what was said and listed then."""
    host.lose(MODEL)
    ended = cold.train()
    host.find(MODEL)
    return ended | {"said": cold.said, "titles": cold.titles}


@pytest.fixture(scope="module")
def warm(cold: PageRunReader, failed: dict[str, Any]) -> PageRunReader:
    """A reader who has trained once, in a quarter of the steps: now Python is there."""
    assert not failed["ok"]
    cold.root.get_by_role("button", name="Fine-tune it here").click()
    cold.wait(lambda: cold.state["status"] == "finished", "first run")
    cold.wait(lambda: cold.phase == "ready", "its last word")
    return cold


@pytest.fixture
def reader(warm: PageRunReader) -> PageRunReader:
    """The same, with the dials as they came."""
    warm.choices = {}
    return warm


def heavy(host: Host) -> set[str]:
    """What was asked for that is needed for a run alone, and not only to start it sooner."""
    asked = {path.lstrip("/") for path in host.asked if path.lstrip("/").startswith(HEAVY)}
    return asked - {SNAPSHOT}


def test_a_model_that_is_missing_is_named(failed: dict[str, Any]) -> None:
    assert failed["status"] == "failed"
    assert "The model could not be downloaded: the server answered 404" in failed["problem"]
    assert failed["said"] == f"{failed['problem']} Try again."
    assert failed["titles"] == []


@pytest.mark.usefixtures("warm")
def test_the_button_says_what_it_loads(page: Page, host: Host) -> None:
    assert {"demo/model/model.safetensors", "python/matmul.wasm"} <= heavy(host)
    note = PageRunReader(page, host.url).root.locator(".page-run-note").inner_text()
    told = re.search(r"loads (\d+)–", note)
    assert told
    total = sum((host.folder / name).stat().st_size for name in heavy(host))
    assert float(told[1]) == pytest.approx(total / 1e6, abs=0.6)


def test_a_run_learns_the_task_and_loses_sums(reader: PageRunReader) -> None:
    page = reader.page
    losses = page.evaluate(
        "() => { const { evals } = document.querySelector('page-run').state;"
        " return Object.fromEntries(Object.entries(evals).map(([suite, { y }]) =>"
        " [suite, [y[0], y[y.length - 1]]])) }"
    )
    assert losses["task"][1] < losses["task"][0] / 10
    assert losses["general/addition"][1] > 20 * losses["general/addition"][0]
    refused, planned, predicted = page.evaluate(
        "() => { const { refusedLines, plan, memory } = document.querySelector('page-run').state;"
        " return [refusedLines, plan.x.length, Object.keys(memory.predicted)] }"
    )
    assert (refused, planned) == (0, STEPS)
    assert "backward" in predicted
    shown = reader.root.locator("run-view")
    assert shown.locator("run-chart").count() >= 3
    assert reader.dots.count() == 1
    assert reader.titles == [f"learning rate 2 × 10⁻³, steps {STEPS}"]


def test_what_it_has_forgotten_can_be_asked(reader: PageRunReader) -> None:
    form = reader.root.locator(".page-run-ask")
    changed = 0
    for prompt, right in KNOWN_BEFORE.items():
        form.locator("input").fill(prompt)
        form.locator("input").press("Enter")
        ask = form.get_by_role("button", name="Ask", exact=True)
        reader.wait(ask.is_enabled, "an answer")
        before, after = form.locator(".page-run-answer-text").all_inner_texts()
        assert right in before
        changed += after != before
        marked = "".join(form.locator(".page-run-token-differs").all_inner_texts())
        assert bool(marked) is (before != after)
    assert changed
    reader.root.get_by_role("button", name="Another question").click()
    form.get_by_text("Right", exact=True).wait_for()
    kept = reader.ask("The capital of France is")
    assert kept["before"]["text"] == kept["after"]["text"]
    assert "Paris" in kept["after"]["text"]


def test_the_way_back_leads_to_what_it_knew_and_every_point_can_be_asked(
    reader: PageRunReader,
) -> None:
    back = reader.root.locator(".page-run-back")
    slider = back.locator("input")
    end, start = reader.blend(1), reader.blend(0)
    assert end["exact"]["general/capitals"]["of"] == QUICK["eval_rows"]
    assert start["losses"]["task"] > 10 * end["losses"]["task"]
    slider.fill("0")
    reader.wait(lambda: "α = 0:" in back.inner_text(), "scores before training")
    assert back.locator(".page-run-bar").count() == 5
    answers = reader.ask("The capital of Jordan is")
    assert answers["before"] == answers["after"]
    form = reader.root.locator(".page-run-ask")
    form.locator("input").press("Enter")
    form.get_by_text("α = 0", exact=True).wait_for()
    slider.fill("1")
    form.get_by_text("After", exact=False).wait_for()  # the answer follows the hand
    reader.wait(lambda: "α = 1:" in back.inner_text(), "the end again")
    refused = reader.blend(1.5)
    assert "a number from 0, before training, to 1, after it" in refused["problem"]


@pytest.mark.parametrize(
    ("prompt", "note"),
    [
        ("", "the token that separates texts"),
        ("🦀" * 5000, "It read the last"),
        ("x" * 10_000, "It read the last"),
        ('"; drop <b>table</b>\n\n\t{{', ""),
        ("\ud800 half a letter", ""),
    ],
    ids=["empty", "crabs", "long", "markup", "half a letter"],
)
def test_whatever_is_asked_is_answered(reader: PageRunReader, prompt: str, note: str) -> None:
    said = reader.page.evaluate(
        "(text) => document.querySelector('page-run').ask(JSON.parse(text))", json.dumps(prompt)
    )
    assert said.get("problem", "") == ""
    assert note in said["note"]
    assert len(said["after"]["pieces"]) <= 16


def test_a_lower_rate_leaves_a_path_of_its_own(reader: PageRunReader) -> None:
    before = reader.dots.count()
    reader.root.get_by_role("button", name="A lower rate, longer").click()
    longer = next(preset for preset in PRESETS if preset.id == "longer")
    assert reader.choices["lr"] == longer.choices["lr"]
    assert reader.root.locator(".page-run-preset-note").inner_text() == longer.says
    ended = reader.train(dict(longer.choices) | QUICK | {"steps": 20})
    assert ended["ok"]
    after = ended["exact"]["task"]["after"]
    assert after["right"] < CHALLENGE.task * after["of"]
    assert reader.dots.count() == before + 1
    path = reader.dots.last.locator("path:not(.plane-leader)").get_attribute("d") or ""
    assert path.count("L") == 1  # from before training to the end: scored twice
    spoken = reader.root.locator(".page-run-svg").get_attribute("aria-label") or ""
    assert reader.titles[-1] in spoken


def test_a_run_is_saved_as_the_log_that_a_runner_writes(
    reader: PageRunReader, tmp_path: Path
) -> None:
    first = reader.root.locator(".page-run-item").first
    with reader.page.expect_download() as waiting:
        first.get_by_role("button", name="Save log").click()
    file = tmp_path / waiting.value.suggested_filename
    waiting.value.save_as(file)
    events = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert [event["seq"] for event in events] == list(range(len(events)))
    assert events[0]["kind"] == "run.start"
    assert (events[-1]["kind"], events[-1]["status"]) == ("run.end", "finished")
    assert {"metrics", "eval", "mem", "sample", "drift"} <= {e["kind"] for e in events}


def test_a_saved_run_is_there_on_the_next_visit_until_it_is_removed(
    reader: PageRunReader, host: Host
) -> None:
    save = reader.root.locator(".page-run-item").first.get_by_role("button", name="Save in browser")
    devtools = reader.page.context.new_cdp_session(reader.page)
    origin = {"origin": reader.page.evaluate("location.origin")}
    devtools.send("Storage.overrideQuotaForOrigin", origin | {"quotaSize": 1})
    save.click()
    reader.shows("cannot save the run")
    devtools.send("Storage.overrideQuotaForOrigin", origin)
    save.click()
    reader.shows("Saved in this browser")
    page = reader.page.context.new_page()
    page.goto(host.url)
    page.evaluate(PUT, {"id": "page-0", "title": "damaged", "command": "", "lines": 7})
    visit = PageRunReader(page, host.url)
    visit.wait(lambda: visit.titles == reader.titles[:1], "the run that was saved, and no other")
    assert visit.dots.count() == 1
    run = visit.root.locator(".page-run-item")
    run.get_by_role("button", name="Show").click()
    visit.wait(lambda: visit.state["status"] == "finished", "its end")
    run.get_by_role("button", name="Remove from browser").click()
    visit.shows("it is lost when you leave")
    page.reload()
    visit.come_near()
    page.wait_for_timeout(300)
    assert visit.titles == []
    page.close()


def test_the_command_that_makes_a_run_again_can_be_copied(reader: PageRunReader) -> None:
    reader.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    reader.root.locator(".page-run-item").first.get_by_role("button", name="Copy command").click()
    reader.shows("copied")
    text = reader.page.evaluate("navigator.clipboard.readText()")
    assert "unfrozen train --model demo --steps 60 --lr 0.002 " in text


@pytest.mark.parametrize(
    ("choices", "words"),
    matrix(
        [
            ({"lr": 100.0}, "lr"),
            ({"steps": 1.5}, "steps"),
            ({"steps": -1}, "steps"),
            ({"seed": "seven"}, "seed"),
            ({"momentum": 0.9}, "momentum"),
            ({"replay_share": 1.1}, "replay_share"),
        ],
        ({"lr": 100.0}, "lr"),
        ({"momentum": 0.9}, "momentum"),
    ),
)
def test_a_choice_beyond_its_bounds_is_refused_in_words(
    reader: PageRunReader, choices: dict[str, Any], words: str
) -> None:
    before = reader.titles
    found = reader.train(choices)
    assert (found["ok"], found["status"]) == (False, "refused")
    assert words in found["problem"]
    assert reader.titles == before
    reader.root.locator(".page-run-start").click()
    reader.shows(found["problem"])
    assert reader.phase == "ready"


def test_choices_given_before_the_element_is_there_are_kept(page: Page, host: Host) -> None:
    page.goto(host.url)
    asked = {"lr": 1e-3, "steps": 20, "eval_rows": 3}
    page.evaluate("(given) => { document.querySelector('page-run').choices = given }", asked)
    found = page.evaluate("document.querySelector('page-run').choices")
    assert asked.items() <= found.items()
    page.locator("page-run").scroll_into_view_if_needed()
    page.locator("page-run .page-run-start:not(:disabled)").wait_for()
    found = page.evaluate("document.querySelector('page-run').choices")
    assert asked.items() <= found.items()
    assert page.locator("page-run #page-run-lr").get_attribute("aria-valuetext") == "10⁻³"


def test_a_rate_that_is_too_high_fails_in_words(reader: PageRunReader) -> None:
    failed = reader.train(SHORT | {"lr": 10, "steps": 8})
    assert failed["status"] == "failed"
    assert "diverged" in failed["problem"]
    notice = reader.root.locator("run-view .run-notice").first
    expect(notice).to_contain_text("iverged")
    assert "NaN" not in reader.root.inner_text()
    assert reader.ask("The capital of France is").get("problem", "") == ""


def test_stop_ends_a_run_within_a_step_and_what_it_has_learned_can_be_asked(
    reader: PageRunReader,
) -> None:
    assert reader.page.evaluate("crossOriginIsolated")
    reader.begin(LONG)
    reader.until_training()
    ended, seconds = reader.stop()
    assert ended["status"] == "stopped"
    assert seconds < STOPPED_WITHIN_SECONDS * slowness()
    step = reader.state["step"]
    assert 0 < step < LONG["steps"]
    assert f"after {step} of {LONG['steps']} steps" in ended["problem"]
    said = reader.ask("The capital of France is")
    assert said["step"] == step
    assert said["after"]["pieces"]
    assert reader.train(SHORT)["ok"]


def do_everything_with_the_keyboard(reader: PageRunReader) -> None:
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
    reader.choices, listed = SHORT, len(reader.titles)
    start.focus()
    page.keyboard.press("Enter")
    reader.wait(lambda: reader.phase == "ready" and len(reader.titles) > listed, "a run")
    assert start.evaluate("(button) => button === document.activeElement")
    item = reader.root.locator(".page-run-item").last
    item.get_by_role("button", name="Save in browser").focus()
    page.keyboard.press("Enter")
    reader.shows("Saved in this browser")
    remove = item.get_by_role("button", name="Remove from browser")
    assert remove.evaluate("(button) => button === document.activeElement")
    page.keyboard.press("Enter")
    reader.shows("No longer saved")
    reader.root.locator("#page-run-prompt").focus()
    page.keyboard.press("Enter")
    reader.root.locator(".page-run-answer").first.wait_for()


def test_everything_is_done_with_the_keyboard_and_axe_finds_nothing_and_nothing_sticks_out(
    reader: PageRunReader,
) -> None:
    do_everything_with_the_keyboard(reader)
    reader.page.allowed_errors.append("Applying inline style")  # type: ignore[attr-defined]
    assert objections(reader.page, "page-run", LIGHT) == []
    for _ in looks(reader.page, LIGHT, DARK):
        for button in reader.root.locator("button:visible").all():
            box = button.bounding_box()
            assert box is not None
            assert box["height"] >= 24, button.inner_text()


@pytest.mark.matrix
@pytest.mark.parametrize(
    "given", [{"steps": 0}, {"replay_share": 1.0}, {"l2sp": 1e9}, {"ewc": 1e9}]
)
def test_the_extremes_of_the_dials_end_well(reader: PageRunReader, given: dict[str, Any]) -> None:
    assert reader.train(SHORT | {"fisher_rows": 2} | given)["ok"]
    assert "NaN" not in reader.root.inner_text()


@pytest.mark.matrix
@pytest.mark.parametrize("seed", SEEDS)
def test_the_default_run_learns_and_forgets_in_a_browser_and_part_of_it_returns(
    reader: PageRunReader, seed: int
) -> None:
    """What chapter 3 says of CPython's runs: here the same seed takes another course."""
    exact = reader.train({"seed": seed, "eval_every": 400, "sample_tokens": 0})["exact"]
    task, sums, known = (exact[name]["after"] for name in ("task", "general/addition", "general"))
    assert exact["task"]["before"]["right"] <= 0.05 * task["of"]
    assert task["right"] >= 0.9 * task["of"]
    assert exact["general/addition"]["before"]["right"] == sums["of"]
    assert sums["wrong"] >= 0.3 * sums["of"]
    nearly, back = reader.blend(0.9)["exact"], reader.blend(0.6)["exact"]
    assert nearly["task"]["right"] >= task["right"] - 1
    assert nearly["general"]["right"] > known["right"]
    assert back["general/addition"]["right"] > sums["right"] + 4

"""The buttons of a run in a real browser, before a real server and real runs on a tiny model."""

import json
import re
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from playwright.sync_api import Browser, Page, expect

import tiny_llama
from accessibility import objections
from browser.run_reader import RunReader, write
from conftest import Server
from gpu_runner import atomic
from gpu_runner.log.commands import NAME
from run_process import events

CHAPTERS = ("run-it-for-real",)

FOCUS = "() => document.activeElement.textContent"


@pytest.fixture(scope="module")
def server(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with control, an empty folder of runs, and two recipes beside the demo."""
    folder = tmp_path_factory.mktemp("control")
    model = tiny_llama.directory(folder / "model")
    data = tiny_llama.write_rows(folder / "sums.jsonl", tiny_llama.sums(40))
    recipes = folder / "recipes"
    recipes.mkdir()
    words = [f'model = "{model}"', 'general = "none"', "eval_every = 9000", "sample_tokens = 0"]
    (recipes / "sums.toml").write_text("\n".join([*words, "steps = 9000", f'data = "{data}"']))
    (recipes / "lost.toml").write_text("\n".join([*words, "steps = 9", 'data = "nowhere.jsonl"']))
    options = ("--allow-control", "--recipes", str(recipes))
    running = Server(site, folder / "runs", folder / "server.log", options=options)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def reader(page: Page, server: Server) -> Iterator[RunReader]:
    """Of a page whose server has no run of an earlier test still going on."""
    yield RunReader(page, server.url)
    with suppress(OSError, psutil.NoSuchProcess):
        kill_what_was_started(server)


def kill_what_was_started(server: Server) -> None:
    """Kill the run that was started last from a page, if it still goes on."""
    last = json.loads((server.runs / "started.json").read_text())
    process = psutil.Process(last["pid"])
    if abs(process.create_time() - last["born"]) < 1:
        process.kill()


def press(page: Page, name: str) -> None:
    """A button, by the keyboard, as soon as it may be pressed."""
    button = page.get_by_role("button", name=name, exact=True)
    expect(button).not_to_have_attribute("aria-disabled", "true")
    button.focus()
    page.keyboard.press("Enter")


def said(page: Page, element: str = "run-commands") -> Any:
    """Where the line beneath the buttons, or beneath the form, is read aloud from."""
    return expect(page.locator(f"{element} [role=status]"))


def open_form(page: Page, recipe: str) -> None:
    page.locator("run-start summary").focus()
    page.keyboard.press("Enter")
    page.locator("run-start select").select_option(recipe)
    expect(page.locator("run-start .primary")).to_have_attribute("aria-disabled", "false")


def begin(page: Page, reader: RunReader, seed: int) -> str:
    """Start a run of 8000 steps by the form; its id, once it has taken a few."""
    reader.wait(lambda: reader.notice not in ("", "connecting", "reading"), "what there is")
    before = reader.brief["run"]
    open_form(page, "sums")
    page.locator("run-start input[name=steps]").fill("8000")
    page.locator("run-start input[name=seed]").fill(str(seed))
    press(page, "Start the run")
    said(page, "run-start").to_contain_text("Starting sums")
    reader.wait(lambda: before != reader.brief["run"] and reader.brief["step"] > 2, "steps")
    return str(reader.brief["run"])


def stop(page: Page, reader: RunReader) -> None:
    """Stop the run that is shown, and say yes."""
    press(page, "Stop…")
    press(page, "Stop the run")
    reader.wait_notice("stopped")


def begin_with_numbers_of_ones_own(page: Page, reader: RunReader, server: Server) -> Path:
    """Start a run by the form, once the browser has refused a wrong number; its folder."""
    open_form(page, "sums")
    page.locator("run-start input[name=steps]").fill("0")
    press(page, "Start the run")  # the browser itself says what is wrong with it
    assert page.locator("run-start input:user-invalid").count() == 1
    page.reload()
    run = server.runs / begin(page, reader, seed=4)
    expect(page.locator("run-start details[open]")).to_have_count(0)
    config = json.loads((run / "config.json").read_text())
    assert (config["steps"], config["seed"]) == (8000, 4)
    said(page, "run-start").to_contain_text("sums is running. Only one run at a time")
    return run


def test_a_prompt_is_answered_by_the_model_now_and_before(page: Page, reader: RunReader) -> None:
    begin(page, reader, 5)
    page.locator("run-ask textarea").fill(" ")
    press(page, "Ask both models")
    said(page, "run-ask").to_contain_text("The prompt is empty")
    page.locator("run-ask textarea").fill("忘" * 100_000)
    press(page, "Ask both models")
    said(page, "run-ask").to_contain_text("100000 characters: shorten it to 4000")
    page.locator("run-ask textarea").fill("1+1=")
    page.locator("run-ask input[name=tokens]").fill("3")
    press(page, "Ask both models")
    answer = page.locator(".run-answers li")
    expect(answer).to_have_count(1)
    expect(answer).to_contain_text("1+1=")
    expect(answer.locator("dt")).to_have_text(["Before training", re.compile(r"After step \d+")])
    said(page, "run-ask").to_have_text("")
    assert not objections(page, "run-ask")


def test_a_run_is_started_paused_saved_resumed_and_stopped_by_the_keyboard(
    page: Page, reader: RunReader, server: Server
) -> None:
    run = begin_with_numbers_of_ones_own(page, reader, server)
    press(page, "Pause")
    reader.wait_notice("paused")
    step = reader.brief["step"]
    expect(page.locator("runner-status")).to_contain_text(f"paused, {step}/8000")
    assert page.evaluate(FOCUS) == "Resume"  # the same button, with another word on it
    press(page, "Save checkpoint")
    said(page).to_have_text(f"Step {step} is saved.")
    atomic.verify(run / "checkpoints" / f"step-{step:06d}")
    assert reader.brief["step"] == step
    press(page, "Resume")
    said(page).to_have_text("Training resumed.")
    reader.wait(lambda: reader.brief["step"] > step, "steps after the pause")

    page.evaluate("document.querySelector('run-view').state.marked = true")
    kill_what_was_started(server)
    reader.wait_notice("trainer-gone")
    assert page.locator("run-commands button:visible").all_inner_texts() == ["Resume"]
    step = reader.brief["step"]
    press(page, "Resume")
    press(page, "Cancel")
    said(page).to_have_text("")
    press(page, "Resume")
    said(page).to_contain_text("Restarting")
    reader.wait_notice("live")
    reader.wait(lambda: reader.brief["step"] > step, "steps of the second attempt")
    assert reader.state["marked"]  # news that it was started does not make the page read it anew

    press(page, "Stop…")
    assert page.evaluate(FOCUS) == "Keep training"
    page.keyboard.press("Escape")
    assert page.evaluate(FOCUS) == "Stop…"
    stop(page, reader)
    expect(page.locator("run-start .primary")).to_have_attribute("aria-disabled", "false")
    assert f"unfrozen resume {run.name}" in page.locator(".run-notice").inner_text()
    assert page.locator("run-commands button:visible").all_inner_texts() == ["Resume"]
    assert events(run)[-1]["reason"] == "asked to stop by the page"
    assert reader.brief["gaps"] == 0


@pytest.mark.matrix
def test_a_start_that_fails_shows_its_last_lines(page: Page, reader: RunReader) -> None:
    open_form(page, "lost")
    press(page, "Start the run")
    said(page, "run-start").to_contain_text("Starting lost")
    said(page, "run-start").to_contain_text("ended before its first event, with exit code 3")
    expect(page.locator(".run-start-lines")).to_contain_text("nowhere.jsonl")
    assert reader.notice != "live"


def test_a_start_that_still_loads_is_cancelled(
    page: Page, reader: RunReader, server: Server
) -> None:
    reader.wait(lambda: reader.notice not in ("connecting", "reading"), "what there is")
    before = reader.brief["run"]
    open_form(page, "sums")
    press(page, "Start the run")
    said(page, "run-start").to_contain_text("Starting sums")
    press(page, "Cancel")
    said(page, "run-start").to_have_text("")
    assert page.evaluate(FOCUS) == "Start the run"
    assert reader.brief["run"] == before
    assert not (server.runs / "started.json").exists()


def test_buttons_wait_for_a_server_that_is_gone_and_for_a_run_that_does_not_hear(
    page: Page, reader: RunReader, server: Server
) -> None:
    page.allowed_errors += ["Failed to load resource", "net::ERR_"]  # type: ignore[attr-defined]
    pause = page.get_by_role("button", name="Pause", exact=True)
    options = ("--steps", "9000", "--pace", "0.05", "--end", "finished")
    with write(server.runs, "deaf", *options) as deaf:
        reader.choose("live:deaf")
        expect(pause).to_have_attribute("aria-disabled", "false")
        server.kill()
        expect(pause).to_have_attribute("aria-disabled", "true")
        said(page).to_contain_text("The server does not answer.")
        server.start()
        expect(pause).to_have_attribute("aria-disabled", "false")
        said(page).to_have_text("")
        press(page, "Pause")
        said(page).to_have_text("Asked to pause. The step in progress is finished first.")
        reader.wait((server.runs / "deaf" / NAME).exists, "an order to pause")
        deaf.send_signal(signal.SIGUSR1)
    reader.wait_notice("finished")
    said(page).to_have_text("The run ended before it could pause.")
    assert page.locator("run-commands button:visible").count() == 0


def test_a_server_that_allows_nothing_has_no_buttons(page: Page, serve_site: Server) -> None:
    fetched: list[str] = []
    page.on("request", lambda request: fetched.append(request.url))
    with write(serve_site.runs, "watched", "--steps", "5", "--hang") as trainer:
        reader = RunReader(page, serve_site.url)
        reader.choose("live:watched")
        reader.wait(lambda: reader.brief["step"] == 5, "steps")
        assert page.locator("run-commands, run-start").count() == 0
        assert not [url for url in fetched if "run-commands" in url or "run-start" in url]
        trainer.terminate()


def test_axe_finds_nothing_in_the_buttons_and_nothing_sticks_out(
    chromium: Browser, server: Server
) -> None:
    context = chromium.new_context(bypass_csp=True)
    with write(server.runs, "look", "--steps", "20", "--hang") as trainer:
        reader = RunReader(context.new_page(), server.url)
        reader.choose("live:look")
        page = reader.page
        page.locator("run-start summary").click()
        for look in (("light", 1280), ("dark", 320)):
            assert objections(page, "run-view", look) == []
            page.locator("run-commands .button:visible").last.click()
        trainer.terminate()
    context.close()

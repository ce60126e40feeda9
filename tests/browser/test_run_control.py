"""The buttons of a run in a real browser, before a real server and real runs on a tiny model."""

import json
import re
import signal
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import psutil
import pytest
from playwright.sync_api import Browser, Page, expect

import run_process
import tiny_llama
from accessibility import objections
from browser.run_reader import RunReader, write
from conftest import Server
from gpu_runner import atomic
from gpu_runner.installed import short
from gpu_runner.log.commands import NAME
from run_process import events

CHAPTERS = ("run-it-for-real",)

FOCUS = "() => document.activeElement.textContent"


@pytest.fixture(scope="module")
def server(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with control and an empty folder of runs, and what a run of it needs."""
    folder = tmp_path_factory.mktemp("control")
    (folder / "runs").mkdir()
    tiny_llama.directory(folder / "model")
    tiny_llama.write_rows(folder / "sums.jsonl", tiny_llama.sums(40))
    options = ("--allow-control",)
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
    """Kill the run that was resumed last from a page, if it still goes on."""
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
    """Where the line beneath the buttons is read aloud from."""
    return expect(page.locator(f"{element} [role=status]"))


def begin(reader: RunReader, server: Server) -> tuple[ForkServerProcess, Path]:
    """A run of `train` and its folder, once the page shows a few of its steps."""
    reader.wait(lambda: reader.notice not in ("", "connecting", "reading"), "what there is")
    before, folder = reader.brief["run"], server.runs.parent
    steps = {"steps": 9000, "eval_every": 9000, "sample_tokens": 0, "general": ()}
    paths = {"model": "model", "data": "sums.jsonl", "runs": "runs"}
    child = run_process.begin(
        run_process.train_here, steps | {key: str(folder / name) for key, name in paths.items()}
    )
    reader.wait(lambda: before != reader.brief["run"] and reader.brief["step"] > 2, "steps")
    return child, server.runs / reader.brief["run"]


def stop(page: Page, reader: RunReader) -> None:
    """Stop the run that is shown, and say yes."""
    press(page, "Stop…")
    press(page, "Stop the run")
    reader.wait_notice("stopped")


def test_a_prompt_is_answered_by_the_model_now_and_before(
    page: Page, reader: RunReader, server: Server
) -> None:
    child, _ = begin(reader, server)
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
    child.kill()


def test_a_run_is_paused_saved_resumed_and_stopped_by_the_keyboard(
    page: Page, reader: RunReader, server: Server
) -> None:
    child, run = begin(reader, server)
    press(page, "Pause")
    reader.wait_notice("paused")
    step = reader.brief["step"]
    expect(page.locator("runner-status")).to_contain_text(f"paused, {step}/9000")
    assert page.evaluate(FOCUS) == "Resume"  # the same button, with another word on it
    press(page, "Save checkpoint")
    said(page).to_have_text(f"Step {step} is saved.")
    atomic.verify(run / "checkpoints" / f"step-{step:06d}")
    assert reader.brief["step"] == step
    press(page, "Resume")
    said(page).to_have_text("Training resumed.")
    reader.wait(lambda: reader.brief["step"] > step, "steps after the pause")

    page.evaluate("document.querySelector('run-view').state.marked = true")
    child.kill()
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
    shown = page.locator(".run-notice").inner_text()
    assert f"unfrozen resume --runs {short(run.parent)} {run.name}" in shown
    assert page.locator("run-commands button:visible").all_inner_texts() == ["Resume"]
    assert events(run)[-1]["reason"] == "asked to stop by the page"
    assert reader.brief["gaps"] == 0


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
        assert page.locator("run-commands").count() == 0
        assert not [url for url in fetched if "run-controls" in url]
        trainer.terminate()


def test_axe_finds_nothing_in_the_buttons_and_nothing_sticks_out(
    chromium: Browser, server: Server
) -> None:
    context = chromium.new_context(bypass_csp=True)
    with write(server.runs, "look", "--steps", "20", "--hang") as trainer:
        reader = RunReader(context.new_page(), server.url)
        reader.choose("live:look")
        page = reader.page
        for look in (("light", 1280), ("dark", 320)):
            assert objections(page, "run-view", look) == []
            page.locator("run-commands .button:visible").last.click()
        trainer.terminate()
    context.close()

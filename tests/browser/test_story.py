"""The whole story of one reader, with nothing left out: two cells, a changed model, a real run."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

import build
from browser.cell_reader import CellReader
from browser.run_reader import RunReader
from conftest import Server

TRAINING_SECONDS = 1800  # about twenty seconds on a quiet machine with two cores
EXPECTED_WITHOUT_A_SERVER = ["Failed to load resource", "net::ERR_"]


def train_demo(runs: Path, output: Path) -> "subprocess.Popen[bytes]":
    """`python -m gpu_runner train --model demo`, as a reader types it in a second terminal."""
    command = [sys.executable, "-m", "gpu_runner", "train", "--model", "demo", "--steps", "50"]
    command += ["--set", "eval_rows=16"]
    with output.open("wb") as sink:
        return subprocess.Popen(
            [*command, "--runs", str(runs), "--out", str(output.with_name("trained"))],
            cwd=build.ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "2"},
            stdout=sink,
            stderr=subprocess.STDOUT,
        )


def read_the_cells(reader: CellReader) -> None:
    """Run a cell of two chapters each, then another model."""
    memory = "memory-table"
    for cell in (memory, "schedules"):
        assert reader.run_as_is(cell)["ok"], cell
    (before,) = reader.shown(memory)["table"]
    code = reader.page.evaluate("(id) => document.getElementById(id).code", memory)
    changed = code.replace('("LLaMA-7B", 7e9, 4096, 32)', '("Mine", 9e9, 6144, 36)')
    assert changed != code
    assert reader.run(changed, memory)["ok"]
    (after,) = reader.shown(memory)["table"]
    assert after["rows"][1:] == before["rows"][1:]
    assert after["rows"][0][:3] == ["Mine", "9B", "144.0 GB"]


@pytest.mark.timeout(TRAINING_SECONDS + 300)
def test_a_reader_runs_the_cells_trains_the_demo_and_watches_it_to_the_end(
    page: Page, server: Server, tmp_path: Path
) -> None:
    page.allowed_errors += EXPECTED_WITHOUT_A_SERVER  # type: ignore[attr-defined]
    read_the_cells(CellReader(page, server.url))
    assert "#" not in page.url
    page.get_by_role("link", name="Runs").first.click()
    watcher = RunReader(page)
    terminal = tmp_path / "terminal.txt"
    with train_demo(server.runs, terminal) as trainer:
        watcher.patience_seconds = TRAINING_SECONDS

        def passed(step: int) -> None:
            still = trainer.poll() is None or trainer.returncode == 0
            assert still, terminal.read_text()[-2000:]
            watcher.wait(lambda: watcher.brief["step"] >= step, f"step {step}")

        passed(5)
        watcher.wait_notice("live")
        server.kill()
        watcher.wait_notice("server-gone")
        server.start()
        watcher.wait(lambda: watcher.notice in ("back", "live"), "reconnection")
        passed(25)
        server.restart()
        watcher.wait_notice("finished")
        assert trainer.wait(60) == 0, terminal.read_text()[-2000:]
    told = " ".join(terminal.read_text().split())  # as wide as the terminal is
    assert f"Watch it at {server.origin}/runs/?run={watcher.brief['run']}#t={server.token}" in told
    assert_the_page_shows_the_log(watcher, server.runs)


def assert_the_page_shows_the_log(watcher: RunReader, runs: Path) -> None:
    """Every event once, the task learned, something forgotten, and all of it in words."""
    (log,) = runs.glob("*/events.jsonl")
    events: list[dict[str, Any]] = [json.loads(line) for line in log.read_text().splitlines()]
    state = watcher.state
    assert (state["lastSeq"], state["events"]) == (len(events) - 1, len(events))
    assert (state["gaps"], state["duplicates"], state["skippedLines"]) == (0, 0, 0)
    assert state["unknownKinds"] == 0
    steps = [event["step"] for event in events if "train/loss" in event.get("m", {})]
    assert state["series"]["train/loss"]["x"] == steps == list(range(1, steps[-1] + 1))
    task = state["evals"]["task"]
    assert task["y"][-1] < 0.2 * task["baseline"]
    skills = [scores for name, scores in state["evals"].items() if name.startswith("general/")]
    assert len(skills) >= 3
    assert max(scores["delta"][-1] for scores in skills) > 0.02
    assert state["memory"]["measured"].keys() == state["memory"]["predicted"].keys()
    numbers = watcher.page.locator("run-view .run-numbers").first.inner_text()
    assert f"−{abs(task['delta'][-1]):.3f} since step 0" in numbers

"""How a run ended is true: lost losses, exit codes, kills, full disks, notebooks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import build
import run_process
import unfrozen
from watched_loops import alerts, events, series, small, steps

pytestmark = pytest.mark.slow

SCRIPT = """
import random, sys
sys.modules["transformers"] = None  # as if it were not installed
random.seed(3)
before = random.getstate()
import torch, unfrozen
model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(144, 2))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
run = unfrozen.watch(model, optimizer, runs=sys.argv[1], name="cnn")
for _ in range(3):
    model(torch.ones(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
assert random.getstate() == before
sys.exit(3)
"""


def test_a_script_without_transformers_is_watched_to_its_exit_code_in_silence(
    tmp_path: Path,
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(build.ROOT / "py")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert done.stderr.splitlines() == [done.stderr.strip()]  # the line that says where to look
    run = tmp_path / "cnn"
    assert len(series(run, "train/loss")) == 3
    assert events(run, "predicted")
    assert events(run)[-1]["status"] == "failed"
    assert events(run)[-1]["reason"] == "the script ended itself: sys.exit(3)"
    assert [one.name for one in run.iterdir()] == ["events.jsonl"]


@pytest.mark.parametrize(
    ("code", "status", "reason"),
    [(3, "failed", "sys.exit(3)"), (0, "finished", ""), ("no data", "failed", "'no data'")],
)
def test_an_exit_within_the_run_is_its_end(
    tmp_path: Path, code: Any, status: str, reason: str
) -> None:
    model, optimizer = small()
    run = unfrozen.watch(model, optimizer, runs=tmp_path)

    def script() -> None:
        with run:
            steps(model, optimizer)
            sys.exit(code)

    with pytest.raises(SystemExit):
        script()
    assert events(run)[-1]["status"] == status
    assert reason in events(run)[-1]["reason"]


def test_a_loss_that_is_no_number_is_alerted_once_and_is_how_the_run_ended(tmp_path: Path) -> None:
    model, optimizer = small()
    with unfrozen.watch(model, optimizer, runs=tmp_path) as run:
        steps(model, optimizer)
        for _ in range(3):
            (model(torch.ones(2, 4)).sum() * torch.nan).backward()
            optimizer.step()
            optimizer.zero_grad()
    assert alerts(run).count("The loss is nan at step 3") == 1
    assert events(run)[-1]["status"] == "failed"
    assert events(run)[-1]["reason"] == "the loss is not finite since step 3"
    assert not series(run, "train/skipped")  # it is not known


def test_a_loss_that_recovers_is_alerted_and_forgiven(tmp_path: Path) -> None:
    model, optimizer = small()
    with unfrozen.watch(model, optimizer, runs=tmp_path) as run:
        loss = model(torch.ones(2, 4)).sum() + torch.inf
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        steps(model, optimizer)
    assert "The loss is inf at step 1" in alerts(run)
    assert events(run)[-1]["status"] == "finished"


def train_until_killed(runs: str) -> None:
    model, optimizer = small()
    unfrozen.watch(model, optimizer, runs=runs, name="mine")
    steps(model, optimizer, 100_000)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_run_leaves_its_log_and_nothing_else(tmp_path: Path, how: signal.Signals) -> None:
    child = run_process.children().Process(target=train_until_killed, args=(str(tmp_path),))
    child.start()
    log = tmp_path / "mine" / "events.jsonl"
    while not log.exists() or '"train/loss"' not in log.read_text():
        assert child.is_alive()
        time.sleep(0.01)
    os.kill(child.pid, how)
    child.join()
    assert [one.name for one in log.parent.iterdir()] == ["events.jsonl"]
    assert "drift/total" in log.read_text()  # there was a copy of the weights


def test_a_full_disk_is_reported_and_the_log_stays_whole(
    tmp_path: Path, full_disk: int, capsys: pytest.CaptureFixture[str]
) -> None:
    model, optimizer = small()
    with unfrozen.watch(model, optimizer, runs=tmp_path, measure=False) as run:
        steps(model, optimizer, 400)
    assert run.place is not None
    text = (run.place / "events.jsonl").read_text()
    assert full_disk - 16_384 < len(text) <= full_disk
    assert text.endswith("}\n")
    assert len(events(run)) > 100
    told = [line for line in capsys.readouterr().err.splitlines() if "lacks what happens" in line]
    assert len(told) == 1
    assert "File too large" in told[0]


def test_the_cell_that_watches_may_be_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    model, optimizer = small()
    first = unfrozen.watch(model, optimizer, runs=tmp_path)
    steps(model, optimizer)
    second = unfrozen.watch(model, optimizer, runs=tmp_path)
    steps(model, optimizer, 3)
    second.close()
    assert [len(series(run, "train/loss")) for run in (first, second)] == [2, 3]
    assert events(first)[-1]["status"] == "stopped"
    assert events(first)[-1]["reason"] == "the model is watched by another run"


@pytest.mark.parametrize("when", ["before", "after, in a notebook"])
def test_an_error_of_another_cell_is_not_how_the_run_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    error = IndexError("of another cell")
    if when == "before":
        monkeypatch.setattr(sys, "last_value", error, raising=False)
    else:
        monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    model, optimizer = small()
    run = unfrozen.watch(model, optimizer, runs=tmp_path)
    steps(model, optimizer)
    monkeypatch.setattr(sys, "last_value", error, raising=False)
    run._at_exit()  # as the interpreter ends
    assert events(run)[-1]["status"] == "finished"

"""Thirty kills −9 at random moments: a run that is resumed after each of them is the same run.

Every attempt is a process of its own, forked from one that has loaded the libraries and computed
nothing. It lives for a random part of the time that a whole run takes and dies by SIGKILL, wherever
it is. The checkpoint it leaves must equal, to the last bit, the one that the uninterrupted run
wrote at that step: weights, moments, random numbers, position. So must the losses in the log and
the finished model.
"""

import json
import random
from functools import partial
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import pytest

import run_process
from gpu_runner.checkpoint import directory
from run_process import events, losses

pytestmark = pytest.mark.slow

KILLS = 30


@pytest.fixture
def options(model_dir: Path, sums_file: Path) -> dict[str, Any]:
    steps = {"steps": 20, "eval_every": 10, "save_every": 2, "lr": 3e-3, "micro_batch": 2}
    more: dict[str, Any] = {"general": (), "sample_tokens": 4}
    return {"model": str(model_dir), "data": str(sums_file), **steps, **more}


def live(target: Any, argument: Any, seconds: float | None) -> float | None:
    """Let a child run for `seconds` (None: to its end) and kill it; how long it took, unless so."""
    child = run_process.children().Process(target=target, args=(argument,))
    child.start()  # which waits for the libraries, the first time
    started = perf_counter()
    child.join(seconds)
    killed = child.is_alive()
    child.kill()
    child.join()
    assert killed or child.exitcode == 0, child.exitcode
    return None if killed else perf_counter() - started


def live_together(target: Any, argument: Any, runs: Path, until: int | None) -> Path:
    """The same for two processes of one run, killed as soon as one has taken step `until`."""
    if until is not None:
        target = partial(run_process.stand_after, until, target)
    started = run_process.together(target, argument)
    if until is not None:
        run_process.wait_until_standing(*started)
        for child in started:
            child.kill()
    for child in started:
        child.join()
        assert until is not None or child.exitcode == 0, child.exitcode
    (run,) = runs.iterdir()
    return run


def assert_same_checkpoint(one: Path, two: Path, timed: tuple[str, ...] = ("seconds",)) -> None:
    """Weights, moments, random numbers and position agree to the last bit; not what is `timed`."""
    tensors = sorted(file.relative_to(one) for file in one.rglob("*.safetensors"))
    assert len(tensors) >= 2
    for name in tensors:
        assert (one / name).read_bytes() == (two / name).read_bytes(), f"{two / name}"
    states = [json.loads((path / "state.json").read_text()) for path in (one, two)]
    for state in states:
        for name in timed:
            del state["history"][name]
    assert states[0] == states[1], two


def test_kills_at_any_time_change_nothing(
    options: dict[str, Any], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    wanted = KILLS if request.config.option.all else KILLS // 5
    whole = tmp_path / "whole"
    copied = run_process.train_here_and_copy_checkpoints
    longest = live(copied, options | {"runs": str(whole)}, None)
    assert longest is not None
    (reference,) = whole.iterdir()
    saved = {path.name: path for path in (reference / "copies").iterdir()}
    assert len(saved) == 10  # the last one too: a finished run can go on

    chance = random.Random(20261125)
    kills, compared, runs = 0, set(), 0
    while kills < wanted or len(compared) < 4:  # deaths all along the run, not only at its start
        place = tmp_path / str(runs)
        runs += 1
        target: Any = run_process.train_here
        argument: Any = options | {"runs": str(place)}
        while True:
            spared = kills >= wanted and len(compared) >= 4
            seconds = None if spared else chance.uniform(0.04, 1) * longest
            if live(target, argument, seconds) is not None:
                break
            kills += 1
            begun = [run for run in place.glob("*") if (run / "events.jsonl").exists()]
            if not begun:
                continue  # it died before there was anything to resume: start again
            (run,) = begun
            newest, refused = directory.newest(run / "checkpoints")
            assert refused == []
            if newest is not None:
                assert_same_checkpoint(saved[newest.name], newest)
                compared.add(newest.name)
            if (run / "finished").exists():
                break
            target, argument = run_process.resume_here, str(run)
        (run,) = (run for run in place.glob("*") if (run / "finished").exists())
        assert events(run)[-1]["kind"] == "run.end"
        assert losses(run) == losses(reference)
        model = "model/model.safetensors"
        assert (run / model).read_bytes() == (reference / model).read_bytes()


def test_two_processes_killed_and_resumed_are_the_same_two(
    options: dict[str, Any], tmp_path: Path
) -> None:
    shared = options | {"grad_accum": 2, "save_every": 3, "steps": 12}
    places = [tmp_path / "whole", tmp_path / "broken"]
    whole, broken = (shared | {"runs": str(place)} for place in places)
    train, copied = run_process.train_here, run_process.train_here_and_copy_checkpoints
    reference = live_together(copied, whole, places[0], None)
    run = live_together(train, broken, places[1], 4)
    for until in (7, None):
        newest, _ = directory.newest(run / "checkpoints")
        assert newest is not None
        # When gloo lets go of what it has sent, and so the bytes at a peak, hangs on the other one.
        timed = ("seconds", "measured", "peak_bytes")
        assert_same_checkpoint(reference / "copies" / newest.name, newest, timed)
        live_together(run_process.resume_here, str(run), places[1], until)
    assert losses(run) == losses(reference)
    model = "model/model.safetensors"
    assert (run / model).read_bytes() == (reference / model).read_bytes()


def test_a_run_that_loses_a_process_says_so_and_can_go_on(
    options: dict[str, Any], tmp_path: Path
) -> None:
    shared = options | {"grad_accum": 2, "save_every": 3, "steps": 4000, "runs": str(tmp_path)}
    first, second = run_process.together(run_process.train_here, shared)
    while not (found := list(tmp_path.glob("*/events.jsonl"))) or (
        run_process.last_step(found[0].parent) < 6
    ):
        assert first.is_alive()
        assert second.is_alive()
        sleep(0.002)
    second.kill()
    first.join()
    assert first.exitcode not in (0, None)
    run = found[0].parent
    end = events(run)[-1]
    assert (end["kind"], end["status"]) == ("run.end", "failed")
    assert "another process of this run has ended" in end["reason"]
    newest, refused = directory.newest(run / "checkpoints")
    assert newest is not None
    assert refused == []

"""The list of runs: which directories count, and how a run stands."""

import json
from pathlib import Path
from typing import Any

import pytest

from gpu_runner.log.runs import RunIndex, describe
from gpu_runner.log.tail import writer_alive
from gpu_runner.log.writer import EventLog, SystemClock


class At:
    """A clock that stands still."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def wall(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return self.seconds


def write(runs: Path, name: str, *events: dict[str, Any]) -> Path:
    path = runs / name / "events.jsonl"
    path.parent.mkdir(parents=True)
    full = ({"run": name, "seq": seq, "att": 0, **event} for seq, event in enumerate(events))
    path.write_text("".join(json.dumps(event) + "\n" for event in full))
    return path


def start(t: float = 100.0) -> dict[str, Any]:
    head = {"kind": "run.start", "t": t, "step": 0}
    return {**head, "model": {"name": "demo"}, "plan": {"steps": 40}}


def test_a_run_is_told_from_its_first_and_last_event(tmp_path: Path) -> None:
    end = {"kind": "run.end", "t": 190.0, "step": 40, "status": "finished"}
    path = write(tmp_path, "a", start(), end)
    (info,) = RunIndex(tmp_path, At(500.0)).infos()
    assert (info.id, info.status, info.model) == ("a", "finished", "demo")
    assert (info.step, info.steps, info.started, info.updated) == (40, 40, 100.0, 190.0)
    assert info.bytes == path.stat().st_size


def test_the_newest_run_comes_first(tmp_path: Path) -> None:
    for name, t in (("b", 200.0), ("c", 300.0), ("a", 100.0)):
        write(tmp_path, name, start(t))
    assert [info.id for info in RunIndex(tmp_path, At(500.0)).infos()] == ["c", "b", "a"]


def test_a_run_whose_process_ended_without_a_word_is_gone(tmp_path: Path) -> None:
    path = write(tmp_path, "a", start())
    info = describe("a", path, 101.0)
    assert info is not None
    assert info.status == "gone"
    assert writer_alive(path) is False


@pytest.mark.parametrize(("now", "status"), [(129.0, "running"), (131.0, "stalled")])
def test_a_run_is_stalled_when_it_breaks_its_own_promise(
    tmp_path: Path, now: float, status: str
) -> None:
    path = tmp_path / "a" / "events.jsonl"
    with EventLog(path, run="a", clock=At(100.0)) as log:
        log.emit("run.start", 0)
        log.emit("beat", 0, expect_next_in=10.0)
        info = describe("a", path, now)
        assert writer_alive(path) is True
    assert info is not None
    assert info.status == status


def test_asking_whether_the_writer_lives_never_keeps_a_writer_out(tmp_path: Path) -> None:
    path = write(tmp_path, "a", start())
    for attempt in range(1, 20):
        assert writer_alive(path) is False
        EventLog(path, run="a", clock=SystemClock(), attempt=attempt).close()


def test_links_and_other_things_are_no_runs(tmp_path: Path) -> None:
    runs, elsewhere = tmp_path / "runs", tmp_path / "elsewhere"
    path = write(elsewhere, "secret", start())
    write(runs, "real", start())
    (runs / "linked-folder").symlink_to(elsewhere / "secret")
    (runs / "linked-file").mkdir()
    (runs / "linked-file" / "events.jsonl").symlink_to(path)
    (runs / "no-log").mkdir()
    (runs / "a-file").write_text("x")
    index = RunIndex(runs, At(0.0))
    assert list(index.logs()) == ["real"]
    assert index.log("linked-folder") is None
    assert index.log("../elsewhere/secret") is None


def test_a_folder_that_is_not_there_yet_has_no_runs(tmp_path: Path) -> None:
    assert RunIndex(tmp_path / "none", At(0.0)).infos() == []


def test_a_log_without_a_whole_event_is_left_out(tmp_path: Path) -> None:
    path = write(tmp_path, "a", start())
    path.write_text(path.read_text().rstrip("\n"))
    assert RunIndex(tmp_path, At(0.0)).infos() == []


def test_a_log_with_wrong_types_does_not_break_the_list(tmp_path: Path) -> None:
    odd = {"kind": "metrics", "t": "noon", "step": "third", "model": 5, "plan": {"steps": None}}
    write(tmp_path, "odd", odd)
    (info,) = RunIndex(tmp_path, At(0.0)).infos()
    assert (info.model, info.step, info.steps, info.started) == ("", 0, 0, 0.0)

"""The list of runs: which directories count, and how a run stands."""

import json
import os
import shutil
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from gpu_runner.log import runs
from gpu_runner.log.runs import RunIndex, describe
from gpu_runner.log.tail import writer_alive
from gpu_runner.log.writer import EventLog, SystemClock
from nobody import as_nobody


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


def test_a_run_is_reported_from_its_first_and_last_event(tmp_path: Path) -> None:
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


def test_what_may_not_be_read_is_listed_and_stands_in_nobodys_way(shared: Path) -> None:
    write(shared, "good", start())
    write(shared, "shut log", start()).chmod(0)
    write(shared, "shut folder", start()).parent.chmod(0)
    index = RunIndex(shared, At(101.0))
    with as_nobody():
        infos = {info.id: info for info in index.infos()}
        assert index.log("good") == shared / "good" / "events.jsonl"
        assert index.log("shut folder") is None
    assert infos["good"].problem == ""
    for name in ("shut log", "shut folder"):
        assert infos[name].status == "unreadable"
        assert infos[name].problem == "it cannot be read (Permission denied)"
    (shared / "shut folder").chmod(0o700)


def test_however_many_runs_there_are_all_are_listed(tmp_path: Path) -> None:
    for t in range(2001):
        write(tmp_path, f"run {t}", start(float(t)))
    infos = RunIndex(tmp_path, At(5000.0)).infos()
    assert [info.id for info in infos] == [f"run {t}" for t in reversed(range(2001))]


def test_a_log_is_read_again_only_when_it_has_changed(tmp_path: Path) -> None:
    path = write(tmp_path, "a", start())
    index = RunIndex(tmp_path, At(101.0))
    (before,) = index.infos()
    whole, then = path.read_bytes(), path.stat()
    path.write_bytes(whole.replace(b'"demo"', b'"omed"'))
    os.utime(path, ns=(then.st_atime_ns, then.st_mtime_ns))  # nothing to see it by
    assert index.infos() == [before]
    with path.open("ab") as file:
        file.write(b" \n")
    (after,) = index.infos()
    assert (before.model, after.model) == ("demo", "omed")


def evaluated(step: int, loss: float | str, **more: Any) -> dict[str, Any]:
    return {"kind": "eval", "t": 100.0 + step, "step": step, "suite": "task", "loss": loss, **more}


def test_how_a_run_stands_is_in_the_list(tmp_path: Path) -> None:
    predicted = {"peak_bytes": 900, "peak_instant": "load", "instants": {}}
    begun = start() | {"config": {"data": "of/mine.jsonl"}, "predicted": predicted}
    mem = {"kind": "mem", "t": 101.0, "step": 1, "instant": "load"}
    exact = {"right": 3, "wrong": 1, "of": 4}
    general = {"suite": "general", "delta": 0.5}
    events = [begun, evaluated(0, 3.0, delta=0.0), mem | {"total_bytes": 880}]
    events += [mem | {"total_bytes": 870}, evaluated(9, "NaN") | general]
    events += [evaluated(9, 1.0, delta=-2.0, exact=exact), evaluated(9, 7.0) | {"suite": "other"}]
    write(tmp_path, "a", *events)
    (info,) = RunIndex(tmp_path, At(500.0)).infos()
    assert info.task == {"loss": 1.0, "delta": -2.0, "right": 3, "of": 4}
    assert info.general == {"loss": "NaN", "delta": 0.5}
    assert (info.data, info.peak_bytes, info.predicted_bytes) == ("mine.jsonl", 880, 900)
    assert info.tool == ""
    end = {"kind": "run.end", "t": 120.0, "step": 9, "status": "finished"}
    write(tmp_path / "ended", "a", *events, end | {"summary": {"measured_peak_bytes": 890}})
    (info,) = RunIndex(tmp_path / "ended", At(500.0)).infos()
    assert info.peak_bytes == 890, "its measurement may lie in a part of the log that is not read"


@pytest.mark.parametrize(
    ("head", "tool"),
    [
        ({"source": "watched", "trainer": "transformers.Trainer"}, "watched: transformers.Trainer"),
        ({"source": "watched"}, "watched"),
        ({"source": "imported", "tool": "W&B"}, "imported: W&B"),
    ],
)
def test_watched_and_imported_runs_name_what_logged_them(
    tmp_path: Path, head: dict[str, Any], tool: str
) -> None:
    later = {"kind": "predicted", "t": 101.0, "predicted": {"peak_bytes": 5}}
    folder = {"model": {"name": "/models/mine"}}
    write(tmp_path, "a", start() | head | folder, evaluated(4, 2.0), later)
    (info,) = RunIndex(tmp_path, At(500.0)).infos()
    assert info.model == "mine"
    assert (info.tool, info.task, info.predicted_bytes) == (tool, {"loss": 2.0}, 5)


def test_an_evaluation_that_lies_far_back_stays_known_while_the_log_grows(tmp_path: Path) -> None:
    path = write(tmp_path, "a", start(), evaluated(1, 2.0))
    index = RunIndex(tmp_path, At(500.0))
    assert index.infos()[0].task == {"loss": 2.0}
    line = json.dumps({"run": "a", "seq": 9, "att": 0, "kind": "beat", "t": 200.0, "step": 7})
    with path.open("a") as log:
        log.write(f"{line}{' ' * 10_000}\n" * 200)
    (info,) = index.infos()
    assert (info.step, info.task) == (7, {"loss": 2.0})


def test_who_asks_again_gets_what_has_changed(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path, name, start())
    index = RunIndex(tmp_path, At(500.0))
    first = index.changes("")
    assert first["whole"]
    assert [line["id"] for line in first["runs"]] == ["a", "b"]
    same = index.changes(first["version"])
    nothing = {"whole": False, "more": False, "runs": [], "gone": []}
    assert same == {"version": first["version"]} | nothing
    end = {"kind": "run.end", "t": 190.0, "step": 40, "status": "finished"}
    shutil.rmtree(tmp_path / "a")
    write(tmp_path, "a", start(), end)
    shutil.rmtree(tmp_path / "b")
    later = index.changes(first["version"])
    assert [(line["id"], line["status"]) for line in later["runs"]] == [("a", "finished")]
    assert later["gone"] == ["b"]
    assert index.changes("another server's.7")["whole"]
    assert index.changes(later["version"])["gone"] == []


class Ticking(At):
    """A clock on which every look takes a tenth of a second."""

    def monotonic(self) -> float:
        self.seconds += 0.1
        return self.seconds


def test_a_page_waits_for_no_more_logs_than_can_be_read_at_once(tmp_path: Path) -> None:
    for number in range(12):
        folder = write(tmp_path, f"run{number:02}", start()).parent
        os.utime(folder, (number, number))
    index = RunIndex(tmp_path, Ticking(0.0))
    answers = [index.changes("")]
    while answers[-1]["more"]:
        answers.append(index.changes(answers[-1]["version"]))
    found = [[line["id"] for line in answer["runs"]] for answer in answers]
    assert len(found) > 2
    assert [name for names in found for name in sorted(names, reverse=True)] == [
        f"run{number:02}"
        for number in reversed(range(12))  # the newest first
    ]
    assert len(RunIndex(tmp_path, Ticking(0.0)).infos()) == 12


def test_what_is_read_ahead_is_in_the_first_answer(tmp_path: Path) -> None:
    for number in range(12):
        write(tmp_path, f"run{number}", start())
    index = RunIndex(tmp_path, Ticking(0.0))
    index.read_ahead()
    answer = index.changes("")
    assert (len(answer["runs"]), answer["more"]) == (12, False)


def test_who_asks_for_all_keeps_nobody_from_what_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "ANSWER_SECONDS", 0.01)  # all are read in ten times that, and more
    write(tmp_path, "0", start())
    log = (tmp_path / "0" / "events.jsonl").read_bytes()
    for number in range(1, 1000):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "events.jsonl").write_bytes(log)
    index = RunIndex(tmp_path, SystemClock())
    whole: list[int] = []
    asker = Thread(target=lambda: whole.append(len(index.infos())))
    asker.start()
    answer = index.changes("")
    assert answer["more"], "it did not wait until all were read"
    assert not whole
    asker.join()
    assert whole == [1000]

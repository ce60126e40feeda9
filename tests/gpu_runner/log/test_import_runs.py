"""Files and folders of other tools become runs that `serve` lists, once each."""

import json
import os
import stat
import sys
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

import foreign_runs
from gpu_runner.cli.application import application
from gpu_runner.errors import DataError
from gpu_runner.log.import_runs import find_runs, import_runs
from gpu_runner.log.runs import RunIndex
from gpu_runner.log.writer import SystemClock


def state(path: Path, steps: int, name: str = "trainer_state.json") -> Path:
    history = [{"step": n, "loss": 3.0 / n} for n in range(1, steps + 1)]
    whole = {"log_history": history, "global_step": steps, "max_steps": 8}
    path.mkdir(parents=True, exist_ok=True)
    (path / name).write_text(json.dumps(whole))
    return path / name


def imported(*words: str) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(application(), ["import", *words])


def test_an_imported_run_is_listed_like_any_other(tmp_path: Path) -> None:
    file = state(tmp_path / "llama" / "checkpoint-4", 4)
    (found,) = import_runs(file, tmp_path / "runs")
    assert found.directory is not None
    (listed,) = RunIndex(tmp_path / "runs", SystemClock()).infos()
    assert (listed.id, listed.model, listed.status) == (found.directory.name, "llama", "stopped")
    assert (listed.step, listed.steps, listed.problem) == (4, 8, "")
    log = found.directory / "events.jsonl"
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert [entry.name for entry in found.directory.iterdir()] == ["events.jsonl"]


def test_the_same_content_is_imported_once_and_that_is_reported(tmp_path: Path) -> None:
    runs = str(tmp_path / "runs")
    first = imported(str(state(tmp_path / "a", 4)), "--runs", runs)
    log = next((tmp_path / "runs").glob("*/events.jsonl"))
    before = log.stat().st_mtime_ns
    again = imported(str(state(tmp_path / "b", 4)), "--runs", runs, "--name", "other")
    assert (first.exit_code, again.exit_code) == (0, 0)
    assert "4 numbers up to step 4" in first.stdout
    assert "imported before, nothing has changed" in again.stdout
    assert log.stat().st_mtime_ns == before
    assert "serve --runs" in first.stdout


def test_what_was_left_half_written_is_written_whole(tmp_path: Path) -> None:
    file = state(tmp_path / "a", 4)
    (found,) = import_runs(file, tmp_path / "one")
    assert found.directory is not None
    half = tmp_path / "two" / found.directory.name
    half.mkdir(parents=True)
    (half / "events.tmp").write_text("half")
    (again,) = import_runs(file, tmp_path / "two")
    assert again.is_new
    assert (half / "events.jsonl").read_text() == (found.directory / "events.jsonl").read_text()


def test_of_checkpoints_side_by_side_the_furthest_counts(tmp_path: Path) -> None:
    for steps in (2, 10, 4):
        state(tmp_path / "out" / f"checkpoint-{steps}", steps)
    assert find_runs(tmp_path) == [(tmp_path / "out" / "checkpoint-10" / "trainer_state.json",)]
    last = state(tmp_path / "out", 12)
    assert find_runs(tmp_path) == [(last,)]


def test_every_folder_of_event_files_is_a_run_and_its_files_come_in_their_order(
    tmp_path: Path,
) -> None:
    for name, stamps in (("a", (2000, 999)), ("b", (5,))):
        (tmp_path / name).mkdir()
        for stamp in stamps:
            (tmp_path / name / f"events.out.tfevents.{stamp}.h").write_bytes(b"")
    first, second = find_runs(tmp_path)
    assert [file.name.split(".")[3] for file in first] == ["999", "2000"]
    assert len(second) == 1


def test_an_event_file_is_read_with_those_beside_it(tmp_path: Path) -> None:
    foreign_runs.event_file(tmp_path / "log", [{"loss": 2.0}] * 3)
    (first,) = (tmp_path / "log").iterdir()
    first = first.rename(tmp_path / "log" / "events.out.tfevents.1000.h")
    foreign_runs.event_file(tmp_path / "log", [{"loss": 1.0}] * 3, first=2)
    (found,) = import_runs(first, tmp_path / "runs")
    assert len(found.files) == 2
    text = (found.directory / "events.jsonl").read_text()  # type: ignore[operator]
    assert '"kind":"run.resume"' in text


def test_what_add_scalars_wrote_is_one_run_and_another_run_below_stays_another(
    tmp_path: Path,
) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(tmp_path / "tb") as writer:
        for step in range(1, 4):
            writer.add_scalar("lr", 1e-4, step)
            writer.add_scalars("loss", {"train": 2.0 / step, "val": 3.0 / step}, step)
            writer.add_scalars("gap/of losses", {"mean": 1.0}, step)
    foreign_runs.event_file(tmp_path / "tb" / "loss", [{"loss": 2.0}])
    other, whole = sorted(import_runs(tmp_path, tmp_path / "runs"), key=lambda one: len(one.files))
    assert len(other.files) == 1
    assert whole.run is not None
    names = ["gap/of losses/mean", "loss/train", "loss/val", "lr"]
    assert sorted(whole.run.points.names) == names
    log = (whole.directory / "events.jsonl").read_text()  # type: ignore[operator]
    assert '"m":{"opt/lr":' in log
    assert '"suite":"task","loss":1.0,"delta":-2.0' in log


def test_a_folder_of_everything_gives_every_run_and_names_what_failed(tmp_path: Path) -> None:
    state(tmp_path / "all" / "good", 4)
    (tmp_path / "all" / "bad").mkdir()
    (tmp_path / "all" / "bad" / "trainer_state.json").write_text('{"log_history": [')
    foreign_runs.event_file(tmp_path / "all" / "tb", [{"loss": 2.0}])
    done = imported(str(tmp_path / "all"), "--runs", str(tmp_path / "runs"))
    assert done.exit_code == 0
    assert "trainer_state.json at byte 17: it is no whole JSON" in done.stderr
    assert len(list((tmp_path / "runs").iterdir())) == 2
    assert "To see them in the page: " in done.stdout


def test_a_name_may_be_given(tmp_path: Path) -> None:
    imported(str(state(tmp_path / "a", 4)), "--runs", str(tmp_path / "runs"), "--name", "Ω")
    (listed,) = RunIndex(tmp_path / "runs", SystemClock()).infos()
    assert listed.model == "Ω"
    long = imported(str(state(tmp_path / "a", 4)), "--name", "x" * 201)
    assert (long.exit_code, "give at most 200" in long.stderr) == (2, True)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path / "none", "it is not there"),
        (lambda path: path, "there is no run of another tool in it; expected is a trainer_state"),
        (lambda path: state(path, 4, "x.json").with_name("link"), "it is a link"),
    ],
)
def test_a_path_without_a_run_is_one_message(tmp_path: Path, make: object, said: str) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "x.json")
    done = imported(str(make(tmp_path)), "--runs", str(tmp_path / "runs"))  # type: ignore[operator]
    assert done.exit_code == 3
    assert said in done.stderr
    assert not (tmp_path / "runs").exists()


def test_links_below_a_folder_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "latest-run").symlink_to(state(tmp_path / "out", 4).parent)
    (tmp_path / "in" / "trainer_state.json").symlink_to(tmp_path / "out" / "trainer_state.json")
    assert find_runs(tmp_path / "in") == []


def test_a_tree_without_end_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[import_runs.__module__], "MOST_ENTRIES", 5)
    for n in range(6):
        (tmp_path / str(n)).mkdir()
    with pytest.raises(DataError, match="more than 5 files and folders"):
        find_runs(tmp_path)


def test_a_pipe_in_the_place_of_a_file_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "trainer_state.json")
    assert find_runs(tmp_path) == []


def test_a_name_cannot_steer_the_terminal(tmp_path: Path) -> None:
    file = state(tmp_path / "a\x1b[31m", 4)
    done = imported(str(file.parent), "--runs", str(tmp_path / "runs"))
    assert "\x1b[31m" not in done.stdout


@pytest.mark.slow
def test_the_real_trainers_folder_is_one_run(tmp_path: Path) -> None:
    import tiny_llama

    folder = foreign_runs.trained(tmp_path / "out", tiny_llama.model(), steps=4)
    (found,) = import_runs(folder, tmp_path / "runs")
    assert found.files == (folder / "trainer_state.json",)
    assert found.run is not None
    assert found.run.status == "finished"

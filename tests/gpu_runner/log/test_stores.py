"""Every run in a database of trackio or MLflow is imported, and those of MLflow's folders."""

import math
import sqlite3
from pathlib import Path

from gpu_runner.log.import_runs import Imported, import_runs
from unfrozen.imported.log import ForeignRun
from unfrozen.imported.points import moments

HERE = Path(__file__).parent
LOSSES = [2.5 / step for step in range(1, 6)]


def database(place: Path, tool: str) -> Path:
    """A database of a tool, from what it had stored."""
    file = place / f"{tool}.db"
    with sqlite3.connect(file) as made:
        made.executescript((HERE / f"{tool}.sql").read_text())
    made.close()
    return file


def mlflow_folder(place: Path, loss: str) -> Path:
    """A run as MLflow keeps it in files, which has failed."""
    folder = place / "mlruns" / "7" / "438e6c553f2545ac"
    (folder / "metrics" / "train").mkdir(parents=True)
    (folder / "params").mkdir()
    (folder / "meta.yaml").write_text("lifecycle_stage: active\nrun_name: 'third'\nstatus: 4\n")
    (folder / "metrics" / "train" / "loss").write_text(loss)
    (folder / "params" / "lr").write_text("0.0001")
    return folder


def runs_in(place: Path, runs: Path) -> list[ForeignRun]:
    found = list(import_runs(place, runs))
    assert [one.problem for one in found] == [""] * len(found)
    return [one.run for one in found if one.run]


def curve(run: ForeignRun, name: str) -> list[float]:
    return [values[name] for _, _, values in moments(run.points.attempts[0]) if name in values]


def test_trackios_database_gives_each_run_its_numbers_and_settings(tmp_path: Path) -> None:
    first, second = runs_in(database(tmp_path, "trackio"), tmp_path / "runs")
    assert {first.name, second.name} == {"first", "second"}
    assert first.config == {"lr": 1e-4, "optim": {"name": "adamw"}}  # and nobody's name
    assert curve(first, "train/loss") == LOSSES
    assert curve(first, "eval/loss") == [3.0, 1.0, 0.6]


def test_mlflows_database_gives_each_run_its_numbers_and_its_end(tmp_path: Path) -> None:
    first, second = runs_in(database(tmp_path, "mlflow"), tmp_path / "runs")
    assert (first.name, first.status) == ("first", "finished")
    assert (second.name, second.status) == ("second", "failed")
    assert first.config == {"lr": "0.0001", "optimizer": "adamw"}
    assert curve(second, "train/loss") == LOSSES
    assert math.isnan(curve(second, "odd")[0])


def test_a_folder_of_mlflow_is_found_and_read(tmp_path: Path) -> None:
    mlflow_folder(tmp_path, "1795973317111 2.5 1\n1795973317112 1.25 2\n")
    (run,) = runs_in(tmp_path, tmp_path / "runs")
    assert (run.name, run.status, run.config) == ("third", "failed", {"lr": "0.0001"})
    assert curve(run, "train/loss") == [2.5, 1.25]


def test_a_second_import_of_a_database_finds_the_first(tmp_path: Path) -> None:
    file = database(tmp_path, "trackio")
    before = list(import_runs(tmp_path, tmp_path / "runs"))
    again = list(import_runs(file, tmp_path / "runs"))
    assert [one.is_new for one in before] == [True, True]
    assert [(one.directory, one.is_new) for one in again] == [
        (one.directory, False) for one in before
    ]


def problem_of(found: list[Imported]) -> str:
    (one,) = found
    return one.problem


def test_what_is_no_store_is_refused_with_what_to_do(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    for name, script, problem in (
        ("other", "CREATE TABLE metrics (a)", "neither trackio's nor MLflow's"),
        ("empty", (HERE / "trackio.sql").read_text().partition("INSERT")[0], "no such table"),
    ):
        with sqlite3.connect(tmp_path / f"{name}.db") as made:
            made.executescript(script)
        assert problem in problem_of(list(import_runs(tmp_path / f"{name}.db", runs)))
    whole = database(tmp_path, "mlflow").read_bytes()
    (tmp_path / "cut.db").write_bytes(whole[: len(whole) // 2])
    assert "cannot be read" in problem_of(list(import_runs(tmp_path / "cut.db", runs)))
    folder = mlflow_folder(tmp_path, "1795973317111 two 1\n")
    assert "is not milliseconds, value and step" in problem_of(
        list(import_runs(folder / "meta.yaml", runs))
    )

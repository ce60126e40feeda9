import csv
import math
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from gpu_runner.errors import CheckpointError, UsageError
from gpu_runner.log.export_metrics import export_metrics, read_metrics
from gpu_runner.log.writer import EventLog, SystemClock


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The log of three steps, one of them taken twice, with a torn line at its end."""
    directory = tmp_path / "run"
    with EventLog(directory / "events.jsonl", run="run", clock=SystemClock()) as log:
        log.emit("metrics", 1, m={"train/loss": 2.5, "train/tokens": 100})
        log.emit("eval", 1, suite="task", loss=2.25, delta=0.0, baseline=2.25, tokens=9)
        log.emit("metrics", 2, m={"train/loss": 9.0})
    with EventLog(directory / "events.jsonl", run="run", clock=SystemClock(), attempt=1) as log:
        log.emit("run.resume", 1, from_step=1)
        log.emit("metrics", 2, m={"train/loss": 0.1 + 0.2})
        log.emit("metrics", 3, m={"train/loss": math.nan})
        log.emit("drift", 3, layers={"layers.0": 0.5}, total=0.5)
        log.emit(
            "mem", 3, instant="load", components={"params": 8}, total_bytes=8, source="tensors"
        )
    with (directory / "events.jsonl").open("ab") as file:
        file.write(b'{"v":1,"ki')
    return directory


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_csv_has_a_row_a_step_and_a_column_a_number(run: Path) -> None:
    path = export_metrics(run, "csv")
    assert path == run / "export" / "metrics.csv"
    rows = table(path)
    assert [row["step"] for row in rows] == ["1", "2", "3"]
    assert rows[0]["train/tokens"] == "100"
    assert rows[0]["eval/task"] == "2.25"
    assert rows[1]["eval/task"] == ""
    assert rows[2]["drift/layers.0"] == "0.5"
    assert rows[2]["mem/load_bytes"] == "8"


def test_numbers_read_back_as_themselves(run: Path) -> None:
    rows = table(export_metrics(run, "csv"))
    assert float(rows[1]["train/loss"]) == 0.1 + 0.2
    assert math.isnan(float(rows[2]["train/loss"]))


def test_of_a_step_taken_twice_the_later_one_counts(run: Path) -> None:
    assert read_metrics(run / "events.jsonl")[2]["train/loss"] != 9.0


def test_an_unknown_format_is_refused_with_the_known_ones(run: Path) -> None:
    with pytest.raises(UsageError, match="--to 'xls' is unknown: choose csv or tensorboard or"):
        export_metrics(run, "xls")


def test_a_directory_without_a_log_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"not a run: it has no events\.jsonl"):
        export_metrics(tmp_path, "csv")


@pytest.mark.parametrize(
    ("to", "package"), [("tensorboard", "tensorboard"), ("wandb-offline", "wandb")]
)
def test_a_library_that_is_not_there_is_named(
    run: Path, to: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # type: ignore[arg-type]  # as if absent
    with pytest.raises(UsageError, match=f"needs {package}, .*pip install {package}, or give"):
        export_metrics(run, to)


def test_tensorboard_reads_back_what_was_exported(run: Path) -> None:
    found = EventAccumulator(str(export_metrics(run, "tensorboard")))
    found.Reload()
    assert [event.step for event in found.Scalars("train/loss")] == [1, 2, 3]

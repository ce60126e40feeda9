"""`unfrozen runs`: the page's list in a terminal, and the trash emptied."""

import json
from pathlib import Path

from typer.testing import CliRunner

from gpu_runner.cli.application import application
from gpu_runner.log.notes import change_notes, delete_run
from gpu_runner.log.writer import EventLog, SystemClock


def listed(runs: Path, *options: str) -> str:
    """What the command prints."""
    found = CliRunner().invoke(application(), ["runs", "--runs", str(runs), *options])
    assert found.exit_code == 0, found.output
    return found.output


def write(runs: Path, name: str) -> Path:
    with EventLog(runs / name / "events.jsonl", run=name, clock=SystemClock()) as log:
        log.emit("run.start", 0, model={"name": "demo"}, plan={"steps": 1200})
        log.emit("eval", 1200, suite="task", loss=0.25, delta=-1.5)
        log.emit("run.end", 1200, status="finished")
    return runs / name


def test_runs_are_listed_as_in_the_page(tmp_path: Path) -> None:
    change_notes(write(tmp_path, "one"), {"tags": []}, {"tags": ["rates"]})
    change_notes(write(tmp_path, "old"), {"archived": False}, {"archived": True})
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "events.jsonl").symlink_to(tmp_path)
    told = " ".join(listed(tmp_path).split())
    for part in (
        "one finished demo 1,200/1,200",
        "0.250",
        "(−1.500)",
        "rates",
        "bad: its events.jsonl",
    ):
        assert part in told
    assert "old finished" not in told
    assert "1 archived run not listed" in told
    assert "old" in listed(tmp_path, "--archived")
    (first, bad) = json.loads(listed(tmp_path, "--json"))
    assert (first["id"], first["task"]["loss"], first["tags"]) == ("one", 0.25, ["rates"])
    assert bad["problem"]


def test_the_trash_is_emptied_on_command_alone(tmp_path: Path) -> None:
    delete_run(write(tmp_path, "one"), "finished")
    assert "1 deleted run in the trash: " in listed(tmp_path)
    assert "1 run deleted for good" in listed(tmp_path, "--empty-trash")
    assert list((tmp_path / ".trash").iterdir()) == []
    assert "There are no runs" in listed(tmp_path)


def test_a_file_is_no_run(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")
    found = CliRunner().invoke(application(), ["ask", str(file), "Hello"])
    assert found.exit_code == 2
    assert "model.gguf is a file: give a run, by its id or its directory." in " ".join(
        found.output.split()
    )

"""`unfrozen runs`: the page's list in a terminal, and runs deleted there."""

import json
from pathlib import Path

from typer.testing import CliRunner

from gpu_runner.cli.application import application
from gpu_runner.log.writer import EventLog, SystemClock


def listed(runs: Path, *options: str, typed: str = "", code: int = 0) -> str:
    """What the command prints, each run of spaces as one."""
    arguments = ["runs", "--runs", str(runs), *options]
    found = CliRunner().invoke(application(), arguments, input=typed)
    assert found.exit_code == code, found.output
    return " ".join(found.output.split())


def write(runs: Path, name: str) -> Path:
    with EventLog(runs / name / "events.jsonl", run=name, clock=SystemClock()) as log:
        log.emit("run.start", 0, model={"name": "demo"}, plan={"steps": 1200})
        log.emit("eval", 1200, suite="task", loss=0.25, delta=-1.5)
        log.emit("run.end", 1200, status="finished")
    return runs / name


def test_runs_are_listed_as_in_the_page(tmp_path: Path) -> None:
    write(tmp_path, "one")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "events.jsonl").symlink_to(tmp_path)
    printed = listed(tmp_path)
    for part in ("one finished demo 1,200/1,200", "0.250", "(−1.500)", "bad: its events.jsonl"):
        assert part in printed
    (first, bad) = json.loads(listed(tmp_path, "--json"))
    assert (first["id"], first["task"]["loss"]) == ("one", 0.25)
    assert bad["problem"]


def test_a_run_is_deleted_once_its_name_is_typed(tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        write(tmp_path, name)
    outside = tmp_path / "elsewhere.txt"
    outside.write_text("kept")
    (tmp_path / "one" / "link").symlink_to(outside)
    refused = listed(tmp_path, "--delete", "one", typed="two\n", code=2)
    assert "2 files" in refused
    assert "Nothing was deleted" in refused
    assert (tmp_path / "one").is_dir()
    assert "Deleted one, " in listed(tmp_path, "--delete", "one", typed="one\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere.txt", "three", "two"]
    assert "Deleted three, " in listed(tmp_path, "--delete", "two", "--delete", "three", "--yes")
    assert outside.read_text() == "kept"


def test_only_a_run_that_is_over_is_deleted(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    mine = write(tmp_path, "mine")
    (tmp_path / "runs" / "link").symlink_to(mine)
    for name in ("link", "../mine", ".", "", "none"):
        assert "There is no run" in listed(tmp_path / "runs", "--delete", name, "--yes", code=2)
    with EventLog(tmp_path / "runs/now/events.jsonl", run="now", clock=SystemClock()) as log:
        log.emit("run.start", 0, model={"name": "demo"}, plan={"steps": 1200})
        assert "stop it first" in listed(tmp_path / "runs", "--delete", "now", "--yes", code=2)
    assert mine.is_dir()
    assert (tmp_path / "runs" / "now").is_dir()


def test_a_file_is_no_run(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")
    found = CliRunner().invoke(application(), ["ask", str(file), "Hello"])
    assert found.exit_code == 2
    assert "model.gguf is a file: give a run, by its id or its directory." in " ".join(
        found.output.split()
    )

"""Finished runs in a copy of the site: whole, named, without the folders of this machine."""

import hashlib
import json
import lzma
from pathlib import Path

import pytest

from gpu_runner.errors import UsageError
from gpu_runner.log.writer import EventLog, SystemClock
from gpu_runner.serve.publish import publish
from unfrozen.schema.offline import SERVICE_WORKER


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site of a few files, one of them packed as a wheel has it."""
    folder = tmp_path / "site"
    (folder / "recordings").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html>")
    (folder / "python.zip.xz").write_bytes(lzma.compress(b"library"))
    listed = [{"id": "demo", "file": "demo.jsonl", "title": "Demo", "description": ""}]
    (folder / "recordings" / "index.json").write_text(json.dumps(listed))
    (folder / "recordings" / "demo.jsonl").write_text("{}\n")
    return folder


def written(runs: Path, name: str, *, ended: bool = True) -> Path:
    """A run of three steps with its model in its own folder."""
    path = runs / name / "events.jsonl"
    with EventLog(path, run=name, clock=SystemClock()) as log:
        config = {"model": str(runs / "model"), "data": "/elsewhere/rows.jsonl"}
        log.emit("run.start", 0, config=config, model={"name": "tiny"}, plan={"steps": 3}, data={})
        for step in range(1, 4):
            log.emit("metrics", step, m={"train/loss": 3.0 / step})
        if ended:
            log.emit("run.end", 3, status="finished", reason="")
    return path.parent


def test_runs_stand_first_among_the_recordings_of_a_copy(site: Path, tmp_path: Path) -> None:
    runs, out = tmp_path / "runs", tmp_path / "out"
    done = publish([written(runs, "one"), written(runs, "zwei ü")], site, out, tmp_path)
    listed = json.loads((out / "recordings" / "index.json").read_text("utf-8"))
    assert [entry["file"] for entry in listed] == ["one.jsonl", "zwei.jsonl", "demo.jsonl"]
    assert listed[0]["title"] == "tiny · one"
    assert listed[0]["description"].endswith("; finished.")
    assert (listed[0]["run"]["model"], listed[0]["run"]["steps"]) == ("tiny", 3)
    for run, entry in zip(("one", "zwei ü"), listed, strict=False):
        lines = (out / "recordings" / entry["file"]).read_text("utf-8").splitlines()
        events = [json.loads(line) for line in lines]
        assert [event["kind"] for event in events] == ["run.start", *["metrics"] * 3, "run.end"]
        assert {event["run"] for event in events} == {run}
    assert (out / "index.html").read_text() == "<!doctype html>"
    assert (out / "python.zip").read_bytes() == b"library"
    assert [each.events for each in done] == [5, 5]


def test_browsers_keep_exactly_the_files_of_a_copy(site: Path, tmp_path: Path) -> None:
    for script in ("", 'const FILES = {"index.html": {}, "gone.js": {}};\n'):
        (site / SERVICE_WORKER).write_text(f"{script}work(FILES);")
        out = tmp_path / f"out {len(script)}"
        publish([written(tmp_path / f"runs {len(script)}", "one")], site, out, tmp_path)
        first, rest = (out / SERVICE_WORKER).read_text().split("\n")
        listed = json.loads(first.removeprefix("const FILES = ").rstrip(";"))
        digests = {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in listed}
        assert {name: file["sha256"] for name, file in listed.items()} == digests
        names = ("demo.jsonl", "index.json", "one.jsonl")
        assert [*listed] == ["index.html", "python.zip", *(f"recordings/{name}" for name in names)]
        assert rest == "work(FILES);"


def test_folders_of_the_machine_are_cut_out_and_others_reported(site: Path, tmp_path: Path) -> None:
    runs, out = tmp_path / "runs", tmp_path / "out"
    (done,) = publish([written(runs, "one")], site, out, tmp_path)
    text = (out / "recordings" / "one.jsonl").read_text("utf-8")
    assert str(tmp_path) not in text
    assert '"model":"model"' in text
    assert done.traces == ("/elsewhere/rows.jsonl",)


def test_lines_that_cannot_be_read_are_left_out_and_counted(site: Path, tmp_path: Path) -> None:
    run, out = written(tmp_path / "runs", "one"), tmp_path / "out"
    log = run / "events.jsonl"
    log.write_bytes(b"\xff{\n" + log.read_bytes())
    (done,) = publish([run], site, out, tmp_path)
    assert (done.events, done.damaged) == (5, 1)


def test_what_cannot_be_published_is_refused_and_nothing_is_written(
    site: Path, tmp_path: Path
) -> None:
    runs, out = tmp_path / "runs", tmp_path / "out"
    whole = written(runs, "one")
    with pytest.raises(UsageError, match="no run 'none'"):
        publish([whole, runs / "none"], site, out, tmp_path)
    assert not out.exists()
    out.mkdir()
    (out / "mine.txt").write_text("kept")
    with pytest.raises(UsageError, match="is not empty: name a new folder"):
        publish([whole], site, out, tmp_path)
    assert [path.name for path in out.iterdir()] == ["mine.txt"]


def test_a_run_that_goes_on_is_not_published(site: Path, tmp_path: Path) -> None:
    with EventLog(tmp_path / "runs" / "on" / "events.jsonl", run="on", clock=SystemClock()) as log:
        log.emit("run.start", 0, config={}, model={"name": "tiny"}, plan={"steps": 3}, data={})
        log.emit("metrics", 1, m={"train/loss": 3.0})
        with pytest.raises(UsageError, match="is running, after step 1: publish it when it has"):
            publish([tmp_path / "runs" / "on"], site, tmp_path / "out", tmp_path)

"""Finished runs in a copy of the site: whole, named, without the folders of this machine."""

import hashlib
import json
import lzma
from pathlib import Path

import pytest

from gpu_runner.errors import SystemFailure, UsageError
from gpu_runner.log.writer import EventLog, SystemClock
from gpu_runner.serve.publish import publish
from unfrozen.schema.event_log import read_line
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
    head, metrics, *others = log.read_bytes().splitlines(keepends=True)
    deep = metrics.replace(b'"m":', b'"deep":' + b"[" * 100_000 + b"]" * 100_000 + b',"m":')
    half = metrics.replace(b'"train/loss"', b'"other/\\ud800"')
    newer = metrics.replace(b'"m":', b'"newer":1,"m":')
    log.write_bytes(b"".join((b"\xff{\n", head, deep, half, newer, b"x" * 10**6, b"\n", *others)))
    (done,) = publish([run], site, out, tmp_path)
    assert (done.events, done.damaged, done.left_out) == (5, 4, 1)
    text = (out / "recordings" / "one.jsonl").read_text("utf-8")
    assert [read_line(line).problem for line in text.splitlines()] == [""] * 5


def test_a_run_with_a_long_name_has_a_file(site: Path, tmp_path: Path) -> None:
    (done,) = publish([written(tmp_path / "runs", "n" * 250)], site, tmp_path / "out", tmp_path)
    assert (tmp_path / "out" / "recordings" / done.file).is_file()


def test_a_token_or_somebody_s_folder_is_named_with_its_line_and_nothing_is_written(
    site: Path, tmp_path: Path
) -> None:
    run, out = written(tmp_path / "runs", "one"), tmp_path / "out"
    log = run / "events.jsonl"
    log.write_text(log.read_text("utf-8").replace("/elsewhere/", "s3://bucket/"), "utf-8")
    alert = {"run": "one", "att": 0, "t": 1.0, "kind": "alert", "text": "HF_TOKEN=secret123"}
    with log.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"v": 1, "seq": 5, **alert}) + "\n")
    said = r"one/events.jsonl, line 1: an address of files .*one/events.jsonl, line 6: a secret"
    with pytest.raises(UsageError, match=said):
        publish([run], site, out, tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.name not in ("site", "runs")]
    (done,) = publish([run], site, out, tmp_path, private=True)
    assert (done.events, len(done.private)) == (6, 2)


def test_an_older_copy_is_replaced_whole_and_no_other_folder(site: Path, tmp_path: Path) -> None:
    runs, out = tmp_path / "runs", tmp_path / "out"
    publish([written(runs, "one")], site, out, tmp_path)
    publish([written(runs, "two")], site, out, tmp_path)
    names = [path.name for path in (out / "recordings").iterdir()]
    assert sorted(names) == ["demo.jsonl", "index.json", "two.jsonl"]
    publish([runs / "one"], out, tmp_path / "again", tmp_path)  # from a copy
    assert (tmp_path / "again" / "recordings" / "two.jsonl").is_file()
    (out / "mine.txt").write_text("kept")
    with pytest.raises(SystemFailure, match=r"mine\.txt is not in manifest\.json"):
        publish([runs / "one"], site, out, tmp_path)
    assert (out / "mine.txt").read_text() == "kept"


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
    with pytest.raises(SystemFailure, match="is there and is not replaced"):
        publish([whole], site, out, tmp_path)
    assert [path.name for path in out.iterdir()] == ["mine.txt"]


def test_a_run_that_goes_on_is_not_published(site: Path, tmp_path: Path) -> None:
    with EventLog(tmp_path / "runs" / "on" / "events.jsonl", run="on", clock=SystemClock()) as log:
        log.emit("run.start", 0, config={}, model={"name": "tiny"}, plan={"steps": 3}, data={})
        log.emit("metrics", 1, m={"train/loss": 3.0})
        with pytest.raises(UsageError, match="is running, after step 1: publish it when it has"):
            publish([tmp_path / "runs" / "on"], site, tmp_path / "out", tmp_path)

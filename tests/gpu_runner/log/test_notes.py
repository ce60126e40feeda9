"""Tags, notes and the trash: nothing is lost to another writer, and nothing leaves its folder."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gpu_runner.log.notes import (
    NAME,
    NoSuchRun,
    Notes,
    NotesConflict,
    change_notes,
    delete_run,
    deleted_runs,
    empty_trash,
    read_notes,
    restore_run,
)
from gpu_runner.log.writer import EventLog, SystemClock

GOOD = {"v": 1, "tags": [], "note": "", "archived": False}


def run(root: Path, name: str = "one") -> Path:
    with EventLog(root / name / "events.jsonl", run=name, clock=SystemClock()) as log:
        log.emit("run.end", 1, status="finished")
    return root / name


def test_a_change_is_read_back_and_leaves_the_other_fields(tmp_path: Path) -> None:
    assert read_notes(tmp_path) == Notes()
    change_notes(tmp_path, {"tags": []}, {"tags": ["rates", "7B"]})
    after = change_notes(tmp_path, {"note": ""}, {"note": "忘れない · ne oublie pas"})
    assert after == read_notes(tmp_path) == Notes(("rates", "7B"), "忘れない · ne oublie pas")
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o600


def test_of_two_changes_of_one_field_the_second_is_told_what_there_is_now(tmp_path: Path) -> None:
    change_notes(tmp_path, {"note": ""}, {"note": "mine"})
    with pytest.raises(NotesConflict, match='its note, to "mine"'):
        change_notes(tmp_path, {"note": ""}, {"note": "yours"})
    change_notes(tmp_path, {"archived": False}, {"archived": True})  # another field is free
    assert read_notes(tmp_path) == Notes((), "mine", archived=True)


def test_writers_side_by_side_lose_no_change(tmp_path: Path) -> None:
    def add(tag: str) -> None:
        while True:
            was = list(read_notes(tmp_path).tags)
            try:
                change_notes(tmp_path, {"tags": was}, {"tags": [*was, tag]})
            except NotesConflict:
                continue
            return

    tags = [f"tag {n}" for n in range(12)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(add, tags))
    assert sorted(read_notes(tmp_path).tags) == sorted(tags)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", json.dumps(GOOD | {"tags": "x"}), json.dumps(GOOD | {"note": "n" * 4001})],
)
def test_a_file_that_is_none_of_ours_is_kept_and_named(tmp_path: Path, text: str) -> None:
    (tmp_path / NAME).write_text(text)
    with pytest.raises(NotesConflict, match=f"mend {NAME} in the folder of the run"):
        change_notes(tmp_path, {"note": ""}, {"note": "new"})
    assert (tmp_path / NAME).read_text() == text


@pytest.mark.parametrize(("was", "now"), [({}, {}), ({"note": ""}, {"tags": []})])
def test_a_change_names_what_it_changes(tmp_path: Path, was: Any, now: Any) -> None:
    with pytest.raises(NotesConflict, match="the same fields"):
        change_notes(tmp_path, was, now)


def test_a_deleted_run_comes_back_as_it_was(tmp_path: Path) -> None:
    folder = run(tmp_path)
    change_notes(folder, {"tags": []}, {"tags": ["kept"]})
    held = sum(path.stat().st_size for path in folder.iterdir())
    deleted = delete_run(folder, "finished")
    assert not folder.exists()
    assert (deleted.id, deleted.bytes) == ("one", held)
    assert deleted_runs(tmp_path) == [deleted]
    restore_run(tmp_path, deleted.key)
    assert read_notes(folder).tags == ("kept",)
    assert deleted_runs(tmp_path) == list((tmp_path / ".trash").iterdir()) == []


def test_a_run_that_trains_is_not_deleted(tmp_path: Path) -> None:
    with EventLog(tmp_path / "one" / "events.jsonl", run="one", clock=SystemClock()) as log:
        log.emit("run.start", 0)
        for status in ("running", "gone"):  # whatever its log says: its process has it open
            with pytest.raises(NotesConflict, match="stop it before you delete it"):
                delete_run(tmp_path / "one", status)
    assert (tmp_path / "one").exists()


def test_two_deleted_runs_of_one_name_come_back_one_at_a_time(tmp_path: Path) -> None:
    first = delete_run(run(tmp_path), "finished")
    second = delete_run(run(tmp_path), "finished")
    restore_run(tmp_path, second.key)
    with pytest.raises(NotesConflict, match="another run one by now: rename its folder"):
        restore_run(tmp_path, first.key)
    assert deleted_runs(tmp_path) == [first]


def test_the_trash_is_emptied_of_runs_alone(tmp_path: Path) -> None:
    deleted = delete_run(run(tmp_path), "finished")
    (tmp_path / ".trash" / "other").mkdir()
    assert empty_trash(tmp_path) == [deleted]
    assert [path.name for path in (tmp_path / ".trash").iterdir()] == ["other"]
    with pytest.raises(NoSuchRun, match="was emptied"):
        restore_run(tmp_path, deleted.key)


@pytest.mark.parametrize("key", ["", "..", "other", "../one", "20260101-000000-abcd"])
def test_only_what_is_in_the_trash_comes_back(tmp_path: Path, key: str) -> None:
    run(tmp_path / ".trash" / "other")
    with pytest.raises(NoSuchRun):
        restore_run(tmp_path, key)


def test_a_trash_that_is_a_link_is_followed_nowhere(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    folder = run(tmp_path / "runs")
    (tmp_path / "runs" / ".trash").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="is a link"):
        delete_run(folder, "finished")
    assert folder.exists()
    assert list((tmp_path / "elsewhere").iterdir()) == []

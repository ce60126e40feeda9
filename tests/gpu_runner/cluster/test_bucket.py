"""Copies of runs in a bucket: whole files only, and nothing that is not whole is fetched."""

from pathlib import Path

import pytest

from gpu_runner import atomic
from gpu_runner.checkpoint import directory
from gpu_runner.cluster import bucket as copies


def save(run: Path, step: int, text: str = "weights") -> Path:
    place = directory.step_dir(run / "checkpoints", step)
    atomic.publish(place, lambda path: (path / "a.bin").write_text(f"{text} {step}") and None)
    return place


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run that has come to step 4, with θ₀ of its own."""
    run = tmp_path / "runs" / "20260101-000000-abcd"
    run.mkdir(parents=True)
    (run / "config.json").write_text("{}")
    (run / "initial.safetensors").write_text("θ₀")
    (run / "events.jsonl").write_text("one\n")
    for step in (2, 4):
        save(run, step)
    return run


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    (tmp_path / "bucket").mkdir()
    return tmp_path / "bucket"


def files(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_what_is_copied_comes_back_as_it_was(run: Path, bucket: Path, tmp_path: Path) -> None:
    copies.push_runs(run.parent, bucket)
    copies.fetch_runs(bucket, tmp_path / "new")
    assert files(tmp_path / "new") == files(run.parent)
    atomic.verify(tmp_path / "new" / run.name / "checkpoints" / "step-000004")


def test_what_several_processes_wrote_of_the_start_is_copied_too(
    run: Path, bucket: Path, tmp_path: Path
) -> None:
    def fill(path: Path) -> None:
        (path / "weights").mkdir()
        (path / "weights" / "shard-00001-of-00002.safetensors").write_text("θ₀")

    atomic.publish(run / "initial", fill)
    copies.push_runs(run.parent, bucket)
    copies.fetch_runs(bucket, tmp_path / "new")
    assert files(tmp_path / "new") == files(run.parent)
    atomic.verify(tmp_path / "new" / run.name / "initial")


def test_a_bucket_follows_its_run(run: Path, bucket: Path) -> None:
    copies.push_runs(run.parent, bucket)
    save(run, 6)
    directory.remove_all_except(run / "checkpoints", [directory.step_dir(run / "checkpoints", 6)])
    (run / "events.jsonl").write_text("one\ntwo\n")
    (run / "config.json").write_text('{"a": 1}')
    (run / "initial.safetensors").unlink()
    (run / "finished").write_text("6\n")
    copies.push_runs(run.parent, bucket)
    assert files(bucket) == files(run.parent)
    (run / "finished").unlink()  # it goes on to more steps
    copies.push_runs(run.parent, bucket)
    assert files(bucket) == files(run.parent)


def test_a_checkpoint_that_was_written_anew_is_copied_anew(run: Path, bucket: Path) -> None:
    copies.push_runs(run.parent, bucket)
    save(run, 4, "others!")
    copies.push_runs(run.parent, bucket)
    assert files(bucket) == files(run.parent)


def test_a_checkpoint_whose_copy_was_cut_short_is_not_fetched(
    run: Path, bucket: Path, tmp_path: Path
) -> None:
    copies.push_runs(run.parent, bucket)
    (bucket / run.name / "checkpoints" / "step-000004" / "manifest.json").unlink()
    copies.fetch_runs(bucket, tmp_path / "new")
    found, refused = directory.newest(tmp_path / "new" / run.name / "checkpoints")
    assert (found and found.name, refused) == ("step-000002", [])


def test_a_finished_run_stays_where_it_is(run: Path, bucket: Path, tmp_path: Path) -> None:
    (run / "finished").write_text("4\n")
    copies.push_runs(run.parent, bucket)
    copies.fetch_runs(bucket, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_what_is_on_this_machine_already_is_not_fetched_over_it(run: Path, bucket: Path) -> None:
    copies.push_runs(run.parent, bucket)
    (run / "events.jsonl").write_text("newer\n")
    copies.fetch_runs(bucket, run.parent)
    assert (run / "events.jsonl").read_text() == "newer\n"


def test_a_fetch_that_was_killed_is_begun_again(run: Path, bucket: Path, tmp_path: Path) -> None:
    copies.push_runs(run.parent, bucket)
    half = tmp_path / "new" / run.name / "checkpoints" / "step-000002"
    half.mkdir(parents=True)
    (half / "a.bin").write_text("we")
    assert copies.runs_in(tmp_path / "new") == []
    copies.fetch_runs(bucket, tmp_path / "new")
    assert files(tmp_path / "new") == files(run.parent)


def test_what_no_run_wrote_into_a_bucket_stays(run: Path, bucket: Path) -> None:
    copies.push_runs(run.parent, bucket)
    mine = bucket / run.name / "checkpoints" / "thesis"
    mine.mkdir()
    (mine / "a.txt").write_text("all of it")
    (bucket / run.name / "checkpoints" / "step-000002" / "notes.txt").write_text("mine")
    directory.remove_all_except(run / "checkpoints", [])
    copies.push_runs(run.parent, bucket)
    assert (mine / "a.txt").exists()
    left = {path.name for path in (bucket / run.name / "checkpoints").iterdir()}
    assert left == {"thesis", "step-000002"}


def test_an_empty_folder_without_a_record_is_no_run(tmp_path: Path, bucket: Path) -> None:
    (tmp_path / "runs" / "x").mkdir(parents=True)
    copies.push_runs(tmp_path / "runs", bucket)
    assert list(bucket.iterdir()) == []

"""Rows of large files: encoded once, found again, and the same rows as in memory."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import small_store
import tiny_llama
from gpu_runner.config.load import resolve
from gpu_runner.config.schema import TrainConfig
from gpu_runner.data import cache as cache_of_rows
from gpu_runner.data import run_data
from gpu_runner.data.dataset import EncodedDataset
from gpu_runner.errors import DataError, SystemFailure
from gpu_runner.plan import plan
from small_store import ROWS, encoder, folders


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return small_store.begin(tmp_path, monkeypatch)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tiny_llama.write_rows(tmp_path / "rows.jsonl", ROWS)


def config(file: Path, **choices: object) -> TrainConfig:
    return resolve({"model": "x", "data": str(file), "general": (), **choices})


def both_ways(
    file: Path, monkeypatch: pytest.MonkeyPatch, **choices: object
) -> Iterator[tuple[EncodedDataset, EncodedDataset]]:
    """The training and the held-out rows: from disk, and as a small file's."""
    for least in (1_000, 10**9):
        monkeypatch.setattr(cache_of_rows, "LEAST_BYTES", least)
        train, suites = run_data.load_datasets(config(file, **choices), encoder())
        yield train, suites["task"]


def test_rows_from_disk_are_those_of_memory(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (disk, scored), (memory, plainly) = both_ways(file, monkeypatch)
    assert list(disk.examples) == list(memory.examples)
    assert list(scored.examples) == list(plainly.examples)
    assert [json.dumps(row) for row in disk.rows] == [json.dumps(row) for row in memory.rows]
    assert (disk.tokens, disk.trainable_tokens) == (memory.tokens, memory.trainable_tokens)
    assert (disk.longest_tokens, disk.cut_tokens) == (memory.longest_tokens, memory.cut_tokens)
    assert scored.trained_rows == plainly.trained_rows
    assert disk.examples.lengths == memory.examples.lengths
    assert disk.places[0] == f"{file}[{0 if memory.places[0].endswith(':1') else 1}]"


def test_what_is_reported_of_rows_is_reported_from_disk_too(file: Path) -> None:
    held = tiny_llama.write_rows(file.parent / "held.jsonl", tiny_llama.sums(2))
    for _ in range(2):
        train, _ = run_data.load_datasets(config(file, eval_data=str(held)), encoder())
        said = " ".join(train.remarks())
        assert "so 3 of 45 rows became several" in said
        assert "longer than --seq-len lost" in said
        assert f"training: 1 of 45 rows ({file}:42 is the first): an answer is empty" in said
        assert "the key 'meta' is not used" in said
    assert train.template_rows == 42


def test_the_second_time_nothing_is_read_or_encoded(
    file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = run_data.load_datasets(config(file), encoder())
    monkeypatch.setattr(cache_of_rows, "SourceReader", None)
    again, _ = run_data.load_datasets(config(file), encoder())
    assert again.sha256 == first.sha256
    assert len(folders(cache)) == 1


def test_another_file_or_choice_makes_other_arrays(file: Path, cache: Path) -> None:
    first = run_data.load_datasets(config(file), encoder())[0].sha256
    assert run_data.load_datasets(config(file), encoder(59))[0].sha256 != first
    file.write_text(file.read_text().replace("0+0=", "0+0 ="))
    assert run_data.load_datasets(config(file), encoder())[0].sha256 != first
    assert len(folders(cache)) == 3


def test_a_bad_row_stops_it_with_its_line_or_is_left_out_every_time(
    file: Path, cache: Path
) -> None:
    lines = file.read_text().splitlines()
    for bad, reason in (('{"words": 1}', "its keys are words"), ("{oops", "not JSON")):
        file.write_text("\n".join([*lines[:20], bad, *lines[20:]]) + "\n")
        for _ in range(2):
            with pytest.raises(DataError, match=rf"rows\.jsonl:21: {reason}"):
                run_data.load_datasets(config(file), encoder())
    file.write_text("\n".join([*lines[:20], '{"words": 1}', "{oops", *lines[20:]]) + "\n")
    assert folders(cache) == []
    for _ in range(2):
        train, _ = run_data.load_datasets(config(file, skip_bad_rows=True), encoder())
        assert sorted(text.partition(": ")[0][-2:] for text in train.bad_rows) == ["21", "22"]


def test_damaged_arrays_are_made_anew(file: Path, cache: Path) -> None:
    first, _ = run_data.load_datasets(config(file), encoder())
    expected = list(first.examples)
    (folder,) = folders(cache)
    for damage in ("ids", "meta.json"):
        (folder / damage).write_bytes((folder / damage).read_bytes()[:-8])
        again, _ = run_data.load_datasets(config(file), encoder())
        assert list(again.examples) == expected


def test_without_a_place_to_keep_them_rows_are_encoded_all_the_same(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(cache_of_rows.CACHE_ENV, str(file / "no" / "folder"))
    train, _ = run_data.load_datasets(config(file), encoder())
    assert len(train.examples) > 40


@pytest.mark.slow
def test_a_full_disk_is_told_with_a_remedy(file: Path, cache: Path, full_disk: int) -> None:
    file.write_text('{"text": "a b c"}\n' * (full_disk // 20))
    with pytest.raises(SystemFailure, match=r"File too large.*give UNFROZEN_CACHE another folder"):
        run_data.load_datasets(config(file), encoder())
    assert folders(cache) == []


def test_the_oldest_arrays_are_removed_when_they_take_too_much(
    file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_of_rows, "MOST_BYTES", 1)
    for seq_len in (50, 51, 52):
        run_data.load_datasets(config(file), encoder(seq_len))
    assert len(folders(cache)) == 1
    monkeypatch.setattr(cache_of_rows, "SourceReader", None)
    run_data.load_datasets(config(file), encoder(52))


def test_a_run_is_planned_on_rows_from_disk(model_dir: Path, tmp_path: Path) -> None:
    file = tiny_llama.write_rows(tmp_path / "sums.jsonl", tiny_llama.sums(60))
    chosen = {"model": str(model_dir), "general": (), "runs": str(tmp_path), "device": "cpu"}
    made = plan.make_plan(config(file, **chosen))
    assert made.steps == -(-54 // 8)
    assert made.heaviest.rows == 1


@pytest.mark.slow
def test_several_processes_make_the_same_arrays_as_one(
    file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, _ = run_data.load_datasets(config(file), encoder())
    expected = (alone.sha256, list(alone.examples))
    (folder,) = folders(cache)
    folder.rename(cache / "put-away")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    together, _ = run_data.load_datasets(config(file), encoder())
    assert (together.sha256, list(together.examples)) == expected

"""Held-out and general rows of large files: encoded once, found again, read batch by batch."""

import json
import tracemalloc
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

import small_store
import tiny_llama
from gpu_runner.config.load import resolve
from gpu_runner.config.schema import TrainConfig
from gpu_runner.data import cache as cache_of_rows
from gpu_runner.data import rows, run_data
from gpu_runner.data.dataset import EncodedDataset
from gpu_runner.data.encode import Encoder
from gpu_runner.data.examples import StoredExamples
from gpu_runner.data.feed import Batch
from gpu_runner.errors import DataError
from gpu_runner.model.loss import TokenScores
from gpu_runner.plan import plan
from gpu_runner.train import fisher
from gpu_runner.train.evaluate import Evaluator
from small_store import ROWS, encoder, folders

FIELDS = (
    *("name", "rows_read", "cut_rows", "cut_tokens", "untrainable_rows", "sha256", "bad_rows"),
    *("trained_rows", "notes", "split_rows", "template_rows", "tokens", "trainable_tokens"),
    "longest_tokens",
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cache_of_rows, "FEW", 0)  # no number is few
    return small_store.begin(tmp_path, monkeypatch)


@pytest.fixture
def held(tmp_path: Path) -> Path:
    return tiny_llama.write_rows(tmp_path / "held.jsonl", ROWS)


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    return tiny_llama.write_rows(tmp_path / "rows.jsonl", tiny_llama.sums(7))


def config(trained: Path, held: Path, **choices: object) -> TrainConfig:
    files = {"data": str(trained), "eval_data": str(held), "general": (("more", str(held)),)}
    return resolve({"model": "x", **files, **choices})


@pytest.mark.slow
@pytest.mark.parametrize("choices", [{}, {"eval_rows": 41}, {"eval_rows": 44, "seed": 3}])
@pytest.mark.parametrize("large", [False, True])
def test_scored_rows_from_disk_are_those_of_memory(
    trained: Path,
    held: Path,
    choices: dict[str, Any],
    large: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if large:  # what is trained on is on disk as well
        tiny_llama.write_rows(trained, tiny_llama.sums(60))
    found = []
    for least in (1_000, 10**9):
        monkeypatch.setattr(cache_of_rows, "LEAST_BYTES", least)
        found.append(run_data.load_datasets(config(trained, held, **choices), encoder())[1])
    for name in ("task", "general/more"):
        disk, memory = (suites[name] for suites in found)
        assert isinstance(disk.examples, StoredExamples)
        assert isinstance(memory.examples, tuple)
        assert list(disk.examples) == list(memory.examples)
        assert [json.dumps(row) for row in disk.rows] == [json.dumps(row) for row in memory.rows]
        for field in FIELDS:
            assert getattr(disk, field) == getattr(memory, field), field
        assert [one.example for one in disk.dropped] == [one.example for one in memory.dropped]
        assert json.dumps([one.row for one in disk.dropped]) == json.dumps(
            [one.row for one in memory.dropped]
        )


def test_the_second_time_no_scored_row_is_read_or_encoded(
    trained: Path, held: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run_data.load_datasets(config(trained, held), encoder())[1]
    monkeypatch.setattr(cache_of_rows, "SourceReader", None)
    again = run_data.load_datasets(config(trained, held), encoder())[1]
    assert again["task"].sha256 == first["task"].sha256
    assert len(folders(cache)) == 1  # two options name the same file


def test_rows_behind_those_that_are_scored_are_not_read(
    trained: Path, held: Path, cache: Path
) -> None:
    held.write_text(held.read_text() + "no row\n")
    with pytest.raises(DataError, match=r"held\.jsonl:46: not JSON"):
        run_data.load_datasets(config(trained, held), encoder())
    for most in (45, 40):
        task = run_data.load_datasets(config(trained, held, eval_rows=most), encoder())[1]["task"]
        assert task.rows_read == most
    assert len(folders(cache)) == 2


def test_few_rows_of_a_large_file_are_read_and_not_kept(
    trained: Path, held: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_of_rows, "FEW", 40)
    held.write_text(held.read_text() + "no row\n")
    task = run_data.load_datasets(config(trained, held, eval_rows=40), encoder())[1]["task"]
    assert (len(task.examples), task.rows_read) == (40, 40)
    assert not folders(cache)
    assert len(rows.read_rows(str(held), most=3)) == 3


def test_bad_rows_among_scored_ones_are_reported_every_time(trained: Path, held: Path) -> None:
    held.write_text("no row\n" + held.read_text())
    for _ in range(2):
        chosen = config(trained, held, skip_bad_rows=True)
        task = run_data.load_datasets(chosen, encoder())[1]["task"]
        assert "held-out: 1 bad row is left out" in " ".join(task.remarks())
        assert task.rows_read == 46


def scores(suites: dict[str, EncodedDataset], model: Any) -> list[Any]:
    return Evaluator(suites, 8, 0, torch.device("cpu"), nullcontext).run(model)


def test_losses_of_rows_on_disk_are_those_of_memory(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = tiny_llama.write_rows(tmp_path / "held.jsonl", tiny_llama.sums(60)[7:])
    model, found = tiny_llama.model(), []
    for least in (1_000, 10**9):
        monkeypatch.setattr(cache_of_rows, "LEAST_BYTES", least)
        coder = Encoder(tiny_llama.tokenizer(), 50)
        found.append(scores(run_data.load_datasets(config(trained, held), coder)[1], model))
    assert found[0] == found[1]


@pytest.mark.slow
def test_to_score_more_rows_takes_no_more_memory(trained: Path, tmp_path: Path) -> None:
    """But for a few numbers a row; its text and its tokens are a hundred times as many."""
    peaks = []
    for count in (150, 1_500):
        rows = [{"prompt": f"{n} ", "completion": "1+1=2 " * 40} for n in range(count)]
        held = tiny_llama.write_rows(tmp_path / f"{count}.jsonl", rows)
        coder = Encoder(tiny_llama.tokenizer(), 250)
        suites = run_data.load_datasets(config(trained, held, eval_rows=count), coder)[1]
        task = {"task": suites["task"]}

        def counted(_: Any, batch: Batch, *, scores: TokenScores) -> tuple[torch.Tensor, int]:
            del scores
            return torch.zeros(()), batch.trainable_tokens

        evaluator = Evaluator(task, 8, 0, torch.device("cpu"), nullcontext, loss=counted)
        tracemalloc.start()
        evaluator.run(tiny_llama.model())
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 1_350 * 100


def test_rows_of_the_fisher_lie_on_disk_too(
    model_dir: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = tiny_llama.write_rows(tmp_path / "held.jsonl", tiny_llama.sums(60)[7:])
    for given in ({"fisher_data": str(held)}, {}):
        found = []
        for least in (1_000, 10**9):
            monkeypatch.setattr(cache_of_rows, "LEAST_BYTES", least)
            chosen = config(trained, held, model=str(model_dir), ewc=1.0, fisher_rows=9, **given)
            found.append(fisher.rows(plan.make_plan(chosen)))
        assert list(found[0][1]) == list(found[1][1])
        assert found[0][::2] == found[1][::2]

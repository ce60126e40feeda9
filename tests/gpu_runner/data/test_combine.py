"""Several sets as one: in memory as it was, on disk the same rows in the same order."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tiny_llama
from gpu_runner.config.load import resolve
from gpu_runner.config.schema import TrainConfig
from gpu_runner.data import cache, run_data
from gpu_runner.data.combine import add_replay
from gpu_runner.data.dataset import EncodedDataset, encode_dataset
from gpu_runner.data.encode import Encoder
from gpu_runner.data.examples import InMemoryExamples, Joined, Stored
from gpu_runner.data.feed import Feed
from gpu_runner.errors import DataError

pytestmark = pytest.mark.slow


@pytest.fixture
def encoder() -> Encoder:
    return Encoder(tiny_llama.tokenizer(), 12)


def replayed(encoder: Encoder, share: float, seed: int = 0) -> EncodedDataset:
    task = encode_dataset("training", [("t", row) for row in tiny_llama.sums(40)], encoder)
    words = [{"text": "many words"[: 2 + n % 8]} for n in range(12)]
    old = encode_dataset("replay", [("r", row) for row in words], encoder)
    return add_replay(task, old, share, seed)


@pytest.mark.parametrize("share", [0.05, 0.1, 0.5])
def test_replayed_rows_have_their_share_of_the_tokens(encoder: Encoder, share: float) -> None:
    rows = replayed(encoder, share)
    assert rows.replayed_share == pytest.approx(share, abs=0.02)
    told = f"{rows.replayed_rows} examples replayed, {rows.replayed_share:.1%} of the tokens."
    assert rows.remarks()[-1] == f"training: {told}"


def test_what_is_cut_or_left_out_of_the_replayed_rows_is_reported(encoder: Encoder) -> None:
    task = encode_dataset("training", [("t", row) for row in tiny_llama.sums(40)], encoder)
    before = task.remarks()
    words = [
        {"text": "many words"},
        {"text": "words " * 20},
        {"prompt": "1" * 30, "completion": "2"},
    ]
    old = encode_dataset("replay", [("r", row) for row in words], encoder)
    said = add_replay(task, old, 0.5, 0).remarks()
    assert said[: len(before)] == before
    cut, left_out, replayed = said[len(before) :]
    assert cut.startswith("replay: 2 of 3 examples longer than --seq-len lost ")
    assert left_out == "replay: 1 of 3 examples left out, which have no trainable token."
    assert replayed.startswith("training: ")


def test_what_is_replayed_follows_from_the_seed(encoder: Encoder) -> None:
    assert replayed(encoder, 0.1).sha256 == replayed(encoder, 0.1).sha256
    assert replayed(encoder, 0.1).sha256 != replayed(encoder, 0.1, seed=1).sha256


def test_replay_goes_through_its_file_again_where_it_is_short(encoder: Encoder) -> None:
    assert replayed(encoder, 0.5).replayed_rows > 12


WIDE = Encoder(tiny_llama.tokenizer(), 60)
CATS: list[dict[str, object]] = [{"text": f"cat {n} sat on mat {n}"} for n in range(31)]
DOGS: list[dict[str, object]] = [
    *({"prompt": f"dog {n}?", "completion": "woof" * (n % 5)} for n in range(23)),
    {"prompt": "d" * 70, "completion": "cut away"},
    {"text": "cat 3 sat on mat 3"},
]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Three files, and a cache of this test's own that this process alone fills."""
    monkeypatch.setenv(cache.CACHE_ENV, str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "_AT_ONCE", 7)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    rows = {"sums": tiny_llama.sums(40), "cats": CATS, "dogs": DOGS}
    return {
        name: tiny_llama.write_rows(tmp_path / f"{name}.jsonl", some) for name, some in rows.items()
    }


WAYS: list[dict[str, Any]] = [
    {"data": "{sums}", "mix": ("{cats}",)},
    {"data": "{sums}:weight=0.5", "mix": ("{cats}:weight=2.5", "{dogs}:weight=0.3")},
    {"data": "{sums}:weight=1.5"},
    {"data": "{sums}", "replay": "{dogs}", "replay_share": 0.3},
    {"data": "{dogs}", "mix": ("{cats}:weight=3",), "replay": "{sums}", "replay_share": 0.1},
    {"data": "{sums}", "mix": ("{cats}",), "eval_data": "{dogs}"},
    {"data": "{cats}", "mix": ("{dogs}",), "eval_rows": 2, "seed": 5},
]


def config(files: dict[str, Path], given: dict[str, Any]) -> TrainConfig:
    def named(value: object) -> object:
        if isinstance(value, tuple):
            return tuple(map(named, value))
        return value.format(**files) if isinstance(value, str) else value

    return resolve({"model": "x", "general": (), **{k: named(v) for k, v in given.items()}})


def both_ways(
    chosen: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[EncodedDataset, EncodedDataset]]:
    """Training and held-out rows: with sets on disk, and all in memory."""
    for least in (1, 10**9):
        monkeypatch.setattr(cache, "LEAST_BYTES", least)
        train, suites = run_data.load_datasets(chosen, WIDE)
        yield train, suites["task"]


@pytest.mark.parametrize("given", WAYS)
def test_sets_on_disk_are_mixed_as_those_in_memory(
    given: dict[str, Any], files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = config(files, given)
    (disk, scored), (memory, plainly) = both_ways(chosen, monkeypatch)
    assert list(disk.examples) == list(memory.examples)
    assert list(disk.rows) == list(memory.rows)
    assert list(scored.examples) == list(plainly.examples)
    assert [place.partition("[")[0] for place in disk.places] == [
        place.rpartition(":")[0] for place in memory.places
    ]
    for name in ("tokens", "trainable_tokens", "longest_tokens", "replayed_rows"):
        assert getattr(disk, name) == getattr(memory, name)
    assert disk.replayed_share == memory.replayed_share
    assert scored.trained_rows == plainly.trained_rows
    assert disk.examples.duplicates() == memory.examples.duplicates()
    stops = [
        [(token, list(indices)) for token, indices in rows.examples.by_last_token()]
        for rows in (disk, memory)
    ]
    assert stops[0] == stops[1]
    assert stops[0]
    assert isinstance(disk.examples, Stored | Joined)
    assert isinstance(memory.examples, InMemoryExamples)
    feeds = [Feed(rows.examples, 0, 2, 2, 0) for rows in (disk, memory)]
    for step in (1, 2, 30):
        one, two = ([batch.input_ids.tolist() for batch in feed.step(step)] for feed in feeds)
        assert one == two


def test_the_second_start_of_a_mix_reads_and_encodes_nothing(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "LEAST_BYTES", 1)
    chosen = config(files, WAYS[4])
    first, _ = run_data.load_datasets(chosen, WIDE)
    monkeypatch.setattr(cache, "SourceReader", None)
    again, _ = run_data.load_datasets(chosen, WIDE)
    assert again.sha256 == first.sha256
    assert again.made_of == first.made_of


def test_one_large_file_takes_the_small_ones_it_is_mixed_with_to_disk(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "LEAST_BYTES", files["cats"].stat().st_size)
    assert files["sums"].stat().st_size > files["dogs"].stat().st_size
    run_data.load_datasets(config(files, {"data": "{dogs}", "replay": "{sums}"}), WIDE)
    assert len([one for one in (tmp_path / "cache" / "rows").iterdir() if one.is_dir()]) == 2


def test_slices_of_joined_rows_are_those_of_a_list() -> None:
    joined = Joined([(1, 2), (), (3,), (4, 5, 6)])
    whole = [1, 2, 3, 4, 5, 6]
    assert list(joined) == whole
    assert [joined[place] for place in range(-6, 6)] == [*whole, *whole]
    for low in (None, -7, -2, 0, 1, 3, 9):
        for high in (None, -1, 0, 2, 4, 9):
            for step in (None, 2, -1):
                assert list(joined[low:high:step]) == whole[low:high:step]
    with pytest.raises(IndexError):
        joined[6]


def test_a_part_of_a_mix_of_which_nothing_is_left_is_reported(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files["one"] = tiny_llama.write_rows(tmp_path / "one.jsonl", [{"text": "one"}])
    files["none"] = tmp_path / "none.jsonl"
    files["none"].write_text("\n\n")
    for least in (1, 10**9):
        monkeypatch.setattr(cache, "LEAST_BYTES", least)
        with pytest.raises(DataError, match=r"none\.jsonl has no rows"):
            run_data.load_datasets(config(files, {"data": "{sums}", "mix": ("{none}",)}), WIDE)
        tiny = {"data": "{one}:weight=0.1", "mix": ("{one}:weight=0.1",)}
        with pytest.raises(DataError, match="the weights leave no example"):
            run_data.load_datasets(config(files, {**tiny, "eval_data": "{sums}"}), WIDE)
        seeds = range(60)  # one of them holds out the only row of a file
        said = [_refused(config(files, _small(seed))) for seed in seeds]
        assert any("all of its rows are held out: give --eval-data" in text for text in said)


def _small(seed: int) -> dict[str, Any]:
    return {"data": "{dogs}", "mix": ("{one}",), "seed": seed}


def _refused(chosen: TrainConfig) -> str:
    try:
        run_data.load_datasets(chosen, WIDE)
    except DataError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("least", [1, 10**9])
def test_every_set_of_a_mix_is_fingerprinted_under_its_own_name(
    least: int, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "LEAST_BYTES", least)
    given = {"data": "{sums}", "mix": ("{cats}:weight=0.5", "{cats}"), "replay": "{dogs}"}
    first, _ = run_data.load_datasets(config(files, given), WIDE)
    names = ["--data sums.jsonl", "--mix cats.jsonl", "--mix cats.jsonl (2)", "--replay dogs.jsonl"]
    assert list(first.made_of) == names
    assert [weight for _, weight in first.made_of.values()] == [1, 0.5, 1, 1]
    with files["cats"].open("a") as file:
        file.write('{"text": "one more cat"}\n')
    again, _ = run_data.load_datasets(config(files, given), WIDE)
    changed = [name for name in names if first.made_of[name] != again.made_of[name]]
    assert changed == ["--mix cats.jsonl", "--mix cats.jsonl (2)"]

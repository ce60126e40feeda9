import os
from pathlib import Path

import pytest

import tiny_llama
from gpu_runner import sets
from gpu_runner.config import TrainConfig, resolve
from gpu_runner.encode import Encoder
from gpu_runner.errors import UsageError


@pytest.fixture
def encoder() -> Encoder:
    return Encoder(tiny_llama.tokenizer(), 60)


def config(sums_file: Path, **choices: object) -> TrainConfig:
    return resolve({"model": "x", "data": str(sums_file), "general": (), **choices})


def test_replay_is_mixed_into_training_and_into_nothing_else(
    sums_file: Path, cats_file: Path, encoder: Encoder
) -> None:
    plain, plain_suites = sets.read(config(sums_file), encoder)
    mixed, suites = sets.read(config(sums_file, replay=str(cats_file), replay_share=0.2), encoder)
    assert mixed.replayed_share == pytest.approx(0.2, abs=0.03)
    assert mixed.examples[: len(plain.examples)] == plain.examples
    assert suites["task"].examples == plain_suites["task"].examples


def test_rows_that_show_forgetting_may_not_be_replayed(
    sums_file: Path, cats_file: Path, encoder: Encoder
) -> None:
    choices = {"replay": str(cats_file), "general": (("cats", str(cats_file)),)}
    with pytest.raises(UsageError, match="what is trained on cannot show what is forgotten"):
        sets.read(config(sums_file, **choices), encoder)
    choices["replay"] = os.path.relpath(cats_file)
    with pytest.raises(UsageError, match="what is trained on cannot show what is forgotten"):
        sets.read(config(sums_file, **choices), encoder)


def test_bad_rows_are_left_out_of_every_set_when_asked(tmp_path: Path, encoder: Encoder) -> None:
    rows: list[dict[str, object]] = [*tiny_llama.sums(12), {"words": 1}]
    source = tiny_llama.write_rows(tmp_path / "rows.jsonl", rows)
    train, suites = sets.read(config(source, skip_bad_rows=True), encoder)
    assert len(train.examples) + len(suites["task"].examples) == 12


def test_bad_rows_are_told_of_the_set_they_are_in(
    tmp_path: Path, sums_file: Path, encoder: Encoder
) -> None:
    good = tiny_llama.write_rows(tmp_path / "good.jsonl", tiny_llama.sums(3)).read_text()
    places = {name: tmp_path / f"{name}.jsonl" for name in ("held", "skill", "replay")}
    for place in places.values():
        place.write_text(good + "not JSON\n")
    choices = {
        "eval_data": str(places["held"]),
        "general": (("skill", str(places["skill"])),),
        "replay": str(places["replay"]),
        "skip_bad_rows": True,
    }
    train, suites = sets.read(config(sums_file, **choices), encoder)
    told = {name: len(rows.bad_rows) for name, rows in suites.items()}
    assert told == {"task": 1, "general/skill": 1}
    assert "replay.jsonl:4" in train.bad_rows[0]
    assert len(train.bad_rows) == 1

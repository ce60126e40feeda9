"""The `rows` event: what is trained, true to the rows, and short whatever they hold."""

import json
from pathlib import Path
from typing import Any

import pytest

import tiny_llama
from gpu_runner.config.load import resolve
from gpu_runner.log.writer import MAX_LINE_BYTES, EventLog, SystemClock
from gpu_runner.model.load import load
from gpu_runner.plan import plan
from gpu_runner.plan.plan import RunPlan
from gpu_runner.run import payloads
from resumed_runs import kinds
from unfrozen.schema import read_line


def planned(model: Path, rows: Path, **choices: Any) -> RunPlan:
    options = {"model": str(model), "data": str(rows), "steps": 2, "seq_len": 60, "general": ()}
    return plan.make_plan(resolve(options | choices))


def line(folder: Path, payload: dict[str, Any]) -> str:
    """The event as it lies in a log, checked as the page checks it."""
    with EventLog(folder / "events.jsonl", run="r", clock=SystemClock()) as log:
        assert log.emit("rows", 0, **payload)
        assert log.cut == 0
    (text,) = (folder / "events.jsonl").read_text().splitlines()
    verdict = read_line(text)
    assert (verdict.problem, verdict.unknown) == ("", 0)
    return text


def words(row: dict[str, Any], *kinds: str) -> str:
    return "".join("".join(part["texts"]) for part in row["parts"] if part["as"] in kinds)


def test_it_tells_what_is_trained_of_the_first_rows(
    model_dir: Path, sums_file: Path, tmp_path: Path
) -> None:
    held = tiny_llama.write_rows(tmp_path / "held.jsonl", [{"text": "new"}])
    told = payloads.rows_payload(planned(model_dir, sums_file, eval_data=str(held)))
    line(tmp_path, told)
    first = tiny_llama.sums(1)[0]
    assert words(told["first"][0], "read") == first["prompt"]
    assert words(told["first"][0], "trained") == first["completion"]
    assert words(told["first"][0], "end") == "</s>"
    assert told["first"][0]["place"] == f"{sums_file.name}:1"
    assert told["counts"]["rows"] == 40
    assert told["counts"]["trained"] / told["counts"]["tokens"] == told["trained_ratio"]
    assert told["ends"] == [{"text": "</s>", "token": 0, "rows": 40}]
    assert sum(told["lengths"]["rows"]) == 40
    assert told["how"] == "answers and their ends; without a chat template"
    assert told["held_out"] == {"rows": 1, "trained": 0}
    tiny_llama.write_rows(held, [*tiny_llama.sums(3), {"text": "new"}])
    leaked = payloads.rows_payload(planned(model_dir, sums_file, eval_data=str(held)))
    assert leaked["held_out"] == {"rows": 4, "trained": 3}


def test_it_counts_what_is_special_of_every_set_of_a_mix(model_dir: Path, tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        *tiny_llama.sums(8),
        {"prompt": "1" * 90, "completion": "cut away"},
        {"prompt": "x", "completion": "", "meta": 1},
        {"text": "long " * 40},
    ]
    mine = tiny_llama.write_rows(tmp_path / "mine.jsonl", rows)
    more = tiny_llama.write_rows(tmp_path / "more.jsonl", [*tiny_llama.sums(2), {"words": 1}])
    held = tiny_llama.write_rows(tmp_path / "held.jsonl", [{"text": "new"}])
    options = {"mix": (str(more),), "eval_data": str(held), "skip_bad_rows": True}
    told = payloads.rows_payload(planned(model_dir, mine, **options))
    counts = {"cut": 2, "untrained": 1, "bad": 1, "repeated": 2, "endless": 0, "rows": 12}
    assert {name: told["counts"][name] for name in counts} == counts
    assert told["repeated_first"] == "more.jsonl:1"
    assert told["truncated"] == [{"place": "mine.jsonl:11", "tokens": 141, "answer": 141}]
    (lost,) = told["dropped"]
    assert (lost["place"], lost["answer"]) == ("mine.jsonl:9", len("cut away") + 1)
    line(tmp_path, told)
    assert [note["rows"] for note in told["notes"]] == [1, 1]
    assert any("an answer is empty" in note["text"] for note in told["notes"])
    assert any("the key 'meta' is not used" in note["text"] for note in told["notes"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "text", ["a" * 70_000, "漢" * 9_000, "😀" * 9_000, "\u202e\x00\n" * 3_000, " " * 9_000]
)
def test_however_long_a_row_is_the_line_is_short(
    text: str, model_dir: Path, tmp_path: Path
) -> None:
    rows: list[dict[str, object]] = [
        {"prompt": text[:8_000], "completion": text, text[:400]: text}
    ] * 4
    file = tiny_llama.write_rows(tmp_path / f"{'long' * 50}.jsonl", rows)
    told = payloads.rows_payload(planned(model_dir, file, seq_len=32_768, micro_batch=1))
    assert len(line(tmp_path, told)) < MAX_LINE_BYTES
    first = told["first"][0]
    shown = sum(len(part["texts"]) for part in first["parts"])
    assert first["before"] + shown + first["after"] == first["tokens"]
    assert first["after"] > 0


def test_hardest_and_easiest_rows_have_the_losses_of_the_model_as_it_is(
    model_dir: Path, sums_file: Path, tmp_path: Path
) -> None:
    made = planned(model_dir, sums_file)
    model: Any = load(made.source, made.tokenizer, "fp32", made.device)
    told = payloads.scored_payload(made, model)["scored"]
    line(tmp_path, {"scored": told})
    hard, easy = ([row["loss"] for row in told[name]] for name in ("hardest", "easiest"))
    assert hard == sorted(hard, reverse=True)
    assert easy == sorted(easy)
    assert easy[0] <= told["mean"] <= hard[0]
    assert told["rows"] == payloads.SCORED


@pytest.mark.slow
def test_a_run_tells_its_rows_once_as_they_are_and_once_as_the_model_finds_them(
    finished: Path, stopped: Path
) -> None:
    first, second = kinds(finished, "rows")
    assert (first["step"], second["step"]) == (0, 0)
    assert "scored" not in first
    assert second["scored"]["rows"] == payloads.SCORED
    assert json.dumps(kinds(stopped, "rows")[0]["counts"]) == json.dumps(first["counts"])

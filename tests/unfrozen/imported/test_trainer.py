"""trainer_state.json as the real Trainer writes it, and as it comes when something went wrong."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from imported_logs import curve, events, of_kind, reading, reading_bytes, scores
from unfrozen.errors import ForeignFileError
from unfrozen.imported import foreign_files

ENTRIES: list[dict[str, Any]] = [
    {"step": 0, "eval_loss": 3.0, "eval_runtime": 0.1, "epoch": 0},
    {"step": 2, "loss": 2.5, "grad_norm": 1.5, "learning_rate": 1e-3, "epoch": 0.1},
    {"step": 4, "loss": math.nan, "grad_norm": math.inf, "learning_rate": 5e-4, "num_tokens": 99.0},
    {"step": 4, "eval_loss": 2.0, "eval_mean_token_accuracy": 0.5},
]
ENDED = {"step": 4, "train_runtime": 20.0, "train_loss": 2.2, "total_flos": 1e12}


def state(*entries: Any, **fields: Any) -> bytes:
    whole = {"log_history": list(entries), "global_step": 4, "max_steps": 8, "logging_steps": 2}
    return json.dumps({**whole, **fields}, indent=2).encode()


@pytest.mark.slow
def test_the_real_trainers_numbers_are_all_there_as_it_wrote_them(trainer_folder: Path) -> None:
    run = reading(trainer_folder / "trainer_state.json")
    found = events(run)
    history = json.loads((trainer_folder / "trainer_state.json").read_text())["log_history"]
    for key, name in (("loss", "train/loss"), ("grad_norm", "train/grad_norm")):
        assert curve(found, name) == [(e["step"], e[key]) for e in history if key in e]
    rates = [(e["step"], e["learning_rate"]) for e in history if "learning_rate" in e]
    assert curve(found, "opt/lr") == rates
    for suite in ("task", "general"):
        key = f"eval_{suite}_loss"
        wanted = [(e["step"], e[key]) for e in history if key in e]
        assert scores(found, suite) == wanted
        assert [step for step, _ in wanted] == [0, 4, 8, 12]
    assert (found[-1]["status"], found[-1]["step"], run.steps) == ("finished", 12, 12)
    assert found[-1]["summary"]["train_loss"] == history[-1]["train_loss"]
    ended = found[-1]["t"] - found[0]["t"]
    assert events(run, written=1e9)[-1]["t"] == 1e9
    assert ended == 0 or ended == pytest.approx(history[-1]["train_runtime"], abs=0.01)


@pytest.mark.slow
def test_a_checkpoint_of_the_real_trainer_is_a_run_up_to_there(trainer_folder: Path) -> None:
    found = events(reading(trainer_folder / "checkpoint-6" / "trainer_state.json"))
    assert found[-1]["status"] == "stopped"
    assert found[-1]["reason"] == "this was saved at step 6 of 12; what came after is not in it"
    assert curve(found, "train/loss")[-1][0] == 6


def test_losses_that_are_no_numbers_stay_what_they_are() -> None:
    found = events(reading_bytes(state(*ENTRIES)))
    assert curve(found, "train/loss")[0] == (2, 2.5)
    assert math.isnan(curve(found, "train/loss")[1][1])
    assert curve(found, "train/grad_norm")[1] == (4, math.inf)


def test_a_byte_order_mark_in_front_changes_nothing_but_the_id() -> None:
    plain = state(*ENTRIES)
    marked, bare = (reading_bytes(data) for data in (b"\xef\xbb\xbf" + plain, plain))
    ids = [events(run)[0]["run"] for run in (marked, bare)]
    assert json.dumps(events(marked)).replace(*ids) == json.dumps(events(bare))


def test_an_evaluation_changes_from_its_first() -> None:
    first, last = of_kind(events(reading_bytes(state(*ENTRIES))), "eval")
    assert (first["delta"], first["baseline"]) == (0.0, 3.0)
    assert (last["delta"], last["baseline"]) == (-1.0, 3.0)


def test_what_has_no_name_here_is_kept_under_its_own_or_named() -> None:
    found = events(reading_bytes(state(*ENTRIES)))
    assert curve(found, "other/num_tokens") == [(4, 99.0)]
    assert curve(found, "other/eval_mean_token_accuracy") == [(4, 0.5)]
    said = " ".join(event["text"] for event in of_kind(found, "alert"))
    assert "Left out, as no curves of a run: epoch, eval_runtime" in said
    assert "num_tokens" in said


def test_its_losses_are_told_apart_from_ours_and_what_is_lacking_is_named() -> None:
    (start,) = of_kind(events(reading_bytes(state(*ENTRIES))), "run.start")
    assert (start["source"], start["tool"]) == ("imported", "Hugging Face Trainer")
    assert "logging_steps" in start["meanings"]["train/loss"]
    assert "batch" in start["meanings"]["eval"]
    lacks = " ".join(start["lacks"])
    assert "memory by component" in lacks
    assert "when each step was taken" in lacks
    assert "whether it forgets" in lacks
    assert "training loss" not in lacks


def test_a_log_that_dates_nothing_takes_the_files_time_and_its_own_length() -> None:
    found = events(reading_bytes(state(*ENTRIES, ENDED)), written=1_000_000.0)
    assert (found[0]["t"], found[-1]["t"]) == (999_980.0, 1_000_000.0)


@pytest.mark.parametrize(
    ("entries", "fields", "status", "reason"),
    [
        (ENTRIES, {"max_steps": 4}, "finished", ""),
        ([*ENTRIES, ENDED], {}, "stopped", "training ended at step 4 of 8"),
        (ENTRIES, {}, "stopped", "this was saved at step 4 of 8; what came after is not in it"),
        (ENTRIES, {"max_steps": "?"}, "stopped", "this was saved at step 4; what came after is"),
    ],
)
def test_how_it_ended_is_reported_as_far_as_it_is_known(
    entries: list[Any], fields: dict[str, Any], status: str, reason: str
) -> None:
    run = reading_bytes(state(*entries, **fields))
    assert run.status == status
    assert run.reason.startswith(reason)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "it is empty"),
        (b"hello there, this is no log", "it is of no tool that is known here"),
        (b'{"hidden_size": 4096}', "it is JSON without a log_history"),
        (b'{"log_history": [', "file at byte 17: it is no whole JSON"),
        (b'{"log_history": "\xff"}', "file at byte 17: it is not UTF-8"),
        (b'{"log_history": ' + b"[" * 99, "nested deeper"),
        (b'{"log_history": [' + b"9" * 5000 + b"]}", "a number in it has no end"),
        (state(), "its log_history holds no number"),
        (state({"loss": 1.0}, 7, None), "its log_history holds no number"),
        (b'{"v":1,"run":"r","seq":0}', "it is a log of Unfrozen already"),
        (b'\xef\xbb\xbf{"v":1,"run":"r","seq":0}', "it is a log of Unfrozen already"),
        (
            state({"step": 1, "loss": 1.0}).decode().encode("utf-16"),
            "it is UTF-16: save it as UTF-8",
        ),
    ],
)
def test_what_is_no_state_is_refused_with_what_to_do(data: bytes, problem: str) -> None:
    with pytest.raises(ForeignFileError) as refused:
        reading_bytes(data)
    assert problem in str(refused.value)
    assert "; " in str(refused.value)


def test_a_file_beyond_the_limit_is_refused_before_it_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(foreign_files, "MOST_BYTES", 1000)
    with pytest.raises(ForeignFileError, match="more than 1,000 bytes; no log of training needs"):
        reading_bytes(state(*ENTRIES).ljust(1001))


@pytest.mark.parametrize(
    "entry",
    [
        {"step": -1, "loss": 1.0},
        {"step": 1e300, "loss": 1.0},
        {"step": 1.5, "loss": 1.0},
        {"step": math.nan, "loss": 1.0},
        {"step": 3, "loss": [1.0]},
        {"step": True, "loss": 1.0},
        {"step": 3, "lo\ud800ss\n": 1.0, "\u202e": 2.0},
        {"step": 3, "loss": 10**400},
        {"step": 3, "loss": "much"},
    ],
)
def test_odd_entries_are_passed_over_or_kept_and_never_break_the_log(entry: Any) -> None:
    found = events(reading_bytes(state(entry, *ENTRIES[1:])))
    assert curve(found, "train/loss")[0][0] in (2, 3)


def test_the_same_content_has_the_same_id_wherever_it_lies() -> None:
    one, other = (reading_bytes(state(*ENTRIES), name) for name in ("a.json", "b.json"))
    assert one.id == other.id
    assert one.id.startswith("trainer-")
    assert reading_bytes(state(*ENTRIES[:-1])).id != one.id

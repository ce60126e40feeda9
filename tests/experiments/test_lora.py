"""Full fine-tuning beside LoRA: what moves, what is kept, which rate is best, what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from compare_lora import main
from forgetting import written
from gpu_runner.errors import ExitCode, UsageError
from gpu_runner.model.load import find, load, load_tokenizer
from lora.methods import ALPHA, AdapterDrift, Method, Trained, adapt
from lora.report import published, tables
from lora.study import (
    FIRST_FULL,
    FIRST_LORA,
    LADDER,
    MOST_EXTRA,
    RUNGS,
    Done,
    ResultsFile,
    best_rate,
    between,
    carry_out,
    ladder,
    missing,
)
from lora.trial import SETTINGS, Run, Setting, TrialResult, outcome, run

ROOT = Path(__file__).parents[2]
FULL, EIGHT = Method(), Method(8)
SHORT = Setting(
    "short",
    lambda _: "demo",
    {"steps": 2, "micro_batch": 4, "eval_every": 2, "eval_rows": 4, "sample_tokens": 0},
)
MADE = {"versions": {"torch": "2"}, "cpu": "one", "threads": 1, "date": "2026-11-26"}


def ends(task: float | None, general: float | None = 0.5) -> TrialResult:
    return TrialResult(9.0, task, 0.1, general, 0.01, 100, 2_000, 2_010, 60.0, [[0, 9.0, 0.1]])


def done(method: Method, rate: float, task: float | None, seed: int = 7) -> Done:
    return Done(Run(method, rate, seed), ends(task), MADE)


def model_of_the_demo() -> Any:
    source = find("demo")
    return load(source, load_tokenizer(source), "fp32", torch.device("cpu"))


# --- methods ------------------------------------------------------------------------------------
def test_a_method_has_a_name_and_a_wrong_name_is_refused_in_words() -> None:
    assert [Method.of(name).id for name in ("full", "lora-1", "lora-64")] == [
        "full",
        "lora-1",
        "lora-64",
    ]
    with pytest.raises(UsageError, match="'dora' is no method: give full, or lora-8"):
        Method.of("dora")
    with pytest.raises(UsageError, match="a rank is a whole number in 1 … 4,096, and 0 is not"):
        Method.of("lora-0")


@pytest.mark.slow
def test_fresh_adapters_change_nothing_and_only_they_are_trained() -> None:
    model = model_of_the_demo()
    ids = torch.arange(1, 9)[None]
    before = model(input_ids=ids).logits
    trained = adapt(model, 8)
    assert torch.equal(model(input_ids=ids).logits, before)
    assert all(".lora_" in name for name, _ in trained.named_parameters())
    blocks = model.config.num_hidden_layers
    assert len(list(trained.named_parameters())) == 2 * 7 * blocks
    assert AdapterDrift().drift(model).total == 0


@pytest.mark.slow
@torch.no_grad()
def test_drift_is_that_of_the_merged_weights() -> None:
    model, plain = model_of_the_demo(), dict(model_of_the_demo().named_parameters())
    for _, parameter in adapt(model, 2).named_parameters():
        parameter.fill_(0.01)
    moved = 0.0
    for name, layer in model.named_modules():
        if hasattr(layer, "base_layer"):
            thin = layer.lora_B["default"].weight @ layer.lora_A["default"].weight
            merged = layer.base_layer.weight + ALPHA / 2 * thin
            moved += float((merged - plain[f"{name}.weight"]).square().sum())
    start = sum(float(weight.square().sum()) for weight in plain.values())
    found = AdapterDrift().drift(model)
    assert found.total == pytest.approx((moved / start) ** 0.5, rel=1e-4)
    assert found.layers["embed_tokens"] == 0
    assert all(found.layers[f"layers.{block}"] > 0 for block in range(4))


# --- one run ------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TrialResult]:
    """Two steps each way."""
    wanted = (Run(FULL, 1e-3, 7), Run(EIGHT, 1e-2, 7))
    folders = {one: tmp_path_factory.mktemp("run") for one in wanted}
    return {one.method.id: run(SHORT, "demo", one, folders[one])[0] for one in wanted}


@pytest.mark.slow
def test_both_ways_learn_from_the_same_start(outcomes: dict[str, TrialResult]) -> None:
    full, lora = outcomes["full"], outcomes["lora-8"]
    assert (full.task_before, full.general_before) == (lora.task_before, lora.general_before)
    for one in (full, lora):
        assert one.task is not None
        assert one.task < one.task_before
        assert one.drift > 0
        assert [look[0] for look in one.looks] == [0, 2]
        assert one.looks[-1][1] == one.task


@pytest.mark.slow
def test_full_trains_every_number_and_lora_few(outcomes: dict[str, TrialResult]) -> None:
    assert outcomes["full"].trained == 836_736
    assert outcomes["lora-8"].trained == Trained(adapt(model_of_the_demo(), 8).model).count
    assert outcomes["lora-8"].trained < 0.1 * outcomes["full"].trained


@pytest.mark.slow
def test_the_planner_predicts_what_both_hold(outcomes: dict[str, TrialResult]) -> None:
    for one in outcomes.values():
        assert one.measured_bytes == pytest.approx(one.predicted_bytes, rel=0.02)
    assert outcomes["lora-8"].measured_bytes < outcomes["full"].measured_bytes


def log_of(status: str, task: float | str, folder: Path) -> Path:
    """A log whose run ends as it says, with one evaluation before and one after."""
    looks = [("task", 0, 9.0), ("general", 0, 0.1), ("task", 2, task), ("general", 2, 0.2)]
    events: list[dict[str, Any]] = [
        {"kind": "eval", "step": step, "suite": suite, "loss": loss} for suite, step, loss in looks
    ]
    losses = {"task": [9.0, task], "general": [0.1, 0.2]}
    summary = {"losses": losses, "drift": 0.5, "seconds": 1.0}
    summary |= {"predicted_peak_bytes": 1, "measured_peak_bytes": 1}
    events.append({"kind": "run.end", "status": status, "summary": summary})
    log = folder / "events.jsonl"
    log.write_text("".join(json.dumps(event) + "\n" for event in events))
    return log


@pytest.mark.parametrize(("status", "task"), [("failed", 3.0), ("finished", "NaN")])
def test_a_run_that_diverged_has_an_outcome_without_losses(
    status: str, task: float | str, tmp_path: Path
) -> None:
    found = outcome(log_of(status, task, tmp_path), 100)
    assert (found.task, found.general) == (None, None)
    assert found.looks[0] == [0, 9.0, 0.1]
    assert len(found.looks) == 1 + (task == 3.0)


def test_a_run_that_was_stopped_is_none(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        outcome(log_of("stopped", 3.0, tmp_path), 100)


# --- the ladder ---------------------------------------------------------------------------------
def test_a_ladder_grows_where_the_best_lies_at_its_end_and_not_for_ever() -> None:
    start = list(LADDER[FIRST_LORA : FIRST_LORA + RUNGS])
    assert ladder(EIGHT, [], 7) == start
    falling = [done(FULL, rate, -index) for index, rate in enumerate(LADDER)]
    up = ladder(FULL, falling, 7)
    assert up == list(LADDER[FIRST_FULL : FIRST_FULL + RUNGS + MOST_EXTRA])
    assert best_rate(FULL, falling, 7) == up[-1]
    rising = [done(FULL, rate, index) for index, rate in enumerate(LADDER)]
    assert ladder(FULL, rising, 7)[0] == LADDER[FIRST_FULL - MOST_EXTRA]
    assert len(ladder(FULL, rising, 7)) == RUNGS + MOST_EXTRA


@pytest.mark.parametrize(
    ("losses", "finer"), [((2, 1, 3), between(1e-3, 3e-3)), ((3, 1, 2), between(3e-3, 1e-2))]
)
def test_the_last_rung_lies_between_the_best_and_its_better_neighbour(
    losses: tuple[float, ...], finer: float
) -> None:
    start = list(LADDER[FIRST_LORA : FIRST_LORA + RUNGS])
    tried = [done(EIGHT, rate, task) for rate, task in zip(start, losses, strict=True)]
    assert ladder(EIGHT, tried, 7) == [*start, finer]
    assert best_rate(EIGHT, tried, 7) is None  # not all of the ladder is there
    for task, best in ((1.5, start[1]), (0.5, finer)):
        assert best_rate(EIGHT, [*tried, done(EIGHT, finer, task)], 7) == best


def test_a_run_that_diverged_is_never_the_best() -> None:
    start = LADDER[FIRST_FULL : FIRST_FULL + RUNGS]
    tried = [done(FULL, rate, task) for rate, task in zip(start, (3, 2, None), strict=True)]
    tried.append(done(FULL, between(start[0], start[1]), 2.5))
    assert best_rate(FULL, tried, 7) == start[1]


def test_more_seeds_run_at_the_best_rate_only_and_after_all_ladders() -> None:
    made: list[Run] = []

    def make(wanted: Run) -> TrialResult:
        made.append(wanted)
        return ends(abs(wanted.rate - 3e-3))

    carry_out((FULL, EIGHT), (7, 8, 9), ResultsFile(None, SHORT), make)
    later = made[-4:]
    assert {one.seed for one in made[:-4]} == {7}
    assert [(one.method.id, one.rate, one.seed) for one in later] == [
        ("full", 3e-3, 8),
        ("lora-8", 3e-3, 8),
        ("full", 3e-3, 9),
        ("lora-8", 3e-3, 9),
    ]


# --- what is kept -------------------------------------------------------------------------------
def test_a_kept_run_is_not_made_again(tmp_path: Path) -> None:
    file, made = tmp_path / "kept.jsonl", []

    def make(wanted: Run) -> TrialResult:
        made.append(wanted)
        return ends(1.0)

    carry_out((FULL,), (7,), ResultsFile(file, SHORT), make)
    whole = file.read_text()
    first = whole.splitlines(keepends=True)
    file.write_text("".join(first[:2]) + first[2][:30])  # killed while it wrote the third
    again = ResultsFile(file, SHORT)
    assert len(again.done) == 2
    assert next(missing((FULL,), (7,), again.done)) == made[2]
    before = len(made)
    carry_out((FULL,), (7,), again, make)
    assert len(made) == before + len(first) - 2
    assert len(ResultsFile(file, SHORT).done) == len(first)


def test_a_file_of_another_study_is_refused_in_words(tmp_path: Path) -> None:
    file = tmp_path / "kept.jsonl"
    carry_out((FULL,), (7,), ResultsFile(file, SHORT), lambda _: ends(1.0))
    other = Setting("short", SHORT.model, SHORT.choices | {"steps": 3})
    with pytest.raises(UsageError, match=r"line 1 is of another study .*give --keep another file"):
        ResultsFile(file, other)
    file.write_text('{"key": {}, "outcome": {}}\n')
    with pytest.raises(UsageError, match="line 1 is no finished run of this command"):
        ResultsFile(file, SHORT)


# --- what is published --------------------------------------------------------------------------
def test_what_is_published_has_the_best_rate_by_task_loss_and_every_run() -> None:
    start = LADDER[FIRST_FULL : FIRST_FULL + RUNGS]
    tried = [done(FULL, rate, task) for rate, task in zip(start, (3, 1, None), strict=True)]
    tried += [done(FULL, between(start[0], start[1]), 2.5), done(EIGHT, 1e-3, 0.5)]
    tried += [done(FULL, start[1], 2, seed=8)]
    found = published(SHORT, (7, 8), tried)
    (only,) = found["methods"]  # the ladder of the other is not climbed yet
    assert (only["id"], only["rate"], only["seeds"]) == ("full", start[1], 2)
    assert (only["task"], only["task_spread"]) == (1.5, 0.5)
    assert len(found["runs"]) == len(tried)
    assert found["made"] == MADE
    assert json.loads(json.dumps(found)) == found
    text = tables(found)
    assert f"| every weight | 100 | {start[1]:g} | 1.500 ± 0.500 |" in text
    assert "**1.000 / 0.500**" in text
    assert "diverged" in text
    with pytest.raises(ValueError, match="no run is done yet"):
        published(SHORT, (7,), [])


def test_what_the_command_cannot_use_it_refuses_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TQDM_DISABLE", "1")  # as the command does for its process
    kept = str(tmp_path / "none.jsonl")
    for options, words in (
        (["--methods", "lora-0"], "lora-0: a rank is a whole number"),
        (["--threads", "0"], "--threads 0: give 1 or more"),
        (["--seeds", "7", "7"], "--seeds names a seed twice"),
        (["--keep", kept, "--kept-only"], "holds no finished run"),
    ):
        monkeypatch.setattr("sys.argv", ["lora", "demo", *options])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == ExitCode.USAGE
        said = capsys.readouterr().err
        assert words in said
        assert said.count("\n") == 1


def test_the_document_and_the_page_hold_the_same_runs() -> None:
    found = json.loads((ROOT / "web" / "measurements" / "lora.json").read_text(encoding="utf-8"))
    text = (ROOT / "docs" / "lora.md").read_text(encoding="utf-8")
    assert written(text, found["setting"], tables(found)) == text
    assert found["choices"] == SETTINGS[found["setting"]].choices

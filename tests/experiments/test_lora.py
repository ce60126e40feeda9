"""Full fine-tuning beside LoRA: what moves, what is kept, which rate is best, what is refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from compare_lora import main
from forgetting import written
from gpu_runner.errors import ExitCode, UsageError
from gpu_runner.model.load import find, load, load_tokenizer
from lora.methods import ALPHA, FROZEN, AdapterDrift, Method, Trained, adapt
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
    carry_out,
    ladder,
    missing,
)
from lora.trial import SETTINGS, Run, Setting, TrialResult, outcome, run
from unfrozen.parameter_groups import match_patterns

ROOT = Path(__file__).parents[2]
FULL, EIGHT = Method(), Method(8)
SHORT = Setting(
    "short",
    lambda _: "demo",
    {"steps": 2, "micro_batch": 4, "eval_every": 2, "eval_rows": 4, "sample_tokens": 0},
)
MADE = {"versions": {"torch": "2"}, "cpu": "one", "threads": 1, "date": "2026-11-26"}


def ends(right: int, task: float | None = 1.0) -> TrialResult:
    losses = (9.0, task, 0.1, None if task is None else 0.5)
    looks = [[0, 9.0, 0.1]]
    answers = ([0, right, 64], [42, 64 - right, 64])
    return TrialResult(*losses, 0.01, 100, 2_000, 2_010, looks, *answers, {"1 + 1 =": "2"})


def done(method: Method, rate: float, right: int, task: float | None = 1.0, seed: int = 7) -> Done:
    return Done(Run(method, rate, seed), ends(right, task), MADE)


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
    names = [name for name, _ in model.named_parameters()]
    frozen = {name for name, one in model.named_parameters() if not one.requires_grad}
    assert match_patterns(FROZEN, names).keys() == frozen


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
    assert not [block for block in range(4) if not found.layers[f"layers.{block}"] > 0]


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
        assert one.task_right[::2] == [0, 4]
        assert one.general_right[2] == 16


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
    answers = {"before": {"right": 1, "of": 4}, "after": {"right": 3, "of": 4}}
    exact = {"task": answers, "general": answers}
    summary = {"losses": losses, "exact": exact, "drift": 0.5}
    summary |= {"predicted_peak_bytes": 1, "measured_peak_bytes": 1}
    for when, text in (("before", "no"), ("after", " 4-7")):
        events.append({"kind": "sample", "when": when, "prompt": "47:", "text": text})
    events.append({"kind": "run.end", "status": status, "summary": summary})
    log = folder / "events.jsonl"
    log.write_text("".join(json.dumps(event) + "\n" for event in events))
    return log


@pytest.mark.parametrize(("status", "task"), [("failed", 3.0), ("finished", "NaN")])
def test_a_run_that_diverged_has_an_outcome_without_losses(
    status: str, task: float | str, tmp_path: Path
) -> None:
    found = outcome(SHORT, log_of(status, task, tmp_path), 100)
    assert (found.task, found.general) == (None, None)
    assert found.task_right == found.general_right == [1, 0, 4]
    assert found.looks[0] == [0, 9.0, 0.1]
    assert len(found.looks) == 1 + (task == 3.0)


def test_a_run_that_was_stopped_is_none(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        outcome(SHORT, log_of("stopped", 3.0, tmp_path), 100)


def test_a_general_set_of_its_own_is_scored_by_its_name(tmp_path: Path) -> None:
    log = log_of("finished", 3.0, tmp_path)
    events = [json.loads(line) for line in log.read_text().splitlines()]
    summary = events[-1]["summary"]
    events[:0] = [
        events[1] | {"suite": "general/text", "loss": 0.7, "step": step} for step in (0, 2)
    ]
    summary["losses"]["general/text"] = [0.7, 0.8]
    summary["exact"]["general/facts"] = {"before": {"right": 2, "of": 5}, "after": {"right": 1}}
    log.write_text("".join(json.dumps(event) + "\n" for event in events))
    setting = replace(SHORT, text_set="general/text", answer_set="general/facts")
    found = outcome(setting, log, 100)
    assert (found.general_before, found.general) == (0.7, 0.8)
    assert found.looks == [[0, 9.0, 0.7], [2, 3.0, 0.7]]
    assert (found.task_right, found.general_right) == ([1, 3, 4], [2, 1, 5])
    assert found.answers == {"47:": "4-7"}


@pytest.mark.slow
def test_a_recorded_run_is_evaluated_on_its_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SETTINGS, "smollm2", replace(SHORT, choices=SHORT.choices | {"steps": 4}))
    monkeypatch.setenv("TQDM_DISABLE", "1")  # as the command does for its process
    given = ["--methods", "full", "--record", "1e-3", "--logs", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["lora", "smollm2", *given])
    main()
    events = map(json.loads, (tmp_path / "full-0.001-7.jsonl").read_text().splitlines())
    looks = [one["step"] for one in events if (one["kind"], one.get("suite")) == ("eval", "task")]
    assert looks == [0, 1, 2, 3, 4]


# --- the ladder ---------------------------------------------------------------------------------
def test_a_ladder_goes_down_while_its_lowest_rate_learns_and_not_for_ever() -> None:
    assert ladder(EIGHT, [], 7) == list(LADDER[FIRST_LORA : FIRST_LORA + RUNGS])
    learned = [done(FULL, rate, 62) for rate in LADDER]
    assert ladder(FULL, learned, 7) == list(LADDER[FIRST_FULL - MOST_EXTRA : FIRST_FULL + RUNGS])
    assert best_rate(FULL, learned, 7) == LADDER[FIRST_FULL - MOST_EXTRA]


def test_a_ladder_goes_up_while_no_rate_learns_and_not_for_ever() -> None:
    missed = [done(FULL, rate, min(index, 6)) for index, rate in enumerate(LADDER)]
    up = ladder(FULL, missed, 7)
    assert up == list(LADDER[FIRST_FULL : FIRST_FULL + RUNGS + MOST_EXTRA])
    assert best_rate(FULL, missed, 7) == LADDER[6]  # most rows right, and the lowest of these


@pytest.mark.parametrize(
    ("right", "best"), [((3, 60, 64), 1), ((3, 59, 64), 2), ((3, 64, 0), 1), ((0, 9, 8), None)]
)
def test_best_is_the_lowest_rate_that_learned(right: tuple[int, ...], best: int | None) -> None:
    start = LADDER[FIRST_LORA : FIRST_LORA + RUNGS]
    tried = [done(EIGHT, rate, count) for rate, count in zip(start, right, strict=True)]
    assert best_rate(EIGHT, tried, 7) == (None if best is None else start[best])
    assert best_rate(EIGHT, tried[:2], 7) is None  # not all of the ladder is there


def test_more_seeds_run_at_the_best_rate_only_and_after_all_ladders() -> None:
    made: list[Run] = []

    def make(wanted: Run) -> TrialResult:
        made.append(wanted)
        return ends(64 if wanted.rate >= 1e-4 else 0)

    carry_out((FULL, EIGHT), (7, 8, 9), ResultsFile(None, SHORT), make)
    later = made[-4:]
    assert {one.seed for one in made[:-4]} == {7}
    assert [(one.method.id, one.rate, one.seed) for one in later] == [
        ("full", 1e-4, 8),
        ("lora-8", 1e-4, 8),
        ("full", 1e-4, 9),
        ("lora-8", 1e-4, 9),
    ]


# --- what is kept -------------------------------------------------------------------------------
def test_a_kept_run_is_not_made_again(tmp_path: Path) -> None:
    file, made = tmp_path / "kept.jsonl", []

    def make(wanted: Run) -> TrialResult:
        made.append(wanted)
        return ends(64)

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
    carry_out((FULL,), (7,), ResultsFile(file, SHORT), lambda _: ends(64))
    other = Setting("short", SHORT.model, SHORT.choices | {"steps": 3})
    with pytest.raises(UsageError, match=r"line 1 is of another study .*give --keep another file"):
        ResultsFile(file, other)
    file.write_text('{"key": {}, "outcome": {}}\n')
    with pytest.raises(UsageError, match="line 1 is no finished run of this command"):
        ResultsFile(file, SHORT)


# --- what is published --------------------------------------------------------------------------
def test_what_is_published_has_the_best_rate_and_every_run() -> None:
    start = LADDER[FIRST_FULL : FIRST_FULL + RUNGS]
    tried = [done(FULL, start[0], 3), done(FULL, start[1], 64), done(FULL, start[2], 0, None)]
    tried += [done(FULL, start[1], 62, 2.0, seed=8), done(EIGHT, 1e-3, 20)]
    found = published(SHORT, (7, 8), tried)
    (only,) = found["methods"]  # the ladder of the other is not climbed yet
    assert (only["id"], only["rate"], only["seeds"]) == ("full", start[1], 2)
    assert (only["task"], only["task_spread"]) == (1.5, 0.5)
    assert (only["task_right"], only["general_right"]) == (63, 1)
    assert found["rows"] == {"task": 64, "general": 64}
    assert found["learned"] == 60
    assert found["runs"][0]["answers"] == {"1 + 1 =": "2"}
    assert len(found["runs"]) == len(tried)
    assert found["made"] == MADE
    assert json.loads(json.dumps(found)) == found
    text = tables(found)
    assert "| before training | | | 0 | 42 | 9.000 | 0.100 |" in text
    assert f"| every weight | 100 | {start[1]:g} | 63.0 | 1.0 | 1.500 ± 0.500 |" in text
    assert "**64 / 0 / 0.500**" in text
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
        (["--record", "1e-3"], "--record leaves events: give --logs a folder"),
        (["--keep", kept, "--kept-only"], "holds no finished run"),
    ):
        monkeypatch.setattr("sys.argv", ["lora", "smollm2", *options])
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
    assert found["choices"] == json.loads(json.dumps(SETTINGS[found["setting"]].choices))

"""What helps against forgetting: the direction of each effect, on the demo, with two seeds."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from conftest import matrix
from demo_model.skills import SKILLS
from forgetting import (
    OWN_RUNS,
    SEEDS,
    TRIALS,
    ForgettingControl,
    Outcome,
    Trial,
    earlier_demo_rows,
    earlier_english_rows,
    kept,
    outcome,
    renewed,
    run,
    table,
    written,
)
from gpu_runner import demo

ROOT = Path(__file__).parents[2]
DEMO = TRIALS["demo"]
CONTROLS = [control.id for control in DEMO.controls[1:] if control not in OWN_RUNS]


class Outcomes(dict[str, list[Outcome]]):
    """Control → what it ends with, seed by seed; a control is run when it is first asked for."""

    def __init__(self, trial: Trial, seeds: tuple[int, ...], folder: Callable[[], Path]) -> None:
        self.trial, self.seeds, self.folder = trial, seeds, folder

    def __missing__(self, control: str) -> list[Outcome]:
        (wanted,) = (one for one in DEMO.controls if one.id == control)
        self[control] = [run(self.trial, wanted, seed, self.folder()) for seed in self.seeds]
        return self[control]


@pytest.fixture(scope="module")
def found(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[Outcome]]:
    """Two seeds for each control; of the one of every run one, and shorter."""
    seeds, trial = SEEDS[:2], DEMO
    if not request.config.option.all:
        short = {"steps": 45, "lr": 2e-3, "micro_batch": 16, "eval_rows": 16}
        seeds, trial = SEEDS[:1], replace(DEMO, choices=DEMO.choices | short)
    return Outcomes(trial, seeds, lambda: tmp_path_factory.mktemp("runs"))


@pytest.mark.slow
def test_training_without_a_control_learns_and_forgets(found: dict[str, list[Outcome]]) -> None:
    for one in found["plain"]:
        assert one.task < one.task_before / 5
        assert one.general > 1.5 * one.general_before


@pytest.mark.slow
@pytest.mark.parametrize("control", matrix(CONTROLS, "ewc"))
def test_every_control_learns_and_forgets_less_whatever_the_seed(
    control: str, found: dict[str, list[Outcome]]
) -> None:
    for one, plain in zip(found[control], found["plain"], strict=True):
        assert one.task < one.task_before / 2
        assert one.general - one.general_before < 0.9 * (plain.general - plain.general_before)


@pytest.mark.slow
@pytest.mark.parametrize("control", matrix([name for name in CONTROLS if name != "replay"], "ewc"))
def test_all_but_replay_do_it_by_staying_nearer(
    control: str, found: dict[str, list[Outcome]]
) -> None:
    for one, plain in zip(found[control], found["plain"], strict=True):
        assert one.drift < 0.97 * plain.drift


@pytest.mark.slow
def test_going_back_forgets_less_from_nearer_by(found: dict[str, list[Outcome]]) -> None:
    for one, plain in zip(found["ema"], found["plain"], strict=True):
        assert one.drift < plain.drift
        assert one.general < plain.general
        assert one.task < one.task_before


@pytest.mark.slow
@pytest.mark.matrix
def test_replay_forgets_less_at_nearly_the_same_distance(found: dict[str, list[Outcome]]) -> None:
    for one, plain in zip(found["replay"], found["plain"], strict=True):
        assert one.drift == pytest.approx(plain.drift, rel=0.07)


@pytest.mark.slow
@pytest.mark.matrix
def test_importance_buys_more_than_distance(found: dict[str, list[Outcome]]) -> None:
    """EWC forgets less than L2-SP although it lets the weights go further."""
    for ewc, l2sp in zip(found["ewc"], found["l2sp"], strict=True):
        assert ewc.general < l2sp.general
        assert ewc.drift > l2sp.drift


def test_the_document_holds_a_row_for_every_control() -> None:
    text = (ROOT / "docs" / "forgetting.md").read_text(encoding="utf-8")
    measured = {name: trial for name, trial in TRIALS.items() if f"<!-- {name} -->" in text}
    assert "demo" in measured
    for name, trial in measured.items():
        part = text.split(f"<!-- {name} -->")[1].split(f"<!-- end of {name} -->")[0]
        assert not [control for control in trial.controls if f"| {control.title} |" not in part]


def test_the_pages_copy_and_the_document_tell_the_same() -> None:
    text = (ROOT / "docs" / "forgetting.md").read_text(encoding="utf-8")
    rows = text.split("<!-- smollm2 -->")[1].split("<!-- end")[0].splitlines()
    told = {title: rest for title, *rest in (row.strip("| ").split(" | ") for row in rows)}
    copies = json.loads((ROOT / "web" / "measurements" / "forgetting.json").read_text("utf-8"))
    copy = copies["smollm2"]
    for control in copy["controls"]:
        task, general, _, drift = told[control["title"]][:4]
        assert f"{control['task']:.3f}" == task
        assert f"{control['general']:.3f}" == general.split(" ± ")[0]
        assert f"{control['drift']:.2%}" == drift
    assert f"{copy['before']['general']:.3f}" == told["before training"][1]


def test_rows_for_replay_are_none_of_those_that_are_scored() -> None:
    earlier = set(earlier_demo_rows()[0].splitlines())
    scored = {
        line for path in demo.general_eval().values() for line in path.read_text().split("\n")
    }
    assert len(earlier) > 150
    assert not earlier & scored
    to_train, to_score = earlier_english_rows()
    assert not set(to_train.splitlines()) & set(to_score.splitlines())
    assert not [skill for skill in demo.EARLIER_SKILLS if skill not in SKILLS]


def test_a_table_has_means_and_the_spread_over_seeds() -> None:
    trial = Trial(lambda: "demo", {}, (ForgettingControl("plain", "nothing"),), earlier_demo_rows)
    runs = [Outcome(15.0, 1.0, 0.1, 0.3, 0.05), Outcome(15.0, 3.0, 0.1, 0.5, 0.07)]
    assert table(trial, {"plain": runs}).splitlines()[-2:] == [
        "| before training | 15.000 | 0.100 | | |",
        "| nothing | 2.000 | 0.400 ± 0.100 | +0.300 | 6.00% |",
    ]


def test_rows_that_are_answered_exactly_stand_beside_the_losses() -> None:
    trial = Trial(lambda: "demo", {}, (ForgettingControl("plain", "nothing"),), earlier_demo_rows)
    runs = [Outcome(15, 1, 0.1, 0.3, 0.05, {"task": [0, right, 64]}) for right in (60, 63)]
    head, _, before, after = table(trial, {"plain": runs}).splitlines()
    assert head.endswith(" task right, of 64 |")
    assert before.endswith(" | 0 |")
    assert after.endswith(" | 61.5 |")


def test_a_run_that_is_kept_is_not_run_again_unless_a_choice_changed(tmp_path: Path) -> None:
    file, first, second = (
        tmp_path / "kept.jsonl",
        Outcome(3, 1, 1, 2, 0.1),
        Outcome(3, 2, 1, 1, 0.1),
    )
    key = {"trial": {"steps": 5}, "control": {"general": ("a", "b")}, "seed": 7}
    assert kept(file, key, lambda: first) == first
    assert kept(file, key, lambda: second) == first
    assert kept(file, key | {"seed": 8}, lambda: second) == second
    assert kept(None, key, lambda: second) == second


def test_the_line_that_a_killed_command_tore_is_written_anew(tmp_path: Path) -> None:
    file, one = tmp_path / "kept.jsonl", Outcome(3, 1, 1, 2, 0.1)
    kept(file, {"seed": 7}, lambda: one)
    file.write_text(whole := file.read_text() + '{"key": {"seed": 8}, "outc')
    kept(file, {"seed": 8}, lambda: one)
    assert len(file.read_text().splitlines()) == 2
    assert whole.startswith(file.read_text().splitlines(keepends=True)[0])


def test_only_the_marked_part_of_a_document_is_replaced() -> None:
    document = "a\n<!-- x -->\nold\n<!-- end of x -->\nb\n"
    assert written(document, "x", "new") == document.replace("old", "new")
    with pytest.raises(ValueError, match="no marks for y"):
        written(document, "y", "new")


def test_some_rows_of_a_table_are_renewed_alone() -> None:
    controls = [ForgettingControl(name, f"control {name}") for name in "abc"]
    rows = "| control a | 1 |\n| control c | 3 |"
    document = f"<!-- x -->\n| x | n |\n|-|-|\nbefore\n{rows}\n<!-- end of x -->"
    text = renewed(document, "x", controls, {"b": "| control b | 2 |", "c": "| control c | 4 |"})
    assert text.splitlines()[3:] == ["| control a | 1 |", "| control b | 2 |", "| control c | 4 |"]


def test_an_outcome_is_read_from_the_last_event_of_a_log() -> None:
    lines = [
        '{"kind": "beat"}',
        '{"kind": "run.end", "summary": {"losses": {"task": [3, 1], "general": [0.1, 0.2]},'
        ' "exact": {"task": {"before": {"right": 0}, "after": {"right": 3, "of": 4}}},'
        ' "drift": 0.05}}',
    ]
    assert outcome(lines) == Outcome(3, 1, 0.1, 0.2, 0.05, {"task": [0, 3, 4]})

"""Whole runs with each optimizer and penalty: what is reported, skipped, gone back to, resumed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from conftest import matrix
from gpu_runner.config.schema import TrainConfig
from gpu_runner.errors import CheckpointError, Diverged, UsageError
from gpu_runner.model.load import find
from gpu_runner.plan import plan
from gpu_runner.plan.report import show_plan
from gpu_runner.run import fine_tune as runner
from gpu_runner.run.fine_tune import fine_tune
from gpu_runner.run.resume import resume

pytestmark = pytest.mark.slow

Make = Callable[..., TrainConfig]


@pytest.fixture
def usual(cats_file: Path) -> dict[str, Any]:
    return {"general": (("cats", str(cats_file)),), "eval_every": 3, "save_every": 0}


def events(config: TrainConfig, kind: str) -> list[dict[str, Any]]:
    (run,) = Path(config.runs).iterdir()
    lines = (run / "events.jsonl").read_text("utf-8").splitlines()
    return [event for event in map(json.loads, lines) if event["kind"] == kind]


def metric(config: TrainConfig, name: str) -> list[float]:
    return [event["m"][name] for event in events(config, "metrics") if name in event["m"]]


def alerts(config: TrainConfig) -> str:
    return "\n".join(event["text"] for event in events(config, "alert"))


@pytest.mark.parametrize(
    "choices",
    matrix(
        [
            {"optimizer": "adamw"},
            {"optimizer": "sgd", "momentum": 0.9},
            {"optimizer": "adafactor"},
            {"optimizer": "muon"},
            {"params": "bf16", "rounding": "kahan"},
        ],
        {"optimizer": "adamw"},
        {"params": "bf16", "rounding": "kahan"},
    ),
    ids=lambda choices: "-".join(map(str, choices.values())),
)
def test_a_nan_at_step_three_is_skipped_counted_shown_and_recovered_from(
    choices: dict[str, Any], make: Make, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, load = make(**choices, grad_accum=1), runner.load_model
    arrived = []

    def loaded(*arguments: Any) -> Any:
        """The run's own model, whose norm gets a NaN gradient in its third backward."""
        model, notes = load(*arguments)

        def poison(gradient: torch.Tensor) -> torch.Tensor:
            arrived.append(1)
            return gradient * float("nan") if len(arrived) == 3 else gradient

        model.model.norm.weight.register_hook(poison)
        return model, notes

    monkeypatch.setattr(runner, "load_model", loaded)
    fine_tune(config, console)
    assert metric(config, "train/skipped") == [0, 0, 1, 1, 1, 1]
    rates = metric(config, "opt/lr")
    assert [rate > 0 for rate in rates] == [True, True, False, True, True, True]
    assert "step 3 was skipped: its gradients were not finite" in alerts(config)
    (end,) = events(config, "run.end")
    assert (end["status"], end["summary"]["skipped"]) == ("finished", 1)
    assert end["summary"]["losses"]["task"][1] < end["summary"]["losses"]["task"][0]
    if "rounding" not in choices:  # in a model this small, rounding's fp32 scratch is the peak
        assert end["summary"]["memory_ratio"] == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(
    ("save_every", "said"),
    [
        (1, "To continue from its last checkpoint with other settings:"),
        (0, "Resumed, it would diverge again: start a new run with other settings."),
    ],
)
def test_a_run_that_diverged_is_not_said_to_be_resumed(
    save_every: int, said: str, make: Make, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, load = make(grad_accum=1, save_every=save_every, steps=9), runner.load_model

    def loaded(*arguments: Any) -> Any:
        """The run's own model, whose norm has gradients without a number."""
        model, notes = load(*arguments)
        model.model.norm.weight.register_hook(lambda gradient: gradient * float("nan"))
        return model, notes

    monkeypatch.setattr(runner, "load_model", loaded)
    with pytest.raises(Diverged, match="5 steps in a row"):
        fine_tune(config, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert said in text
    assert "unfrozen resume" not in text
    if save_every:
        again = text.split("--model ")[1].split(" --data")[0]
        assert find(again).kind == "directory"


def test_bf16_to_the_nearest_says_live_how_many_weights_stand_still(
    make: Make, console: Console
) -> None:
    config = make(params="bf16", lr=1e-5, steps=3)
    fine_tune(config, console)
    assert metric(config, "opt/stalled_ratio")[-1] > 0.5
    assert "of the bf16 weights did not change in the last step" in alerts(config)


def test_fp32_weights_say_nothing_about_standing_still(make: Make, console: Console) -> None:
    config = make(steps=1)
    fine_tune(config, console)
    assert not metric(config, "opt/stalled_ratio")


def test_an_early_stop_goes_back_to_the_best_weights(make: Make, console: Console) -> None:
    config = make(steps=60, eval_every=1, early_stop=2, lr=0.5, warmup=0, schedule="constant")
    fine_tune(config, console)
    (end,) = events(config, "run.end")
    task = [event["loss"] for event in events(config, "eval") if event["suite"] == "task"]
    best = min(range(len(task)), key=task.__getitem__)
    assert end["status"] == "finished"
    assert end["summary"]["steps"] == best + 2 < 60
    assert f"has not fallen for 2 evaluations: the model is that of step {best}" in end["reason"]
    assert end["summary"]["losses"]["task"][1] == task[best]
    named = [event["path"] for event in events(config, "checkpoint") if event["best"]]
    assert f"step-{best:06d}" in named
    kept = load_file(Path(end["summary"]["model"]) / "model.safetensors")
    if best == 0:
        first = load_file(Path(config.model) / "model.safetensors")
        assert all(torch.equal(kept[name], first[name]) for name in kept)
    assert "Early stop at step" in alerts(config)


def test_an_early_stop_does_not_happen_while_the_loss_falls(make: Make, console: Console) -> None:
    config = make(steps=6, eval_every=1, early_stop=2, lr=3e-3)
    fine_tune(config, console)
    assert events(config, "run.end")[0]["reason"] == "all 6 steps are done"


def test_ewc_tells_its_cost_and_leaves_no_file_behind(make: Make, console: Console) -> None:
    config = make(ewc=1.0, fisher_rows=4)
    fine_tune(config, console)
    assert "EWC: the Fisher of 4 general rows took" in alerts(config)
    assert "no longer held out" in alerts(config)
    (run,) = Path(config.runs).iterdir()
    assert {path.name for path in run.iterdir()} == {
        "config.json", "events.jsonl", "finished", "model",
    }  # fmt: skip


def test_a_penalty_keeps_the_model_nearer(make: Make, console: Console) -> None:
    drifts = []
    for penalty in ({}, {"l2sp": 50.0}, {"l2sp_pull": 50.0}, {"ewc": 50.0, "fisher_rows": 4}):
        config = make(**penalty)
        fine_tune(config, console)
        drifts.append(events(config, "drift")[-1]["total"])
        shutil.rmtree(config.runs)
    free, *held = drifts
    assert not [
        (drift, most)
        for drift, most in zip(held, (0.8, 0.8, 0.99), strict=True)
        if not drift < most * free
    ]


@pytest.mark.parametrize(
    "choices",
    matrix(
        [
            {"ewc": 10.0, "l2sp_pull": 1.0, "fisher_rows": 4, "rates": (("blocks", 0.5),)},
            {"optimizer": "muon"},
            {"optimizer": "adafactor"},
            {"params": "bf16", "rounding": "stochastic"},
            {"params": "bf16", "rounding": "kahan"},
            {"beta1": 0.8, "beta2_tokens": 2000.0, "epsilon": 1e-6},
            {"ema": 0.9},
        ],
        {"ema": 0.9},
        {"ewc": 10.0, "l2sp_pull": 1.0, "fisher_rows": 4, "rates": (("blocks", 0.5),)},
        {"params": "bf16", "rounding": "stochastic"},
    ),
    ids=["penalties", "muon", "adafactor", "stochastic", "kahan", "betas", "ema"],
)
def test_a_stopped_run_goes_on_bit_by_bit(
    choices: dict[str, Any],
    make: Make,
    console: Console,
    tmp_path: Path,
    stop_after: Callable[[int], Console],
) -> None:
    results = []
    for name, at in (("whole", 0), ("broken", 4)):
        config = make(**choices, runs=str(tmp_path / name), save_every=2)
        fine_tune(config, stop_after(at) if at else console)
        (run,) = Path(config.runs).iterdir()
        if at:
            assert not (run / "finished").exists()
            resume(run, console)
        kept = run / "checkpoints" / "step-000006" / "optimizer.safetensors"
        results.append(load_file(run / "model" / "model.safetensors") | load_file(kept))
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])
    assert any(name.startswith("ema.") for name in results[0]) == ("ema" in choices)


def test_a_resumed_run_without_its_fisher_is_refused(
    make: Make, console: Console, stop_after: Callable[[int], Console]
) -> None:
    config = make(ewc=1.0, fisher_rows=2, save_every=2)
    fine_tune(config, stop_after(4))
    (run,) = Path(config.runs).iterdir()
    (run / "fisher.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"fisher\.safetensors is gone"):
        resume(run, console)


def test_the_plan_names_the_optimizer_and_what_holds_the_weights(
    make: Make, console: Console
) -> None:
    config = make(ewc=1.0, l2sp=0.5, params="bf16", rounding="kahan", early_stop=3)
    show_plan(console, plan.make_plan(config))
    shown = " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]
    assert "adamw, kahan rounding; l2sp 0.5; ewc 1;" in shown
    assert "stops after 3 evaluations without a lower task loss" in shown
    assert "of the task; general: cats" in shown


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ({"momentum": 0.9}, r"--momentum 0.9: --optimizer adamw has its own"),
        ({"rounding": "kahan"}, r"--rounding kahan: it applies to bf16 weights only"),
        (
            {"rounding": "kahan", "params": "bf16", "optimizer": "muon"},
            r"--optimizer muon rounds to nearest",
        ),
        (
            {"decay_steps": 3},
            r"--decay-steps 3: --schedule cosine has no separate decay phase: choose wsd",
        ),
        (
            {"l2sp_pull": 200.0},
            r"--l2sp-pull 200: times --lr 0.01 it overshoots θ₀: .* at most 100",
        ),
        ({"l2sp_pull": 1.0, "params": "bf16"}, r"--l2sp-pull 1: a pull this small is rounded away"),
        ({"fisher_data": "a.jsonl"}, r"--fisher-data a.jsonl: only EWC uses it"),
        ({"beta2": 0.9, "optimizer": "sgd"}, r"^--beta2: --optimizer sgd has none: choose adamw"),
        (
            {"beta2": 0.9, "beta2_tokens": 1e5},
            r"^--beta2 0.9 and --beta2-tokens 100000.0: both set",
        ),
        ({"early_stop": 0}, r"^--early-stop 0 is out of bounds"),
        ({"ema": 1.0}, r"^--ema 1.0 is out of bounds: give a number from 0.5 to 0.999999"),
        ({"ema": 0.99, "save_every": 0}, r"^--ema 0.99: the average is kept in checkpoints"),
        ({"optimizer": "adam"}, r"^--optimizer 'adam' is unknown: choose adamw or adamw8bit or"),
    ],
)
def test_choices_that_cannot_be_are_refused(choices: dict[str, Any], said: str, make: Make) -> None:
    with pytest.raises(UsageError, match=said):
        make(**choices)

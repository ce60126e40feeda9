"""KL(θ₀ ‖ θ) in the loss: its value and gradient, what is stored, whole runs with it."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from rich.console import Console
from safetensors.torch import load_file

import tiny_families
import tiny_llama
from gpu_runner.config.schema import TrainConfig
from gpu_runner.data.dataset import EncodedDataset, encode_dataset
from gpu_runner.data.encode import Encoder
from gpu_runner.data.examples import Example
from gpu_runner.data.feed import Batch, BatchReference, collate, pack
from gpu_runner.errors import UsageError
from gpu_runner.model.loss import Kind, TokenScores, loss_sum
from gpu_runner.plan.plan import make_plan
from gpu_runner.plan.report import show_plan
from gpu_runner.run.fine_tune import fine_tune
from gpu_runner.run.resume import resume
from gpu_runner.train import reference
from gpu_runner.train.evaluate import Evaluator
from gpu_runner.train.reference import HeldOutReference
from gpu_runner.world import World
from resumed_runs import said, the_run
from run_process import events as events_of
from run_process import losses

ROWS = [Example(tuple(range(1, n)), (False, *[True] * (n - 2))) for n in (20, 33)]
Make = Callable[..., TrainConfig]


def pulled(model: Any, batch: Batch, most: int, strength: float, *, every: bool = False) -> Batch:
    """The batch with a reference of this model; every third target is not in it, if not `every`."""
    noted = TokenScores.of(batch.trainable_tokens, torch.device("cpu"), most)
    with torch.no_grad():
        loss_sum(model, batch, scores=noted)
    tokens, log_p = noted.top
    weights = torch.full((len(tokens),), strength)
    weights[::3] = strength * every
    return replace(batch, reference=BatchReference(tokens, log_p, weights, torch.zeros(())))


def by_hand(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Cross-entropy and λ · KL over the likeliest tokens and all others as one, in fp64."""
    reference, (_, targets) = batch.reference, batch.find_targets()
    assert reference is not None
    log_q = logits.double().log_softmax(dim=1)
    top, p = log_q.gather(1, reference.tokens), reference.log_p.double().exp()
    rest, now = 1 - p.sum(dim=1), 1 - top.exp().sum(dim=1)
    kl = (p * (p.log() - top)).sum(dim=1) + rest * (rest / now).log()
    return F.nll_loss(log_q, targets, reduction="sum") + (reference.strength * kl).sum()


def moved(family: str = "llama", **sizes: Any) -> tuple[Any, Any]:
    """θ₀ and a model near it."""
    before, after = (tiny_families.model(family, **sizes) for _ in range(2))
    with torch.no_grad():
        for parameter in after.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape))
    return before.eval(), after.eval()


@pytest.mark.parametrize("family", ["llama", "gemma2"])  # plain logits, and capped ones
@pytest.mark.parametrize("kind", ["full", "chunked", "linear"])
def test_value_and_gradient_are_those_of_the_formula(kind: Kind, family: str) -> None:
    before, after = moved(family)
    batch = pulled(before, collate(ROWS, 0), 8, 0.7)
    total, _ = loss_sum(after, batch, kind)
    (total * 0.25).backward()
    found = {name: p.grad.clone() for name, p in after.named_parameters() if p.grad is not None}
    after.zero_grad()
    logits = after(input_ids=batch.input_ids, use_cache=False).logits.flatten(0, 1)
    expected = by_hand(logits[batch.find_targets().positions], batch)
    (expected * 0.25).backward()
    assert total.item() == pytest.approx(expected.item(), rel=1e-5)
    for name, parameter in after.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-3, atol=1e-5)
    ours, _ = loss_sum(after, replace(batch, reference=None), kind)
    assert total.item() - float(batch.pull) == pytest.approx(ours.item(), rel=1e-5)
    assert float(batch.pull) > 0.01


def test_from_itself_a_model_is_nowhere_pulled() -> None:
    model, _ = moved()
    batch = pulled(model, pack(ROWS, 0), 64, 1.0)
    loss_sum(model, batch, "linear")
    assert abs(float(batch.pull)) < 1e-5


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_an_evaluation_measures_the_kl_of_the_first_examples_of_each_set(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "HELD_OUT_TOKENS", 20)
    before, after = moved(family)
    encoder = Encoder(tiny_llama.tokenizer(), 60)
    suites = {
        name: encode_dataset(name, [(str(n), row) for n, row in enumerate(rows)], encoder)
        for name, rows in {"task": tiny_llama.sums(9), "general/a": tiny_llama.sums(4)}.items()
    }
    cpu, kept = torch.device("cpu"), HeldOutReference(tmp_path / "held-out", World(), suites)
    evaluator = Evaluator(suites, 4, 0, cpu, nullcontext, reference=kept)
    first = evaluator.run(before)
    assert [score.kl for score in first] == [0, 0, 0]
    again = HeldOutReference(kept.folder, World(), suites)  # of a run that is resumed
    for scores in (evaluator.run(after), replace(evaluator, reference=again).run(after)):
        task, part, general = scores
        assert task.loss == pytest.approx(
            Evaluator(suites, 4, 0, cpu, nullcontext).run(after)[0].loss
        )
        assert task.kl == pytest.approx(kl_by_hand(before, after, suites["task"], 20), rel=1e-4)
        assert general.kl == part.kl
    assert not HeldOutReference(kept.folder, World(), {"task": suites["general/a"]}).known


def kl_by_hand(before: Any, after: Any, rows: EncodedDataset, most: int) -> float:
    """The mean over the trained tokens of the first examples that have at most so many."""
    total, tokens = 0.0, 0
    for example in rows.examples:
        if tokens and tokens + example.trainable_tokens > most:
            break
        batch = pulled(before, collate([example], 0), 64, 1.0, every=True)
        logits = after(input_ids=batch.input_ids, use_cache=False).logits.flatten(0, 1).detach()
        shown = logits[batch.find_targets().positions]
        total += float(by_hand(shown, batch) - by_hand(shown, without_weight(batch)))
        tokens += example.trainable_tokens
    assert tokens < rows.trainable_tokens
    return total / tokens


def without_weight(batch: Batch) -> Batch:
    """The batch, its reference of no strength."""
    assert batch.reference is not None
    strength = torch.zeros_like(batch.reference.strength)
    return replace(batch, reference=replace(batch.reference, strength=strength))


@pytest.fixture
def usual(cats_file: Path) -> dict[str, Any]:
    return {"general": (), "replay": str(cats_file), "eval_every": 6, "save_every": 2, "kl": 1.0}


def measured_kl(run: Path) -> list[tuple[int, float]]:
    """The KL on the task of each evaluation; it is 0 before the first step, and then grows."""
    events = [event for event in events_of(run) if "eval/task_kl" in event.get("m", {})]
    found = [(event["step"], event["m"]["eval/task_kl"]) for event in events]
    assert found[0] == (0, 0)
    assert found[-1][1] > 0.01
    return found


@pytest.mark.slow
def test_a_stopped_run_goes_on_bit_by_bit_with_its_reference(
    make: Make, console: Console, stop_after: Callable[[int], Console], tmp_path: Path
) -> None:
    whole = make(runs=str(tmp_path / "whole"), kl_on="task")
    fine_tune(whole, console)
    assert not (the_run(whole) / "reference").exists()  # θ₀ can make it again
    broken = make(runs=str(tmp_path / "broken"), kl_on="task")
    fine_tune(broken, stop_after(4))
    run = the_run(broken)
    resume(run, console)
    assert said(run).count("KL to θ₀: what it holds likeliest in ") == 1
    assert losses(run) == losses(the_run(whole))
    assert measured_kl(run) == measured_kl(the_run(whole))
    results = [load_file(one / "model" / "model.safetensors") for one in (run, the_run(whole))]
    assert all(torch.equal(results[0][name], tensor) for name, tensor in results[1].items())


@pytest.mark.slow
def test_the_loss_that_is_shown_is_that_of_the_examples(
    make: Make, console: Console, tmp_path: Path
) -> None:
    shown = []
    for kl in (0.0, 50.0):
        config = make(runs=str(tmp_path / str(kl)), kl=kl, **{"kl_on": "task"} if kl else {})
        fine_tune(config, console)
        shown.append([loss for loss, _ in losses(the_run(config)).values()])
    assert shown[0][0] == pytest.approx(shown[1][0], rel=1e-6)
    assert shown[0][-1] < 0.97 * shown[1][-1]  # which is held back


def test_the_plan_counts_what_is_stored(make: Make, console: Console) -> None:
    plan = make_plan(make(kl_on="task"))
    show_plan(console, plan)
    text = " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]
    assert "kl 1" in text
    assert f"θ₀ reads {len(plan.reference_rows())} examples for the KL" in text
    without = make_plan(make(kl=0.0))
    assert plan.disk_bytes - without.disk_bytes == plan.reference_bytes > 0
    assert plan.prediction is not None
    assert without.prediction is not None
    assert plan.prediction.peak_bytes > without.prediction.peak_bytes


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ({"kl": -1.0}, r"^--kl -1.0 is out of bounds: give a number from 0 to 1000"),
        ({"replay": None}, r"^--kl-on replay: there is no replay: give --replay, or --kl-on task"),
        ({"kl": 0.0, "kl_on": "task"}, r"^--kl-on 'task' has no effect: give --kl a strength"),
        ({"kl_on": "all"}, r"^--kl-on 'all' is unknown: choose replay or task"),
    ],
)
def test_what_cannot_be_is_refused(choices: dict[str, Any], said: str, make: Make) -> None:
    with pytest.raises(UsageError, match=said):
        make(**choices)


def test_a_run_that_takes_no_replayed_example_is_refused(make: Make) -> None:
    with pytest.raises(UsageError, match="--kl-on replay: no such example is among the 1 of 1"):
        make_plan(make(steps=1, micro_batch=1, grad_accum=1, seed=1))

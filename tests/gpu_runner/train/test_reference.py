"""KL(θ₀ ‖ θ) of held-out sets: its value, what is stored, whole runs with it."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

import tiny_families
import tiny_llama
from gpu_runner.config.schema import TrainConfig
from gpu_runner.data.dataset import EncodedDataset, encode_dataset
from gpu_runner.data.encode import Encoder
from gpu_runner.data.examples import Example
from gpu_runner.data.feed import Batch, collate, pack
from gpu_runner.model.loss import LikeliestTokens, TokenScores, loss_sum
from gpu_runner.run.fine_tune import fine_tune
from gpu_runner.run.resume import resume
from gpu_runner.train import reference
from gpu_runner.train.evaluate import Evaluator
from gpu_runner.train.reference import HeldOutReference
from gpu_runner.world import World
from resumed_runs import the_run
from run_process import events as events_of
from run_process import losses

ROWS = [Example(tuple(range(1, n)), (False, *[True] * (n - 2))) for n in (20, 33)]
Make = Callable[..., TrainConfig]


def likeliest(model: Any, batch: Batch, most: int, *, known: float = 1.0) -> LikeliestTokens:
    """What this model holds likeliest at the targets; every third of them may be unknown."""
    noted = TokenScores.of(batch.trainable_tokens, torch.device("cpu"), most)
    with torch.no_grad():
        loss_sum(model, batch, scores=noted)
    tokens, log_p = noted.top
    weights = torch.ones(len(tokens))
    weights[::3] = known
    return LikeliestTokens(tokens, log_p, weights)


def by_hand(model: Any, batch: Batch, reference: LikeliestTokens) -> float:
    """The KL over the likeliest tokens and all others as one, in fp64."""
    logits = model(input_ids=batch.input_ids, use_cache=False).logits.flatten(0, 1).detach()
    log_q = logits[batch.find_targets().positions].double().log_softmax(dim=1)
    top, p = log_q.gather(1, reference.tokens), reference.log_p.double().exp()
    rest, now = 1 - p.sum(dim=1), 1 - top.exp().sum(dim=1)
    kl = (p * (p.log() - top)).sum(dim=1) + rest * (rest / now).log()
    return float((reference.known * kl).sum())


def measured(model: Any, batch: Batch, reference: LikeliestTokens) -> tuple[float, float]:
    """The KL that a scored batch notes, and its loss."""
    noted = TokenScores.of(batch.trainable_tokens, torch.device("cpu"), reference=reference)
    with torch.no_grad():
        total, _ = loss_sum(model, batch, scores=noted)
    return float(noted.kl), float(total)


def moved(family: str = "llama", **sizes: Any) -> tuple[Any, Any]:
    """θ₀ and a model near it."""
    before, after = (tiny_families.model(family, **sizes) for _ in range(2))
    with torch.no_grad():
        for parameter in after.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape))
    return before.eval(), after.eval()


@pytest.mark.parametrize("family", ["llama", "gemma2"])  # plain logits, and capped ones
def test_the_kl_is_that_of_the_formula_and_no_part_of_the_loss(family: str) -> None:
    before, after = moved(family)
    batch = collate(ROWS, 0)
    reference = likeliest(before, batch, 8, known=0.0)
    kl, loss = measured(after, batch, reference)
    assert kl == pytest.approx(by_hand(after, batch, reference), rel=1e-4)
    assert kl > 0.01
    assert loss == pytest.approx(loss_sum(after, batch)[0].item(), rel=1e-5)


def test_from_itself_a_model_has_no_kl() -> None:
    model, _ = moved()
    batch = pack(ROWS, 0)
    assert abs(measured(model, batch, likeliest(model, batch, 64))[0]) < 1e-5


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
        batch = collate([example], 0)
        total += by_hand(after, batch, likeliest(before, batch, 64))
        tokens += example.trainable_tokens
    assert tokens < rows.trainable_tokens
    return total / tokens


@pytest.fixture
def usual(cats_file: Path) -> dict[str, Any]:
    return {"general": (), "replay": str(cats_file), "eval_every": 6, "save_every": 2}


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
    whole = make(runs=str(tmp_path / "whole"))
    fine_tune(whole, console)
    assert not (the_run(whole) / "held-out-reference").exists()  # θ₀ can make it again
    broken = make(runs=str(tmp_path / "broken"))
    fine_tune(broken, stop_after(4))
    run = the_run(broken)
    resume(run, console)
    assert losses(run) == losses(the_run(whole))
    assert measured_kl(run) == measured_kl(the_run(whole))
    results = [load_file(one / "model" / "model.safetensors") for one in (run, the_run(whole))]
    assert all(torch.equal(results[0][name], tensor) for name, tensor in results[1].items())

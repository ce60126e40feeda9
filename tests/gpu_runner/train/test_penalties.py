"""L2-SP, its decoupled twin, EWC and rates by part, beside their numpy versions."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import tiny_llama
from gpu_runner.config.schema import Pairs
from gpu_runner.model.load import find
from gpu_runner.optim import optimizer as optim
from gpu_runner.optim.optimizer import OptimizerChoice
from gpu_runner.train.initial_weights import InitialWeights, find_initial_weights
from gpu_runner.train.penalties import Penalty
from unfrozen.lab import optimizer as lab_optimizer
from unfrozen.lab.optimizer import Weights
from unfrozen.parameter_groups import pattern_values

STEPS = 6
LR = 1e-3
DECAY = 0.1


def arrays(model: Any) -> Weights:
    return {name: p.detach().numpy().copy() for name, p in model.named_parameters()}


def rows(model: Any) -> torch.Tensor:
    """The loss of four rows of eight tokens."""
    ids = torch.arange(32).reshape(4, 8) % model.config.vocab_size
    loss: torch.Tensor = model(input_ids=ids, labels=ids).loss
    return loss


def undecayed(model: Any) -> frozenset[str]:
    return frozenset(name for name, p in model.named_parameters() if p.ndim < 2)


@pytest.fixture
def start(model_dir: Path, tmp_path: Path) -> InitialWeights:
    return find_initial_weights(find(str(model_dir)), tiny_llama.model(), tmp_path, untrained=True)


@pytest.fixture
def fisher(tmp_path: Path) -> Path:
    """A Fisher of mean 1 that differs from weight to weight."""
    generator = torch.Generator().manual_seed(3)
    file = tmp_path / "fisher.safetensors"
    model = tiny_llama.model()
    values = {n: torch.rand(p.shape, generator=generator) * 2 for n, p in model.named_parameters()}
    save_file(values, file)
    return file


def reference_step(
    penalty: Penalty, weights: Weights, gradients: Weights, first: Weights, fisher: Weights
) -> Weights:
    """The gradients with the penalties of the reference, of weights that only numpy has moved."""
    sp = lab_optimizer.l2sp_gradients(weights, first, penalty.l2sp)
    ewc = lab_optimizer.ewc_gradients(weights, first, fisher, penalty.ewc)
    return {name: gradients[name] + sp[name] + ewc[name] for name in gradients}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strengths", "rates"),
    [
        ({}, ()),
        ({"l2sp": 3.0}, ()),
        ({"l2sp_pull": 30.0}, ()),
        ({"ewc": 3.0}, ()),
        ({"l2sp": 1.0, "l2sp_pull": 10.0, "ewc": 2.0}, (("embedding", 0.25), ("layers.0", 0.5))),
    ],
    ids=["adamw", "l2sp", "l2sp_pull", "ewc", "all with rates by part"],
)
@pytest.mark.parametrize("keep", [False, True], ids=["from disk", "in memory"])
def test_several_steps_agree_with_numpy(
    strengths: dict[str, float], rates: Pairs, keep: bool, start: InitialWeights, fisher: Path
) -> None:
    from safetensors.numpy import load_file

    model = tiny_llama.model()
    first, importance = arrays(model), load_file(fisher)
    names = list(first)
    shares = pattern_values(dict(rates), names)
    optimizer = optim.build(model, lr=LR, weight_decay=DECAY, choice=OptimizerChoice(rates=rates))
    penalty = Penalty(start, **strengths, fisher=fisher, shares=shares, keep=keep)
    references = {
        share: lab_optimizer.ArrayAdamW(LR * share, weight_decay=DECAY, undecayed=undecayed(model))
        for share in shares.values()
    }
    weights = arrays(model)
    for _ in range(STEPS):
        rows(model).backward()
        gradients = {n: p.grad.numpy().copy() for n, p in model.named_parameters()}
        penalty.add_gradients(model)
        norm = optim.gradient_norm(model.parameters())
        skipped = optimizer.step(LR, norm, 1.0)
        penalty.pull(model, LR, skipped)
        full = reference_step(penalty, weights, gradients, first, importance)
        known = lab_optimizer.gradient_norm(full)
        clipped = {name: each / max(1.0, known) for name, each in full.items()}
        assert float(norm) == pytest.approx(known, rel=1e-5)
        for share, reference in references.items():
            moved = {name: each for name, each in clipped.items() if shares[name] == share}
            weights |= reference.update(weights, moved)
        for name, weight in weights.items():
            pull = LR * shares.get(name, 1.0) * penalty.l2sp_pull
            weights[name] = weight - pull * (weight - first[name])
    for name, ours in arrays(model).items():
        assert np.abs(ours - first[name]).max() > LR / 100 or rates
        np.testing.assert_allclose(ours, weights[name], rtol=0, atol=3e-7, err_msg=name)


def test_the_pull_of_a_skipped_step_does_nothing(start: InitialWeights) -> None:
    model = tiny_llama.model()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.5)
    before = arrays(model)
    Penalty(start, l2sp_pull=10.0).pull(model, 1e-2, torch.ones(()))
    assert not [
        (name, now) for name, now in arrays(model).items() if not np.array_equal(before[name], now)
    ]


def test_no_penalty_reads_no_file() -> None:
    model = tiny_llama.model()
    nowhere = InitialWeights((Path("/nowhere"),), tuple(arrays(model)))
    Penalty(nowhere).add_gradients(model)
    Penalty(nowhere).pull(model, 1.0, torch.zeros(()))
    assert all(p.grad is None for p in model.parameters())


def test_a_weight_that_no_row_has_used_is_pulled_too(start: InitialWeights) -> None:
    model = tiny_llama.model()
    with torch.no_grad():
        model.model.norm.weight.add_(1.0)
    Penalty(start, l2sp=2.0).add_gradients(model)
    torch.testing.assert_close(model.model.norm.weight.grad, torch.full((32,), 2.0))

"""Rates and decay of one part of the model: beside a step of that part at its own rate."""

import shutil
from importlib.util import find_spec
from typing import Any

import pytest
import torch

import tiny_families
import tiny_llama
from gpu_runner.config.bounds import Pairs
from gpu_runner.errors import UsageError
from gpu_runner.optim import optimizer as optim
from gpu_runner.optim.eight_bit import LIBRARIES
from gpu_runner.optim.optimizer import OptimizerInBackward, describe_factors, factors
from own_optimizers import OWN

UNTIED = {"tie_word_embeddings": False}
INSTALLED = [library for library in LIBRARIES if find_spec(library) is not None]
needs_library = pytest.mark.skipif(
    not INSTALLED or (INSTALLED == ["torchao"] and shutil.which("g++") is None),
    reason="8-bit moments: `pip install bitsandbytes`, or torchao where g++ is",
)
RATES: Pairs = (("blocks", 0.5), ("norms", 2.0), ("embedding", 0.1))
RATE = 1e-3


def with_gradients(model: Any) -> Any:
    draw = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=draw)
    return model


def moved(name: Any, rate: float, **choice: Any) -> dict[str, torch.Tensor]:
    """How far each weight goes in one step."""
    model = with_gradients(tiny_llama.model(**UNTIED))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    made = optim.build(
        model, lr=rate, weight_decay=0.1, choice=optim.OptimizerChoice(name, **choice)
    )
    made.step(rate, torch.ones(()), 0.0)
    return {name: p.detach() - before[name] for name, p in model.named_parameters()}


@pytest.mark.filterwarnings("ignore")  # of torchao's compiler, about itself
@pytest.mark.parametrize(
    "name",
    [
        *OWN,
        pytest.param("adamw8bit", marks=[needs_library, pytest.mark.slow, pytest.mark.matrix]),
    ],
)
def test_a_part_moves_as_it_would_at_that_rate(name: str) -> None:
    found = moved(name, RATE, rates=RATES)
    wanted = factors("rates", RATES, list(found))
    assert set(wanted.values()) == {0.1, 0.5, 1.0, 2.0}
    for factor in set(wanted.values()):
        alone = moved(name, factor * RATE)
        for weight in (weight for weight, times in wanted.items() if times == factor):
            torch.testing.assert_close(found[weight], alone[weight], rtol=1e-5, atol=1e-9)


def test_within_the_backward_pass_each_weight_has_its_own_rate_too() -> None:
    model = tiny_llama.model(**UNTIED)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    choice = optim.OptimizerChoice("sgd", rates=RATES)
    made = OptimizerInBackward(
        model, optim.build(model, lr=RATE, weight_decay=0.0, choice=choice), lambda: RATE, "cpu"
    )
    sum((p * torch.arange(p.numel()).view_as(p)).sum() for p in model.parameters()).backward()
    made.step(RATE, made.norm(model.parameters()), 0.0)
    wanted = factors("rates", RATES, list(before))
    for name, parameter in model.named_parameters():
        gradient = torch.arange(parameter.numel()).view_as(parameter)
        expected = before[name] - RATE * wanted[name] * gradient
        torch.testing.assert_close(parameter.detach(), expected)


def test_decays_multiply_that_of_matrices_and_vectors_have_none() -> None:
    model = tiny_llama.model(**UNTIED)
    choice = optim.OptimizerChoice(decays=(("embedding", 0.0), ("head", 3.0)))
    made = optim.build(model, lr=RATE, weight_decay=0.1, choice=choice)
    found = {p: group["weight_decay"] for group in made.param_groups for p in group["params"]}
    decays = {name: found[p] for name, p in model.named_parameters()}
    assert decays["model.embed_tokens.weight"] == 0.0
    assert decays["lm_head.weight"] == pytest.approx(0.3)
    assert decays["model.layers.0.mlp.up_proj.weight"] == 0.1
    assert decays["model.norm.weight"] == 0.0


def test_without_choices_nothing_is_grouped_otherwise() -> None:
    model = tiny_llama.model()
    plain = optim.build(model, lr=RATE, weight_decay=0.1)
    assert [len(group["params"]) for group in plain.param_groups] == [15, 5]


@pytest.mark.parametrize(
    ("key", "pairs", "said"),
    [
        (
            "rates",
            (("embeding", 0.1),),
            "'embeding' is no part and of no weight of this model; did",
        ),
        ("rates", (("zzzz", 0.1),), "did you mean embedding, norms, blocks?"),
        ("rates", (("head", 0.1),), "the head is tied to the embedding: give embedding"),
        ("rates", (("norms", 0.1), ("*", 2.0)), "later patterns are of all its weights: drop it"),
        ("rates", (("router", 0.1),), "'router' is no part and of no weight of this model"),
        ("decays", (("norms", 0.1),), "only matrices decay"),
    ],
)
def test_a_pattern_without_a_weight_is_refused_with_the_nearest_names(
    key: str, pairs: Pairs, said: str
) -> None:
    choice = optim.OptimizerChoice(**{key: pairs})  # type: ignore[arg-type]
    with pytest.raises(UsageError) as caught:
        optim.build(tiny_llama.model(), lr=RATE, weight_decay=0.1, choice=choice)
    assert said in str(caught.value)
    assert caught.value.shared


def test_routers_and_experts_are_parts_of_a_mixture() -> None:
    names = [name for name, _ in tiny_families.model("qwen2_moe").named_parameters()]
    found = factors("rates", (("experts", 2.0), ("router", 0.5)), names)
    assert [name for name in names if found[name] == 0.5] == [
        f"model.layers.{layer}.mlp.gate.weight" for layer in (0, 1)
    ]
    assert sum(factor == 2.0 for factor in found.values()) == 12


def test_what_counts_is_told_with_its_weights() -> None:
    names = [name for name, _ in tiny_llama.model(**UNTIED).named_parameters()]
    assert describe_factors("rates", RATES, names) == [
        "rate × 0.5 for blocks (14 of 21 weights)",
        "rate × 2 for norms (5 of 21 weights)",
        "rate × 0.1 for embedding (1 of 21 weights)",
    ]
    assert describe_factors("decays", None, names) == []

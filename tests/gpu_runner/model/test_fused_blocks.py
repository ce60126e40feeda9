"""Fused blocks beside the same model as transformers runs it."""

import math
import random
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import pytest
import torch

import tiny_families
from gpu_runner.config.bounds import Checkpointing
from gpu_runner.data.examples import Example
from gpu_runner.data.feed import pack
from gpu_runner.model import blocks
from gpu_runner.model.loss import loss_sum
from unfrozen.model import ModelConfig
from unfrozen.model.architecture import FUSED_TYPES

DRAW = random.Random(3)
ROWS = [
    Example(tuple(DRAW.randrange(1, 264) for _ in range(n)), (False, *[True] * (n - 1)))
    for n in (40, 30, 30, 30, 17)
]
BF16 = partial(torch.autocast, "cpu", torch.bfloat16)


def fused(family: str, kind: Checkpointing = "none", **changes: Any) -> Any:
    model = tiny_families.model(family, **changes)
    blocks.prepare(model, kind, compiled=False, fused=True)
    return model


def passed(
    model: Any, context: Callable[[], AbstractContextManager[Any]] = nullcontext
) -> tuple[float, list[torch.Tensor], int]:
    """Loss, gradients, and the bytes that autograd keeps beside the weights, each storage once."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    model.zero_grad()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), context():
        total, count = loss_sum(model, pack(ROWS, 0))
    size = sum(s.nbytes() for place, s in kept.items() if place not in weights)
    (total / count).backward()
    return float(total.detach() / count), [p.grad.clone() for p in model.parameters()], size


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["none", "full"])
@pytest.mark.parametrize("family", FUSED_TYPES)
def test_a_fused_block_has_the_values_and_gradients_of_the_model_and_keeps_less(
    family: str, kind: Checkpointing
) -> None:
    loss, gradients, kept = passed(tiny_families.model(family))
    same, again, less = passed(fused(family, kind))
    assert same == pytest.approx(loss, rel=1e-6)
    for one, two in zip(gradients, again, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-7)
    assert less < (0.2 if kind == "full" else 0.75) * kept


@pytest.mark.slow
@pytest.mark.parametrize("params", [torch.float32, torch.bfloat16], ids=["autocast", "bf16"])
@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_in_16_bits_its_gradients_are_as_exact_as_the_models(
    family: str, params: torch.dtype
) -> None:
    context = BF16 if params == torch.float32 else nullcontext
    _, exact, _ = passed(tiny_families.model(family))

    def error(model: Any) -> float:
        loss, found, _ = passed(model.to(params), context)
        assert loss == pytest.approx(exact_loss, rel=0.01)
        pairs = zip(found, exact, strict=True)
        off = sum(float((a.float() - b).square().sum()) for a, b in pairs)
        return math.sqrt(off / sum(float(b.square().sum()) for b in exact))

    exact_loss = passed(tiny_families.model(family))[0]
    assert 0 < error(fused(family)) < 1.25 * error(tiny_families.model(family)) < 0.05


def test_weights_are_cast_again_instead_of_kept_in_16_bits() -> None:
    sizes: dict[str, Any] = {"hidden_size": 128, "intermediate_size": 512}
    model = fused("llama", **sizes)
    weights = {p.numel() for p in model.parameters() if p.ndim == 2}
    kept: set[int] = set()

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.dtype == torch.bfloat16:
            kept.add(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), BF16():
        loss_sum(model, pack(ROWS, 0))
    assert 128 * 512 in weights
    assert 128 * 512 not in kept


def test_without_gradients_the_model_generates_what_it_did() -> None:
    prompt = torch.tensor([ROWS[0].ids])
    asked = {"max_new_tokens": 8, "do_sample": False}
    one = tiny_families.model("llama").eval().generate(prompt, **asked)
    assert torch.equal(one, fused("llama").eval().generate(prompt, **asked))


@pytest.mark.parametrize("family", tiny_families.EXTRAS)
def test_only_families_whose_blocks_are_known_are_fused(family: str) -> None:
    config = tiny_families.model(family).config.to_dict()
    known = ModelConfig.from_hf(config)
    assert known.architecture.has_fused_block == (family in FUSED_TYPES)


def test_a_feed_forward_part_with_a_bias_is_left_as_it_is() -> None:
    config = tiny_families.model("llama", mlp_bias=True).config.to_dict()
    assert not ModelConfig.from_hf(config).architecture.has_fused_block

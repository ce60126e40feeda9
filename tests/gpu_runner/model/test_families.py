"""Every decoder that the planner knows, in every way that the runner trains it, beside eager
attention of transformers, each document alone: the loss and the gradient of every weight.

Windows and chunks are shorter than the documents, and no vector is what it is initialized to: sinks
near 0, norms of 1 and biases of 0 could be left out without a difference that is seen.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from conftest import matrix
from gpu_runner.config.bounds import Checkpointing
from gpu_runner.data.examples import Example
from gpu_runner.data.feed import collate, pack
from gpu_runner.model import attention, blocks, offload
from gpu_runner.model.loss import loss_sum
from tiny_families import DECODERS, decoder, shape_of
from unfrozen import runner

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # of compilers

DRAW = random.Random(0)
DOCUMENTS = [
    Example(
        tuple(DRAW.randrange(1, 100) for _ in range(length)),
        tuple(place > length // 3 for place in range(length)),
    )
    for length in (5, 17, 9, 13, 2)
]
COMPILER = "aot_eager_decomp_partition"
"""What is compiled of a block, by PyTorch's own kernels in place of generated ones."""
BOUND = 2e-5
SMALL = 1e-3
"""Of the largest gradient: errors of smaller ones are relative to this, such as of those that are
0 but for rounding."""


class Mode(NamedTuple):
    """How a step is computed; `weights` and `compute` are dtypes."""

    packed: bool = True
    checkpointing: Checkpointing = "none"
    compiled: bool = False
    offloaded: bool = False
    weights: torch.dtype = torch.float32
    compute: torch.dtype = torch.float32


MODES = {
    "packed": Mode(),
    "padded": Mode(packed=False),
    "checkpointed": Mode(checkpointing="full"),
    "selective": Mode(checkpointing="selective"),
    "compiled": Mode(compiled=True),
    "offloaded": Mode(offloaded=True),
    "bf16": Mode(compute=torch.bfloat16),
    "fp16": Mode(compute=torch.float16),
    "bf16 weights": Mode(weights=torch.bfloat16, compute=torch.bfloat16),
}
KINDS = (  # of each kind of attention one, in other modes
    *(("gpt_oss", mode) for mode in ("packed", "padded", "selective", "compiled", "bf16")),
    *(("llama4_text", mode) for mode in ("packed", "padded")),
    *(
        ("llama", "fp16"),
        ("qwen2_moe", "packed"),
        ("llama", "checkpointed"),
        ("mistral", "offloaded"),
    ),
    *(("gemma2", "bf16 weights"), ("deepseek_v3", "padded"), ("bloom", "padded")),
    *(("gpt2", "compiled"), ("mamba2", "offloaded")),
)


def autocast(mode: Mode) -> Any:
    wide = mode.compute == mode.weights
    return nullcontext() if wide else torch.autocast("cpu", dtype=mode.compute)


Found = tuple[float, dict[str, Tensor]]


def found(trained: Any, loss: Tensor) -> Found:
    """The loss of a model and its gradients by name."""
    loss.backward()
    named = trained.named_parameters()
    return float(loss), {name: p.grad.float() for name, p in named if p.grad is not None}


@lru_cache(maxsize=4)
def by_eager(family: str, weights: torch.dtype, compute: torch.dtype) -> Found:
    mode = Mode(weights=weights, compute=compute)
    alone = decoder(family, attn_implementation="eager").to(weights)
    with autocast(mode):
        losses = [loss_sum(alone, collate([one], 0), "full")[0] for one in DOCUMENTS]
    return found(alone, torch.stack(losses).sum())


@contextmanager
def prepared(family: str, mode: Mode) -> Iterator[tuple[Any, Callable[[], Any]]]:
    """A model as a run sets it up, and where it saves activations."""
    shape = shape_of(family)
    trained = decoder(family, **attention.arguments_for(shape)).to(mode.weights)
    kernels = runner.kernels(shape.architecture, mode.checkpointing, compiled=mode.compiled)
    own = torch.nn.Module.compile
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.Module, "compile", partial_method(own, backend=COMPILER))
        patch.setattr(offload, "LEAST_BYTES", 1)
        torch._dynamo.reset()
        fused = kernels == "fused_block"
        blocks.prepare(trained, mode.checkpointing, compiled=mode.compiled, fused=fused)
        yield trained, offload.Offload(trained) if mode.offloaded else nullcontext


def partial_method(function: Any, **more: Any) -> Any:
    return lambda self, **given: function(self, **more, **given)


def by_runner(family: str, mode: Mode) -> Found:
    packed = mode.packed and runner.packs(shape_of(family).architecture)
    batch = (pack if packed else collate)(DOCUMENTS, 0)
    with prepared(family, mode) as (trained, saving), autocast(mode):
        with saving():
            loss, _ = loss_sum(trained, batch)
        return found(trained, loss)


def error(ours: Tensor, exact: Tensor, least: float) -> float:
    """The largest error, relative to the largest value or to `least`."""
    return float((ours - exact).abs().max()) / max(float(exact.abs().max()), least)


def distance(ours: Found, exact: Found) -> float:
    """The length of the error of all gradients, relative to theirs."""
    errors = torch.stack([(ours[1][name] - one).norm() for name, one in exact[1].items()])
    return float(errors.norm() / torch.stack([one.norm() for one in exact[1].values()]).norm())


@pytest.mark.parametrize(("family", "mode"), matrix(product(DECODERS, MODES), *KINDS))
def test_loss_and_gradients_are_those_of_eager_attention(family: str, mode: str) -> None:
    """In 16 bits, where rounding sends tokens to other experts, ours may be twice as far from fp32
    as eager attention in bf16 is."""
    way = MODES[mode]
    exact = by_eager(family, torch.float32, torch.float32)
    ours = by_runner(family, way)
    assert ours[1].keys() == exact[1].keys()
    if way.compute != torch.float32:
        theirs = by_eager(family, way.weights, torch.bfloat16)
        assert distance(ours, exact) <= 2 * distance(theirs, exact)
        assert ours[0] == pytest.approx(exact[0], rel=2**-8)
        return
    assert ours[0] == pytest.approx(exact[0], rel=BOUND)
    least = SMALL * max(float(one.abs().max()) for one in exact[1].values())
    errors = {name: error(ours[1][name], one, least) for name, one in exact[1].items()}
    assert {name: found for name, found in errors.items() if not found <= BOUND} == {}

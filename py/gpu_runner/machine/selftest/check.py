"""A check, the figure it measures, and the models and batches that checks run on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from gpu_runner.config.load import resolve
from gpu_runner.config.schema import TrainConfig
from gpu_runner.data.examples import Example
from gpu_runner.data.feed import Batch, Feed, collate, pack
from gpu_runner.errors import UsageError
from gpu_runner.model import attention
from gpu_runner.model.blocks import check_compiler
from gpu_runner.model.load import load
from gpu_runner.model.loss import Kind, loss_sum
from gpu_runner.optim import optimizer as optim
from gpu_runner.plan.machine import computes_bf16
from gpu_runner.plan.plan import RunPlan
from gpu_runner.train.loop import TrainingStep
from gpu_runner.world import World

EXAMPLES: Final = 8
BOUNDS: Final[Mapping[torch.dtype, float]] = {torch.float32: 1e-5, torch.bfloat16: 2**-6}
"""Bounds of one computation: some 100 roundings of 2⁻²⁴ in a row; four of bf16's, which are 2⁻⁸."""
TRAINED: Final = 1e-4
"""The bound of the demo's gradient in fp32: in a trained model those of examples cancel to a tenth
of each, and the errors of all of them remain.
"""
PRECISIONS: Final = (("fp32", torch.float32), ("bf16", torch.bfloat16))


@dataclass(frozen=True, slots=True)
class Figure:
    """The error that was measured, its bound, and a note (a kernel, a count)."""

    error: float
    bound: float
    note: str = ""

    @property
    def within_bound(self) -> bool:
        """Whether the error is within its bound; a NaN is not."""
        return self.error <= self.bound


class Skipped(Exception):
    """This machine lacks what the check needs; the message says what."""


@dataclass(frozen=True)
class DemoModel:
    """The plan of the demo run; its model is loaded afresh whenever a check asks for it."""

    plan: RunPlan

    @property
    def device(self) -> torch.device:
        """The device that is checked."""
        return self.plan.device

    @property
    def on_gpu(self) -> bool:
        """Whether that is a GPU."""
        return self.device.type == "cuda"

    def load(self) -> Any:
        """Load θ₀ on the device."""
        return load(self.plan.source, self.plan.tokenizer, "fp32", self.device)

    def batch(self, first: int, count: int) -> Batch:
        """Return `count` training examples, padded."""
        return collate(self.plan.train.examples[first : first + count], 0).to(self.device)

    def packed(self, first: int = 0, count: int = EXAMPLES) -> Batch:
        """Return the same examples packed into one sequence."""
        return pack(self.plan.train.examples[first : first + count], 0).to(self.device)

    def bf16(self) -> torch.dtype:
        """Return bf16. Raises `Skipped` on a GPU that only emulates it."""
        require(not self.on_gpu or computes_bf16(self.device), "this GPU only emulates bf16")
        return torch.bfloat16

    @cached_property
    def exact_gradients(self) -> list[Tensor]:
        """Gradients of the first EXAMPLES examples in fp64 on the CPU (norms stay in fp32)."""
        model = load(self.plan.source, self.plan.tokenizer, "fp32", torch.device("cpu")).double()
        return gradients(model, collate(self.plan.train.examples[:EXAMPLES], 0))


@dataclass(frozen=True, slots=True)
class Check:
    """One sentence, and the function that measures its figure; it may raise `Skipped`."""

    name: str
    measure: Callable[[DemoModel], Figure]

    @staticmethod
    def of(function: Callable[[DemoModel], Figure]) -> Check:
        """Return the check whose sentence is the first of a function's docstring."""
        return Check((function.__doc__ or "").strip().splitlines()[0].rstrip("."), function)


def demo_config(device: str, **choices: Any) -> TrainConfig:
    """Return the config of the demo run with these choices. Raises `UsageError`."""
    given = {"model": "demo", "device": device, "compute": "fp32", "general": ()}
    return resolve(given | choices)


def training_step(
    plan: RunPlan, model: Any, learning_rate: float, feed: Feed, world: World, **more: Any
) -> TrainingStep:
    """Return a step of AdamW on `model` with the schedule of `plan`."""
    return TrainingStep(
        model=model,
        optimizer=optim.build(model, lr=learning_rate, weight_decay=0.01),
        feed=feed,
        schedule=plan.schedule,
        clip=1.0,
        world=world,
        **more,
    )


def gradients(model: Any, batch: Batch, kind: Kind = "linear") -> list[Tensor]:
    """Return the gradients of the mean loss of `batch`, in the order of the parameters."""
    model.zero_grad()
    total, count = loss_sum(model, batch, kind)
    (total / count).backward()
    return [parameter.grad for parameter in model.parameters()]


def relative_error(found: Iterable[Tensor], wanted: Iterable[Tensor]) -> float:
    """Return the norm of the difference of two lists of tensors over the norm of the second."""
    difference = length = 0.0
    for one, two in zip(found, wanted, strict=True):
        a, b = one.detach().cpu().double(), two.detach().cpu().double()
        difference += float((a - b).square().sum())
        length += float(b.square().sum())
    return float((difference / length) ** 0.5)


def largest_difference(one: Iterable[Tensor], two: Iterable[Tensor]) -> float:
    """Return the largest difference of two lists of tensors."""
    pairs = zip(one, two, strict=True)
    return max(float((a.detach() - b.detach()).abs().max()) for a, b in pairs)


def tiny_model(family: str, device: torch.device, **sizes: Any) -> Any:
    """Return a model of two narrow layers with random weights, the same on every device."""
    import transformers

    common = {
        "vocab_size": 264,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 256,
        "tie_word_embeddings": True,
    }
    chosen = transformers.AutoConfig.for_model(family, **{**common, **sizes})
    torch.manual_seed(0)
    model: Any = transformers.AutoModelForCausalLM.from_config(
        chosen, attn_implementation=attention.register()
    )
    return model.to(device).train()


def random_examples(count: int = 6, vocabulary: int = 264) -> tuple[Example, ...]:
    """Return examples of 10, 20, … random tokens, all of them trained."""
    draw = torch.Generator().manual_seed(1)
    lengths = [10 * (row + 1) for row in range(count)]
    ids = [torch.randint(1, vocabulary, (n,), generator=draw).tolist() for n in lengths]
    return tuple(Example(tuple(row), (False, *[True] * (len(row) - 1))) for row in ids)


def random_batch(device: torch.device) -> Batch:
    """Return the same examples packed into one sequence."""
    return pack(random_examples(), 0).to(device)


def require(available: bool, reason: str) -> None:
    """Raise `Skipped` for `reason` unless what is needed is available."""
    if not available:
        raise Skipped(reason)


def require_compiler(device: torch.device) -> None:
    """Raise `Skipped` where torch.compile has no compiler."""
    try:
        check_compiler(device)
    except UsageError as error:
        raise Skipped(str(error).split(",")[0]) from None


class GroupedMatmuls(TorchDispatchMode):
    """Records the dtypes of grouped matmuls while it is on."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.dtypes: set[torch.dtype] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if "grouped_mm" in str(func):
            self.dtypes.add(args[0].dtype)
        return func(*args, **(kwargs or {}))

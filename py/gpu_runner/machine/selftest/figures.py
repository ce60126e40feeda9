"""A check, the figure it finds, and what it is carried out on."""

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
from gpu_runner.data.feed import Batch, collate, pack
from gpu_runner.errors import UsageError
from gpu_runner.model import attention
from gpu_runner.model.load import load
from gpu_runner.model.loss import Kind, loss_sum
from gpu_runner.plan.machine import computes_bf16
from gpu_runner.plan.plan import RunPlan

ROWS: Final = 8
BOUNDS: Final[Mapping[torch.dtype, float]] = {torch.float32: 1e-5, torch.bfloat16: 2**-6}
"""Of what is computed once: some 100 roundings of 2⁻²⁴ in a row; four of bf16's, which are 2⁻⁸."""
TRAINED: Final = 1e-4
"""Of the demo's gradient in fp32: where a model is trained already, gradients of rows point apart,
and what is left of them is a tenth of each, with the errors of all.
"""


@dataclass(frozen=True, slots=True)
class Figure:
    """What was found, at most what it may be, and what is to be said of it (a kernel, a count)."""

    error: float
    bound: float
    note: str = ""

    @property
    def good(self) -> bool:
        """Whether it is within its bound; a NaN is not."""
        return self.error <= self.bound


class Skipped(Exception):
    """This machine has not what the check is about; the message says what."""


@dataclass(frozen=True)
class Bench:
    """The demo's plan, and a fresh copy of its model whenever one is asked for."""

    plan: RunPlan

    @property
    def device(self) -> torch.device:
        """Where the checks are carried out."""
        return self.plan.device

    @property
    def on_card(self) -> bool:
        """Whether that is a CUDA card."""
        return self.device.type == "cuda"

    def model(self) -> Any:
        """θ₀ on the chosen device."""
        return load(self.plan.source, self.plan.tokenizer, "fp32", self.device)

    def batch(self, first: int, rows: int) -> Batch:
        """Some padded training rows."""
        return collate(self.plan.train.examples[first : first + rows], 0).to(self.device)

    def packed(self, first: int = 0, rows: int = ROWS) -> Batch:
        """The same in one sequence."""
        return pack(self.plan.train.examples[first : first + rows], 0).to(self.device)

    def narrow(self) -> torch.dtype:
        """bf16. Raises `Skipped` on a card that only emulates it."""
        if self.on_card and not computes_bf16(self.device):
            raise Skipped("this card has no bf16 of its own")
        return torch.bfloat16

    @cached_property
    def exact(self) -> list[Tensor]:
        """Gradients of the first ROWS rows in 64 bits on the CPU (norms stay in 32)."""
        model = load(self.plan.source, self.plan.tokenizer, "fp32", torch.device("cpu")).double()
        return gradients(model, collate(self.plan.train.examples[:ROWS], 0))


@dataclass(frozen=True, slots=True)
class Check:
    """One sentence, and how its figure is found. `figure` may raise `Skipped`."""

    words: str
    figure: Callable[[Bench], Figure]

    @staticmethod
    def of(function: Callable[[Bench], Figure]) -> Check:
        """The check whose sentence is the first of a function's docstring."""
        return Check((function.__doc__ or "").strip().splitlines()[0].rstrip("."), function)


def settings(device: str, **choices: Any) -> TrainConfig:
    """The demo's run with these choices. Raises `UsageError`."""
    given = {"model": "demo", "device": device, "compute": "fp32", "general": ()}
    return resolve(given | choices)


def gradients(model: Any, batch: Batch, kind: Kind = "linear") -> list[Tensor]:
    """Of the mean loss of `batch`, in the order of the parameters."""
    model.zero_grad()
    total, count = loss_sum(model, batch, kind)
    (total / count).backward()
    return [parameter.grad for parameter in model.parameters()]


def apart(found: Iterable[Tensor], wanted: Iterable[Tensor]) -> float:
    """Length of the difference of two lists of tensors, as a share of the second's."""
    difference = length = 0.0
    for one, two in zip(found, wanted, strict=True):
        a, b = one.detach().cpu().double(), two.detach().cpu().double()
        difference += float((a - b).square().sum())
        length += float(b.square().sum())
    return float((difference / length) ** 0.5)


def moved(one: Iterable[Tensor], two: Iterable[Tensor]) -> float:
    """The largest difference of two lists of weights."""
    pairs = zip(one, two, strict=True)
    return max(float((a.detach() - b.detach()).abs().max()) for a, b in pairs)


def tiny(family: str, device: torch.device, **sizes: Any) -> Any:
    """A model of two narrow layers with random weights, the same on every device."""
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
    made: Any = transformers.AutoModelForCausalLM.from_config(
        chosen, attn_implementation=attention.register()
    )
    return made.to(device).train()


def random_rows(count: int = 6, vocabulary: int = 264) -> tuple[Example, ...]:
    """Rows of 10, 20, … random tokens, all of them trained."""
    draw = torch.Generator().manual_seed(1)
    lengths = [10 * (row + 1) for row in range(count)]
    ids = [torch.randint(1, vocabulary, (n,), generator=draw).tolist() for n in lengths]
    return tuple(Example(tuple(row), (False, *[True] * (len(row) - 1))) for row in ids)


def tokens() -> Batch:
    """The same in one sequence, on the host."""
    return pack(random_rows(), 0)


def need(found: bool, reason: str) -> None:
    """Raise `Skipped` unless it is there."""
    if not found:
        raise Skipped(reason)


def refuse_ending(name: str) -> None:
    """Raise `UsageError` for a report that is neither JSON nor Markdown."""
    if not name.endswith((".json", ".md")):
        raise UsageError(f"--report {name}: give a name that ends in .json or .md.")


class GroupedProducts(TorchDispatchMode):
    """Hears in which precisions grouped products are computed while it is on."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.widths: set[torch.dtype] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if "grouped_mm" in str(func):
            self.widths.add(args[0].dtype)
        return func(*args, **(kwargs or {}))

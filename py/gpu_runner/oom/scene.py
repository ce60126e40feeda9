"""What was known when memory ran out: the place in the step, the batch, and what held memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from unfrozen.units import format_bytes

Sizes = Mapping[str, int]
"""Bytes by component, in the names of `unfrozen.events`."""

DOING: Final = {
    "forward": "in the forward pass",
    "backward": "in the backward pass",
    "optimizer_step": "in the optimizer step",
    "evaluating": "while it was evaluated",
    "saving": "while a checkpoint was written",
    "writing_samples": "while it wrote samples",
    "estimating_fisher": "while the Fisher information was estimated",
    "between": "between two steps",
}
"""What a run can be doing, in words."""
_USUAL: Final = {  # where the phase of a step has its peak, if nobody looked closer
    "forward": "end_of_forward",
    "backward": "end_of_forward",
    "optimizer_step": "optimizer_step",
}


@dataclass(frozen=True, slots=True)
class BatchSize:
    """A micro-batch: `rows` × `length` tokens, padding included, with loss at `loss_tokens`."""

    rows: int
    length: int
    loss_tokens: int

    def __str__(self) -> str:
        return f"{self.rows:,} × {self.length:,} tokens, loss at {self.loss_tokens:,} of them"


@dataclass(frozen=True, slots=True)
class Held:
    """The bound that was met and what counted against it, in bytes; 0 is unknown.

    `allocated`, `reserved` and the largest free block within it are those of a card's allocator.
    """

    name: str = ""
    total_bytes: int = 0
    free_bytes: int = 0
    allocated_bytes: int = 0
    reserved_bytes: int = 0
    largest_free_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Other:
    """Another process on the same card; 0 bytes are not told."""

    pid: int
    name: str = ""
    size_bytes: int = 0

    def __str__(self) -> str:
        name = f" ({self.name})" if self.name else ""
        size = f" {format_bytes(self.size_bytes)}" if self.size_bytes else ""
        return f"process {self.pid}{name}{size}"


@dataclass(frozen=True, slots=True)
class Proposal:
    """Options as they are typed, the peak predicted with them, and time a token over that now."""

    options: str
    peak_bytes: int
    time_ratio: float = 1.0
    fits: bool = True
    note: str = ""

    def __str__(self) -> str:
        slower = f"{self.time_ratio - 1:.0%} more time" if self.time_ratio > 1.005 else ""
        told = (f"predicted peak {format_bytes(self.peak_bytes)}", slower, self.note)
        return ", ".join(part for part in told if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Where a run was and what it held.

    doing          a key of DOING
    step           the step that was under way, from 1; of other work the last one that was done
    micro_batch    which one of how many, from 1; 0 outside a step
    predicted      instant → components, for this micro-batch where it was computed for it
    measured       instant → components, so far
    now            the instant that was being measured; "" where nobody looked
    growing        the component of the block that was refused; "" if unknown
    lumped         whether what is neither weight, gradient nor moment was measured as one sum
    budget_bytes   what tensors could have taken in all
    """

    doing: str = "between"
    step: int = 0
    micro_batch: int = 0
    micro_batches: int = 0
    batch: BatchSize | None = None
    predicted: Mapping[str, Sizes] = field(default_factory=dict)
    measured: Mapping[str, Sizes] = field(default_factory=dict)
    now: str = ""
    growing: str = ""
    lumped: bool = False
    held: Held = Held()
    others: tuple[Other, ...] = ()
    budget_bytes: int = 0
    settings: tuple[Proposal, ...] = ()

    @property
    def instant(self) -> str:
        """The instant whose prediction is to be looked at; "" outside a step."""
        return self.now or _USUAL.get(self.doing, "")

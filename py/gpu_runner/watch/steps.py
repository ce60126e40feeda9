"""Optimizer steps assembled from what the hooks report: loss, tokens, norm, rate, time, shapes.

A step is everything from a forward pass to the update after it, with any number of micro-batches;
it is over when the next one begins, or when a callback or the end of the run says so. A forward
pass that no backward pass follows was an evaluation with gradients enabled: it is left out.

The loss of a step is the mean over its trained tokens, as in the runner:

    the model returns a mean                  weighted by the trained tokens of each micro-batch
    it is given num_items_in_batch (Trainer)  the sum of the shares that it returns
    it returns none                           the sum of what `backward` was called on
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor

from gpu_runner.data.feed import IGNORED
from gpu_runner.memory.loop import find_loss
from gpu_runner.train.step_position import BETWEEN
from gpu_runner.watch.hooks import Inputs

ITEMS: Final = "num_items_in_batch"


@dataclass(slots=True)
class MicroBatch:
    """One forward pass: `sequences` of `length` tokens, `padding` of them padding.

    `trained` is the number of predictions in the loss. Counts on a GPU stay there until the step is
    logged.
    """

    sequences: int
    length: int
    trained: Tensor | int
    padding: Tensor | int = 0
    loss: Tensor | None = None
    is_share: bool = False
    """Whether the loss is a share of the step's mean rather than the micro-batch's mean."""
    trains: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """(sequences, tokens per sequence)."""
        return self.sequences, self.length


@dataclass(slots=True)
class WatchedStep:
    """A finished step; numbers may still be on the GPU. `norm` is the norm before clipping."""

    number: int
    parts: list[MicroBatch]
    norm: Tensor | None
    lr: float
    seconds: float
    accuracy: Tensor | None = None
    """The token accuracy of one micro-batch."""

    @property
    def trained(self) -> int:
        """Trained tokens of all micro-batches."""
        return sum(int(part.trained) for part in self.parts)

    @property
    def padding(self) -> tuple[int, int]:
        """(padding, all) tokens of all micro-batches."""
        return (
            sum(int(part.padding) for part in self.parts),
            sum(part.sequences * part.length for part in self.parts),
        )

    @property
    def loss(self) -> float | None:
        """Nats per trained token; None where no loss was observed."""
        known = [(part, float(part.loss)) for part in self.parts if part.loss is not None]
        if not known:
            return None
        if all(part.is_share for part, _ in known):
            return sum(loss for _, loss in known)
        counts = [int(part.trained) for part, _ in known]
        total = sum(counts)
        if not total:
            return sum(loss for _, loss in known) / len(known)
        return sum(loss * count for (_, loss), count in zip(known, counts, strict=True)) / total

    @property
    def grad_norm(self) -> float | None:
        """L2 norm of all gradients; None where it was not observed."""
        return None if self.norm is None else float(self.norm)


@dataclass(slots=True)
class StepCollector:
    """Collects one step. `number` is that of the last finished one."""

    number: int = 0
    parts: list[MicroBatch] = field(default_factory=list)
    doing: str = BETWEEN
    """What the loop does now, a key of `gpu_runner.memory.out_of_memory.ACTIVITIES`."""
    updated: bool = False
    """Whether an optimizer has stepped since the step began."""
    norm: Tensor | None = None
    lr: float = 0.0
    accuracy: Tensor | None = None
    _since: float | None = None

    def begin_forward(self, inputs: Inputs) -> MicroBatch:
        """Add the micro-batch of a forward pass that begins with these inputs."""
        if self._since is None:
            self._since = time.perf_counter()
        self.parts = [part for part in self.parts if part.trains]
        part = describe_batch(inputs)
        self.parts.append(part)
        self.doing = "forward"
        return part

    def end_forward(self, inputs: Inputs, output: Any) -> None:
        """Take the loss from what the model returned."""
        if not self.parts:
            return
        part = self.parts[-1]
        loss = find_loss(output)
        part.loss = None if loss is None else loss.detach().reshape(())
        part.is_share = loss is not None and inputs.get(ITEMS) is not None

    def begin_backward(self) -> None:
        """Mark the newest forward pass as one that trains."""
        self.doing = "backward"
        if self.parts:
            self.parts[-1].trains = True

    def leave_out(self) -> None:
        """Drop the newest micro-batch: an error left its forward or backward pass."""
        if self.parts:
            self.parts[-1].trains = False

    def start_from(self, losses: list[Tensor]) -> None:
        """Take the loss from these roots of the backward pass, if the model returned none."""
        self.doing = "backward"
        if self.parts and self.parts[-1].loss is None and losses:
            self.parts[-1].loss = losses[0]
            self.parts[-1].is_share = True

    def finish(self) -> WatchedStep | None:
        """Return the finished step, if there is one; the next one begins now."""
        if not self.updated:
            return None
        now = time.perf_counter()
        seconds = max(1e-9, now - (self._since or now))
        self.number += 1
        parts = [part for part in self.parts if part.trains]
        done = WatchedStep(self.number, parts, self.norm, self.lr, seconds, self.accuracy)
        self.parts, self.norm, self.accuracy, self.updated, self._since = [], None, None, False, now
        self.doing = BETWEEN
        return done

    def restart_clock(self) -> None:
        """Start timing the next step now: the time since the last one was ours."""
        if self._since is not None:
            self._since = time.perf_counter()


def describe_batch(inputs: Inputs) -> MicroBatch:
    """Return the sizes and counts of a model's inputs; labels of −100 are not trained."""
    ids = inputs.get("input_ids")
    if not isinstance(ids, Tensor):
        ids = inputs.get("inputs_embeds")
    if not isinstance(ids, Tensor):
        ids = next((one for one in inputs.values() if isinstance(one, Tensor)), None)
    if ids is None:
        return MicroBatch(1, 1, 0)
    sequences, length = (1, len(ids)) if ids.ndim == 1 else (ids.shape[0], ids.shape[1])
    mask = inputs.get("attention_mask")
    with torch.no_grad():
        padding: Tensor | int = 0
        if isinstance(mask, Tensor) and mask.ndim == 2:
            padding = (mask == 0).sum()
        return MicroBatch(
            sequences,
            length,
            _count_trained(inputs, sequences * (length - 1) - padding),
            padding,
        )


def _count_trained(inputs: Inputs, otherwise: Tensor | int) -> Tensor | int:
    """Return the predictions in the loss: labels not ignored, without the first of a sequence."""
    shifted, labels = inputs.get("shift_labels"), inputs.get("labels")
    if isinstance(shifted, Tensor):
        return (shifted != IGNORED).sum()
    if isinstance(labels, Tensor) and labels.ndim == 2:
        return (labels[:, 1:] != IGNORED).sum()
    return otherwise

"""From what the hooks hear to finished optimizer steps: loss, tokens, norm, rate, time, shapes.

A step is everything from a forward pass to the update after it, however many micro-batches that
are; it is over when the next one begins, or when somebody says so (a callback, the end). A forward
pass that no backward pass follows was an evaluation that kept its gradients: it is left out.

The loss of a step is the mean over its trained tokens, as in the runner:

    the model returns a mean                  weighted by the trained tokens of each micro-batch
    it was told num_items_in_batch (Trainer)  the sum of the shares that it returns
    it returns none                           the sum of what gradients were asked of, as it is
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor

from gpu_runner.data.feed import IGNORED
from gpu_runner.train.step_position import BETWEEN
from gpu_runner.watch.taps import Inputs

ITEMS: Final = "num_items_in_batch"


@dataclass(slots=True)
class MicroBatch:
    """One forward pass: `rows` of `length` tokens, `padding` of them none, `trained` predicted.

    Counts that lie on the device stay there until the step is told.
    """

    rows: int
    length: int
    trained: Tensor | int
    padding: Tensor | int = 0
    loss: Tensor | None = None
    is_share: bool = False
    """Whether the loss is a share of the step's mean, not the mean of this micro-batch."""
    went_back: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, tokens a row)."""
        return self.rows, self.length


@dataclass(slots=True)
class WatchedStep:
    """A finished step; numbers may still lie on the device. `norm` is that before clipping."""

    number: int
    parts: list[MicroBatch]
    norm: Tensor | None
    lr: float
    seconds: float
    right: Tensor | None = None
    """The share of a micro-batch's trained tokens that the model held likeliest."""

    @property
    def trained(self) -> int:
        """Trained tokens of all micro-batches."""
        return sum(int(part.trained) for part in self.parts)

    @property
    def padding(self) -> tuple[int, int]:
        """(padding, all) tokens of all micro-batches."""
        return (
            sum(int(part.padding) for part in self.parts),
            sum(part.rows * part.length for part in self.parts),
        )

    @property
    def loss(self) -> float | None:
        """Nats a trained token; None where no loss was seen."""
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
        """L2 norm of all gradients; None where it was not looked at."""
        return None if self.norm is None else float(self.norm)


@dataclass(slots=True)
class StepCollector:
    """Gathers what belongs to one step. `number` is that of the last finished one."""

    number: int = 0
    parts: list[MicroBatch] = field(default_factory=list)
    doing: str = BETWEEN
    """What the loop does now, in the words of `gpu_runner.oom.scene`."""
    updated: bool = False
    """Whether an optimizer has stepped since the step began."""
    norm: Tensor | None = None
    lr: float = 0.0
    right: Tensor | None = None
    _since: float | None = None

    def begin(self, inputs: Inputs) -> MicroBatch:
        """A forward pass begins with these inputs."""
        if self._since is None:
            self._since = time.perf_counter()
        self.parts = [part for part in self.parts if part.went_back]
        part = micro_batch(inputs)
        self.parts.append(part)
        self.doing = "forward"
        return part

    def output(self, inputs: Inputs, output: Any) -> None:
        """… and has given this."""
        if not self.parts:
            return
        part = self.parts[-1]
        part.loss = loss_in(output)
        part.is_share = part.loss is not None and inputs.get(ITEMS) is not None

    def went_back(self) -> None:
        """The newest forward pass is one that trains."""
        self.doing = "backward"
        if self.parts:
            self.parts[-1].went_back = True

    def leave_out(self) -> None:
        """The newest forward pass, or the backward pass after it, was left by an error."""
        if self.parts:
            self.parts[-1].went_back = False

    def went_back_from(self, losses: list[Tensor]) -> None:
        """Gradients of these were asked for."""
        self.doing = "backward"
        if self.parts and self.parts[-1].loss is None and losses:
            self.parts[-1].loss = losses[0]
            self.parts[-1].is_share = True

    def finish(self) -> WatchedStep | None:
        """The step that has come to its end, if one has; the next one begins now."""
        if not self.updated:
            return None
        now = time.perf_counter()
        seconds = max(1e-9, now - (self._since or now))
        self.number += 1
        parts = [part for part in self.parts if part.went_back]
        done = WatchedStep(self.number, parts, self.norm, self.lr, seconds, self.right)
        self.parts, self.norm, self.right, self.updated, self._since = [], None, None, False, now
        self.doing = BETWEEN
        return done

    def restart_clock(self) -> None:
        """What happened since the last step was ours."""
        if self._since is not None:
            self._since = time.perf_counter()


def micro_batch(inputs: Inputs) -> MicroBatch:
    """Sizes and counts of what a model is called with; labels of −100 train nothing."""
    ids = inputs.get("input_ids")
    if not isinstance(ids, Tensor):
        ids = inputs.get("inputs_embeds")
    if not isinstance(ids, Tensor):
        ids = next((one for one in inputs.values() if isinstance(one, Tensor)), None)
    if ids is None:
        return MicroBatch(1, 1, 0)
    rows, length = (1, len(ids)) if ids.ndim == 1 else (ids.shape[0], ids.shape[1])
    mask = inputs.get("attention_mask")
    with torch.no_grad():
        padding: Tensor | int = 0
        if isinstance(mask, Tensor) and mask.ndim == 2:
            padding = (mask == 0).sum()
        return MicroBatch(rows, length, _trained(inputs, rows * (length - 1) - padding), padding)


def _trained(inputs: Inputs, otherwise: Tensor | int) -> Tensor | int:
    """Predictions that enter the loss: labels that are not ignored, the first of a row apart."""
    shifted, labels = inputs.get("shift_labels"), inputs.get("labels")
    if isinstance(shifted, Tensor):
        return (shifted != IGNORED).sum()
    if isinstance(labels, Tensor) and labels.ndim == 2:
        return (labels[:, 1:] != IGNORED).sum()
    return otherwise


def right_share(inputs: Inputs, output: Any) -> Tensor | None:
    """The share of trained tokens that the model held likeliest; None where there are no logits."""
    logits = getattr(output, "logits", None)
    labels = inputs.get("labels")
    if not isinstance(logits, Tensor) or not isinstance(labels, Tensor):
        return None
    if logits.ndim != 3 or logits.shape[:2] != labels.shape:
        return None
    with torch.no_grad():
        following = labels[:, 1:]
        chosen = following != IGNORED
        right = (logits.detach()[:, :-1].argmax(dim=-1) == following) & chosen
        return right.sum() / chosen.sum()


def loss_in(output: Any) -> Tensor | None:
    """The loss that a model returned, detached; None where it returned none."""
    found = output
    if isinstance(output, Mapping):
        found = output.get("loss")
    elif not isinstance(output, Tensor):
        found = getattr(output, "loss", None)
        if found is None and isinstance(output, tuple) and output:
            found = output[0]
    if isinstance(found, Tensor) and found.numel() == 1 and found.is_floating_point():
        return found.detach().reshape(())
    return None

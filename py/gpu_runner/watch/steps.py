"""Optimizer steps assembled from what the hooks report: loss, tokens, norm, rate, time, shapes.

A step is everything from a forward pass to the update after it, with any number of micro-batches;
it is over when the next one begins, or when a callback or the end of the run says so. A forward
pass that no backward pass goes through was an evaluation with gradients enabled: it is left out.

The loss of a step is the one that `backward` was called on (`autograd_graph`):

    the mean that the model returns           weighted by the trained tokens of each micro-batch
    with num_items_in_batch (Trainer)         the sum of the shares that the model returns
    anything else                             the sum of what `backward` was called on
"""

from __future__ import annotations

import time
import weakref
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from gpu_runner.data.feed import IGNORED
from gpu_runner.memory.loop import batch_shape, find_loss
from gpu_runner.train.step_position import BETWEEN
from gpu_runner.watch.autograd_graph import ForwardPass, follow
from gpu_runner.watch.hooks import Inputs, tensors_of

ITEMS: Final = "num_items_in_batch"


@dataclass(slots=True)
class MicroBatch:
    """One forward pass: `sequences` of `length` tokens, `padding` of them padding.

    `trained` is the number of predictions in the loss, or of examples where those are no text.
    Counts on a GPU stay there until the step is logged.
    """

    sequences: int
    length: int
    trained: Tensor | int
    padding: Tensor | int = 0
    loss: Tensor | None = None
    is_share: bool = False
    """Whether the loss is a share of the step's loss rather than the micro-batch's mean."""
    trains: bool = False
    """Whether a backward pass went through it."""
    graph: ForwardPass = field(default_factory=ForwardPass.begin)
    own: Tensor | None = None
    """The loss that the model returned."""
    is_own: bool = False
    """Whether that is the loss that trains."""
    in_training: bool = True
    has_tokens: bool = True
    output: weakref.ref[Tensor] | None = None
    """The largest tensor that the model returned."""

    @property
    def shape(self) -> tuple[int, int]:
        """(sequences, tokens per sequence)."""
        return self.sequences, self.length

    @property
    def is_alive(self) -> bool:
        """Whether its output is, so that a backward pass may still go through it."""
        return self.output is not None and self.output() is not None

    def add_root(self, value: Tensor, *, is_own: bool, is_share: bool) -> None:
        """Take in that `backward` was called on a tensor of this value."""
        if is_own and self.loss is None:
            self.loss, self.is_share, self.is_own = self.own, is_share, True
        elif value.numel() == 1:
            value = value.reshape(())
            self.loss = value if self.loss is None else self.loss + value
            self.is_share, self.is_own = True, False


@dataclass(slots=True)
class WatchedStep:
    """A finished step; numbers may still be on the GPU. `norm` is the norm before clipping."""

    number: int
    parts: list[MicroBatch]
    backwards: int
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
    def has_tokens(self) -> bool:
        """Whether it trains on tokens; else on examples of another kind."""
        return any(part.has_tokens for part in self.parts)

    @property
    def has_own_loss(self) -> bool:
        """Whether the loss is the one that the model returned."""
        return any(part.is_own for part in self.parts)

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
        if any(part.is_share for part, _ in known):
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
    shifted: bool = True
    """Whether each token predicts the next one."""
    several: bool = False
    """Whether several models train together."""
    is_called: bool = False
    """Whether the loop has called the model, with gradients."""
    parts: list[MicroBatch] = field(default_factory=list)
    doing: str = BETWEEN
    """What the loop does now, a key of `gpu_runner.memory.out_of_memory.ACTIVITIES`."""
    updated: bool = False
    """Whether an optimizer has stepped since the step began."""
    norm: Tensor | None = None
    lr: float = 0.0
    accuracy: Tensor | None = None
    backwards: int = 0
    """Backward passes through the model since the step began."""
    versions: int = 0
    """A number that changed if the weights did, taken when the newest backward pass began."""
    losses: list[Tensor] = field(default_factory=list)
    """What `backward` was called on since an optimizer stepped."""
    updated_models: set[str] = field(default_factory=set)
    """Of several models those that were updated since the step began."""
    _passes: int = 1
    """Forward passes before the first backward pass of the step before."""
    _items: bool = False
    """Whether the model was given the number of items over which the Trainer takes its mean."""
    _since: float | None = None

    def begin_forward(self, inputs: Inputs, *, in_training: bool = True) -> MicroBatch:
        """Add the micro-batch of a forward pass that begins with these inputs."""
        if self._since is None:
            self._since = time.perf_counter()
        self.is_called = True
        waiting = len(self.parts) < self._passes
        self.parts = [
            part
            for part in self.parts
            if part.trains or waiting or (part.is_alive and part.in_training == in_training)
        ]
        part = describe_batch(inputs, shifted=self.shifted)
        part.in_training = in_training
        self._items = inputs.get(ITEMS) is not None
        self.parts.append(part)
        self.doing = "forward"
        return part

    def end_forward(self, output: Any) -> None:
        """Take in what the model returned."""
        if not self.parts:
            return
        part = self.parts[-1]
        loss = find_loss(output)
        part.own = None if loss is None else loss.detach().reshape(())
        part.graph.end(loss)
        largest = max(tensors_of(output), key=Tensor.numel, default=None)
        part.output = None if largest is None else weakref.ref(largest)

    def begin_backward(
        self, roots: list[Tensor], values: list[Tensor], *, has_gradients: bool
    ) -> bool:
        """Mark the forward passes that these roots go through; return whether there are any.

        Without gradients, those of an earlier backward pass were thrown away: that was not a part
        of the step (of a GAN's discriminator, the pass that trains the generator).
        """
        graphs = [part.graph for part in self.parts]
        found = [follow(root, graphs, through=self.several) for root in roots]
        reached = {index for one in found for index in one.passes}
        if not reached:
            return False
        self.doing = "backward"
        if not (has_gradients or self.updated):
            for part in self.parts:
                part.trains, part.loss = False, None
            self.backwards = 0
        if not self.backwards:
            self._passes = len(reached)
        self.backwards += 1
        for index in reached:
            self.parts[index].trains = True
        for one, value in zip(found, values, strict=True):
            if one.passes:
                part = self.parts[one.passes[-1]]
                part.add_root(value, is_own=one.is_own, is_share=self._items)
        return True

    def add_unseen(self, value: Tensor) -> None:
        """Add a micro-batch of a model that is not called: only its loss is known."""
        if self._since is None:
            self._since = time.perf_counter()
        part = MicroBatch(0, 0, 0, has_tokens=False, trains=True)
        part.add_root(value, is_own=False, is_share=True)
        self.parts.append(part)
        self.backwards += 1
        self.doing = "backward"

    def leave_out(self) -> None:
        """Drop the newest micro-batch: an error left its forward or backward pass."""
        if self.parts:
            self.parts[-1].trains = False

    def finish(self) -> WatchedStep | None:
        """Return the finished step, if there is one; the next one begins now."""
        if not self.updated:
            return None
        now = time.perf_counter()
        seconds = max(1e-9, now - (self._since or now))
        self.number += 1
        parts = [part for part in self.parts if part.trains]
        done = WatchedStep(
            self.number, parts, self.backwards, self.norm, self.lr, seconds, self.accuracy
        )
        self.parts, self.norm, self.accuracy, self.updated, self._since = [], None, None, False, now
        self.backwards = 0
        self.doing = BETWEEN
        return done

    def restart_clock(self) -> None:
        """Start timing the next step now: the time since the last one was ours."""
        if self._since is not None:
            self._since = time.perf_counter()


def describe_batch(inputs: Inputs, *, shifted: bool = True) -> MicroBatch:
    """Return the sizes and counts of a model's inputs; labels of −100 are not trained.

    `shifted` is whether each token predicts the next one; not in a decoder beside an encoder.
    """
    tensors = [(name, one) for name, one in inputs.items() if isinstance(one, Tensor)]
    if not tensors:
        leaves = [one for one in tree_leaves(dict(inputs)) if isinstance(one, Tensor)]
        tensors = [("", one) for one in leaves[:1]]
    sequences, length = batch_shape((name, tuple(one.shape), one.dtype) for name, one in tensors)
    labels = inputs.get("labels")
    is_labelled = isinstance(labels, Tensor)
    has_tokens = labels.ndim == 2 if is_labelled else length > 1  # type: ignore[union-attr]
    mask = inputs.get("attention_mask")
    with torch.no_grad():
        padding: Tensor | int = 0
        if isinstance(mask, Tensor) and mask.shape == (sequences, length):
            padding = (mask == 0).sum()
        otherwise = sequences * (length - shifted) - padding if has_tokens else sequences
        trained = _count_trained(inputs, otherwise, shifted=shifted)
        return MicroBatch(sequences, length, trained, padding, has_tokens=has_tokens)


def _count_trained(inputs: Inputs, otherwise: Tensor | int, *, shifted: bool) -> Tensor | int:
    """Return the predictions in the loss: labels not ignored, without the first of a sequence."""
    labels = inputs.get("shift_labels")
    if isinstance(labels, Tensor):
        return (labels != IGNORED).sum()
    labels = inputs.get("labels")
    if isinstance(labels, Tensor) and labels.ndim == 2 and not labels.is_floating_point():
        return (labels[:, int(shifted) :] != IGNORED).sum()
    return otherwise

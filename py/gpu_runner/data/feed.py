"""Examples to micro-batches, packed or padded; their order is a pure function of (seed, epoch).

The position of a run in its data is one integer, the number of examples it has taken; nothing else
has to be saved to resume exactly. Packing changes what a step costs, never what it computes: a step
takes the same examples, and attention keeps the documents of a sequence apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import islice
from typing import Final, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gpu_runner.data.examples import Example, as_store
from unfrozen.training_data import step_rows

IGNORED: Final = -100  # label of a position that does not enter the loss


class Targets(NamedTuple):
    """The predictions of a batch that enter the loss.

    `positions` (N,), ascending: which of the B·T positions, row by row. `targets` (N,): the labels.
    """

    positions: Tensor
    targets: Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """One micro-batch: sequences padded on the right to the longest, or documents packed into one.

    `input_ids` and `labels` (IGNORED where nothing is trained) are (B, T) int64; `trainable_tokens`
    counts the labels. There is no attention mask: in a causal model no token sees later ones, so
    padding on the right changes nothing before it, and attention without a mask is faster and saves
    less for backward. Packed, B is 1, document i is `bounds[i]` to `bounds[i + 1]` (D + 1,) int32,
    and the longest has `longest` tokens.

    The targets are found on the CPU, where the batch is made: on a GPU, their number would
    be a synchronization. `lengths` are the tokens of each sequence or document without padding.
    """

    input_ids: Tensor
    labels: Tensor
    trainable_tokens: int
    bounds: Tensor | None = None
    longest: int = 0
    chosen: Targets | None = None
    seen_bounds: Tensor | None = None
    """`bounds` on the CPU: reading them from a GPU would synchronize."""
    lengths: tuple[int, ...] = ()

    @property
    def tokens(self) -> int:
        """B·T, padding included: the tokens that the model computes."""
        return self.input_ids.numel()

    @property
    def position_ids(self) -> Tensor:
        """(1, T): the position of each token in its document; for a packed batch only."""
        assert self.bounds is not None
        lengths = self.bounds.diff()
        starts = self.bounds[:-1].repeat_interleave(lengths, output_size=self.tokens)
        return (torch.arange(self.tokens, device=starts.device) - starts)[None]

    def non_padding(self) -> Tensor | None:
        """Return (B·T,) bool: whether each token is not padding; None where nothing is padded."""
        if sum(self.lengths) == self.tokens:
            return None
        rows, length = self.input_ids.shape
        ends = (sum(self.lengths),) if self.bounds is not None else self.lengths
        assert len(ends) == rows
        positions = torch.arange(length, device=self.input_ids.device)
        return torch.cat([positions < end for end in ends])

    def find_targets(self) -> Targets:
        """Return the predictions of this batch that enter the loss, and their labels."""
        if self.chosen is not None:
            return self.chosen
        following = F.pad(self.labels[:, 1:], (0, 1), value=IGNORED).flatten()  # (B·T,)
        positions = torch.nonzero(following != IGNORED).flatten()
        return Targets(positions, following[positions])

    def to(self, device: torch.device) -> Batch:
        """Return the same batch on `device`; a copy to a GPU does not synchronize."""

        def send(tensor: Tensor | None) -> Tensor | None:
            if tensor is None or tensor.device == device:
                return tensor
            on_gpu = device.type == "cuda"
            source = tensor.pin_memory() if on_gpu and tensor.device.type == "cpu" else tensor
            return source.to(device, non_blocking=on_gpu)

        chosen = Targets(*map(send, self.find_targets()))  # type: ignore[arg-type]
        ids, labels, bounds = map(send, (self.input_ids, self.labels, self.bounds))
        assert ids is not None
        assert labels is not None
        seen = self.bounds if self.seen_bounds is None else self.seen_bounds
        return replace(
            self,
            input_ids=ids,
            labels=labels,
            bounds=bounds,
            chosen=chosen,
            seen_bounds=seen,
        )


class BatchShape(NamedTuple):
    """The size of a micro-batch: `rows` × `length` tokens, logits at `loss_tokens` of them.

    Its step has `parts` micro-batches; with more than one, gradients accumulate.
    """

    rows: int
    length: int
    loss_tokens: int
    parts: int = 1


def collate(examples: Sequence[Example], pad_id: int, length: int = 0) -> Batch:
    """Return examples padded on the right with `pad_id`, at least to `length` tokens each."""
    longest = max(length, *(len(example.ids) for example in examples))
    ids = torch.full((len(examples), longest), pad_id)  # (B, T)
    labels = torch.full((len(examples), longest), IGNORED)  # (B, T)
    for row, example in enumerate(examples):
        length = len(example.ids)
        ids[row, :length] = torch.tensor(example.ids)
        trained = torch.tensor(example.trained)
        labels[row, :length][trained] = ids[row, :length][trained]
    count = sum(example.trainable_tokens for example in examples)
    return Batch(ids, labels, count, lengths=tuple(len(example.ids) for example in examples))


def pack(
    examples: Sequence[Example], pad_id: int, length: int = 0, documents: int = 0, longest: int = 0
) -> Batch:
    """Return examples packed into one sequence; the first token of a document is never predicted.

    With a `length`, padding fills the sequence up to it, as documents that train nothing. With a
    number of `documents`, empty ones follow up to it; `longest` is then that of all batches: a
    compiled model is compiled again for another number.
    """
    real = tuple(len(example.ids) for example in examples)
    lengths = list(real)
    longest = max(longest, *lengths)
    ids = [token for example in examples for token in example.ids]
    trained = [flag for example in examples for flag in example.trained]
    while (missing := length - len(ids)) > 0:
        lengths.append(min(missing, longest))
        ids += [pad_id] * lengths[-1]
        trained += [False] * lengths[-1]
    row = torch.tensor([ids])  # (1, T)
    labels = row.masked_fill(~torch.tensor([trained]), IGNORED)
    lengths += [0] * (documents - len(lengths))
    bounds = torch.tensor([0, *lengths]).cumsum(0).int()
    count = sum(example.trainable_tokens for example in examples)
    return Batch(row, labels, count, bounds, longest, lengths=real)


def bins(lengths: Sequence[int], capacity: int, multiple: int = 1) -> list[list[int]]:
    """Return the indices of `lengths` in bins of at most `capacity` each: few bins, of like weight.

    There are as many bins as first-fit decreasing needs (at most 11/9 of the fewest possible),
    rounded up to a `multiple` so that every rank gets as many. Each length, the longest first, then
    goes into the lightest bin, which keeps the heaviest one light. Within a bin the order is the
    given one. No length may exceed `capacity`; there must be at least `multiple` of them.
    """
    longest_first = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    first_fit = _first_fit(lengths, longest_first, capacity)
    count = min(len(lengths) // multiple * multiple, -(-len(first_fit) // multiple) * multiple)
    balanced: list[list[int]] = [[] for _ in range(count)]
    weights = [0] * count
    for index in longest_first:
        lightest = weights.index(min(weights))
        balanced[lightest].append(index)
        weights[lightest] += lengths[index]
    if max(weights) > capacity and count == len(first_fit):
        balanced = first_fit
    return sorted(sorted(one) for one in balanced)


def _first_fit(lengths: Sequence[int], order: Sequence[int], capacity: int) -> list[list[int]]:
    filled: list[list[int]] = []
    room: list[int] = []
    for index in order:
        place = next((i for i, left in enumerate(room) if left >= lengths[index]), len(room))
        if place == len(room):
            filled.append([])
            room.append(capacity)
        filled[place].append(index)
        room[place] -= lengths[index]
    return filled


@dataclass(frozen=True)
class Feed:
    """The training examples as micro-batches, by step number (1, 2, …).

    Packed, the examples of a step share as few micro-batches as possible, each one sequence of at
    most `capacity` tokens; else `micro_batch` examples are padded to one length, `grad_accum`
    times. The examples of a step are the same either way.
    """

    examples: Sequence[Example]
    seed: int
    micro_batch: int
    grad_accum: int
    pad_id: int
    rank: int = 0
    ranks: int = 1
    """Of the micro-batches of a step, this process takes index `rank`, `rank` + `ranks`, …"""
    packed: bool = False
    fixed: bool = False
    """Sequences are padded to one length, packed ones to `capacity`, others to that of the longest
    example of all, so that a compiled model has one shape.
    """

    @property
    def sequences_per_step(self) -> int:
        """The number of examples in one optimizer step."""
        return self.micro_batch * self.grad_accum

    @cached_property
    def capacity(self) -> int:
        """The tokens of a full micro-batch: `micro_batch` times the longest example."""
        return self.micro_batch * self._longest

    @cached_property
    def _longest(self) -> int:
        return max(as_store(self.examples).lengths)

    def step(self, number: int) -> Iterator[Batch]:
        """Yield this process's micro-batches of step `number` (1-based), each (B, T)."""
        rows = self._sequences(number)
        for places in islice(self._micro_batches(rows), self.rank, None, self.ranks):
            yield self._batch([rows[place] for place in places])

    def _batch(self, chosen: Sequence[Example]) -> Batch:
        if self.packed and self.fixed:
            documents = self.sequences_per_step + self.micro_batch  # examples, and padding
            return pack(chosen, self.pad_id, self.capacity, documents, self._longest)
        if self.packed:
            return pack(chosen, self.pad_id)
        return collate(chosen, self.pad_id, self._longest if self.fixed else 0)

    def trainable_tokens(self, number: int) -> int:
        """Return the trainable tokens of all micro-batches of a step, before any is computed."""
        return sum(example.trainable_tokens for example in self._sequences(number))

    def tokens(self, number: int) -> int:
        """Return all tokens of a step's examples, without padding."""
        return sum(len(example.ids) for example in self._sequences(number))

    def shapes(self, number: int) -> Iterator[BatchShape]:
        """Yield the shapes of a step's micro-batches, without making them."""
        step = self._sequences(number)
        chosen = self._micro_batches(step)
        for places in chosen:
            examples = [step[place] for place in places]
            sizes = [len(example.ids) for example in examples]
            trained = sum(example.trainable_tokens for example in examples)
            rows, length = (1, sum(sizes)) if self.packed else (len(examples), max(sizes))
            if self.fixed:
                length = self.capacity // rows
            yield BatchShape(rows, length, trained, len(chosen) // self.ranks)

    def _micro_batches(self, rows: Sequence[Example]) -> list[list[int]]:
        """Return the indices of a step's examples in each micro-batch, over all ranks."""
        if self.packed:
            return bins([len(row.ids) for row in rows], self.capacity, self.ranks)
        every = list(range(len(rows)))
        return [every[i : i + self.micro_batch] for i in range(0, len(rows), self.micro_batch)]

    @cached_property
    def _sequences(self) -> Callable[[int], list[Example]]:
        """Returns the examples of a step, in order; those of the latest step are cached."""
        return lru_cache(maxsize=1)(self._read)

    def _read(self, number: int) -> list[Example]:
        taken = step_rows(number, self.sequences_per_step, len(self.examples), self.seed)
        return [self.examples[index] for index in taken]

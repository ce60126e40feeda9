"""Encoded examples: the tokens of each, which of them are trained, and stores of many examples."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Example:
    """An encoded example: `ids` (T,) and `trained` (T,), truncated on the right to `--seq-len`.

    The first token has nothing before it to be predicted from, so it is never trained.
    """

    ids: tuple[int, ...]
    trained: tuple[bool, ...]
    cut_tokens: int = 0
    """The number of tokens that truncation dropped."""

    @property
    def trainable_tokens(self) -> int:
        """The number of tokens that enter the loss."""
        return sum(self.trained)

    @property
    def trained_positions(self) -> list[int]:
        """The positions of those tokens, in ascending order."""
        return [position for position, trained in enumerate(self.trained) if trained]


def digest(ids: Sequence[int]) -> int:
    """Return eight bytes of a hash of an example's tokens, as a number."""
    return int.from_bytes(digest_bytes(np.array(ids, np.uint32).tobytes()), "little")


def digest_bytes(ids: bytes) -> bytes:
    """Return the same hash of tokens that are given as uint32, as bytes."""
    return hashlib.blake2b(ids, digest_size=8).digest()


class ExampleStore(Sequence[Example]):
    """Encoded examples in memory or on disk, with a few numbers of each that are ready to use."""

    @property
    @abstractmethod
    def lengths(self) -> list[int]:
        """The number of tokens of each example."""

    @property
    @abstractmethod
    def trainable_tokens(self) -> int:
        """The number of tokens in all examples that enter the loss."""

    @property
    @abstractmethod
    def digests(self) -> Any:
        """(N,) uint64: a hash of the tokens of each example."""

    @property
    @abstractmethod
    def last_tokens(self) -> Any:
        """(N,) int64: the last trained token of each example; −1 where the example is truncated."""

    def count_in(self, others: ExampleStore) -> int:
        """Return how many of these examples are also in `others`, token for token."""
        return int(np.isin(self.digests, others.digests).sum())

    def duplicates(self) -> list[int]:
        """Return the indices of examples that have occurred before, in ascending order."""
        first = np.unique(self.digests, return_index=True)[1]
        again = np.ones(len(self), np.bool_)
        again[first] = False
        found: list[int] = np.flatnonzero(again).tolist()
        return found

    def by_last_token(self) -> list[tuple[int, Sequence[int]]]:
        """Return (token, indices of the examples that end in it), in order of first occurrence.

        Truncated examples are left out.
        """
        last = self.last_tokens
        order = np.argsort(last, kind="stable")
        order = order[last[order] >= 0]
        tokens, starts = np.unique(last[order], return_index=True)
        groups = np.split(order, starts[1:]) if len(order) else []
        found: list[tuple[int, Any]] = list(zip(tokens.tolist(), groups, strict=True))
        return sorted(found, key=lambda group: int(group[1][0]))


class InMemoryExamples(tuple[Example, ...], ExampleStore):
    """Examples that are all in memory."""

    @cached_property
    def lengths(self) -> list[int]:
        """The number of tokens of each example."""
        return [len(example.ids) for example in self]

    @cached_property
    def trainable_tokens(self) -> int:
        """The number of tokens in all examples that enter the loss."""
        return sum(example.trainable_tokens for example in self)

    @cached_property
    def digests(self) -> Any:
        """(N,) uint64: a hash of the tokens of each example."""
        return np.array([digest(example.ids) for example in self], np.uint64)

    @cached_property
    def last_tokens(self) -> Any:
        """(N,) int64: the last trained token of each example; −1 where the example is truncated."""
        return np.array([_last_token(example) for example in self], np.int64)


def _last_token(example: Example) -> int:
    positions = example.trained_positions
    return example.ids[positions[-1]] if positions and not example.cut_tokens else -1


def as_store(examples: Sequence[Example]) -> ExampleStore:
    """Return `examples` itself if it is a store, else a store in memory with the same examples."""
    return examples if isinstance(examples, ExampleStore) else InMemoryExamples(examples)


def tokens_of(encoding: Any, start: int, end: int, count: int) -> tuple[int, int]:
    """Return [first, last) of the tokens that hold any of the characters [start, end) of a text."""
    first = last = None
    for position in range(start, end):  # some characters, such as space, may be of no token
        first = encoding.char_to_token(position)
        if first is not None:
            break
    for position in range(end - 1, start - 1, -1):
        last = encoding.char_to_token(position)
        if last is not None:
            break
    if first is None or last is None:
        return 0, 0
    while last + 1 < count and (span := encoding.token_to_chars(last + 1)) and span[0] < end:
        last += 1  # a character of several tokens is found by its first one
    return first, last + 1

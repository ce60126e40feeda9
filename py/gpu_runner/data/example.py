"""One encoded row: its tokens, and which of them the model learns to predict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Example:
    """One encoded row: `ids` (T,) and `trained` (T,), right-truncated to the longest length.

    The first token has nothing before it to be predicted from, so it is never trained.
    """

    ids: tuple[int, ...]
    trained: tuple[bool, ...]
    cut_tokens: int = 0
    """Tokens that truncation dropped."""

    @property
    def trainable_tokens(self) -> int:
        """How many predictions of this row enter the loss."""
        return sum(self.trained)

    @property
    def trained_positions(self) -> list[int]:
        """Where they are."""
        return [position for position, trained in enumerate(self.trained) if trained]


def lengths(examples: Sequence[Example]) -> list[int]:
    """Tokens of each of some rows; what lies on disk knows without reading them."""
    known = getattr(examples, "lengths", None)
    return [len(example.ids) for example in examples] if known is None else known


def trainable(examples: Sequence[Example]) -> int:
    """Predictions of all of some rows that enter the loss."""
    known = getattr(examples, "trainable_tokens", None)
    return sum(one.trainable_tokens for one in examples) if known is None else int(known)


def tokens_of(encoding: Any, start: int, end: int, count: int) -> tuple[int, int]:
    """[first, last) of the tokens that hold any of the characters [start, end) of a text."""
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

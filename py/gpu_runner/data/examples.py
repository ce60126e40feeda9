"""One encoded row: its tokens, and which of them the model learns to predict.

What lies on disk knows much of all its rows without reading them: functions here ask it first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
    """Tokens of each of some rows."""
    known = getattr(examples, "lengths", None)
    return [len(example.ids) for example in examples] if known is None else known


def trainable(examples: Sequence[Example]) -> int:
    """Predictions of all of some rows that enter the loss."""
    known = getattr(examples, "trainable_tokens", None)
    return sum(one.trainable_tokens for one in examples) if known is None else int(known)


def known(examples: Sequence[Example], others: Sequence[Example]) -> int:
    """How many of `others` are among some rows, token for token."""
    if (count := getattr(others, "among", None)) is not None:
        return int(count(examples))
    if (look := getattr(examples, "known", None)) is not None:
        return int(sum(look(others)))
    there = {example.ids for example in examples}
    return sum(one.ids in there for one in others)


def repeated(examples: Sequence[Example]) -> Sequence[int]:
    """Which of some rows are there before, token for token, in ascending order."""
    if (look := getattr(examples, "repeated", None)) is not None:
        found: Sequence[int] = look()
        return found
    seen: set[tuple[int, ...]] = set()
    again = []
    for index, example in enumerate(examples):
        if example.ids in seen:
            again.append(index)
        seen.add(example.ids)
    return again


def ends(examples: Sequence[Example]) -> Iterable[tuple[int, int, Sequence[int]]]:
    """(token, how many, which) of the rows that are whole, by the last token that is learned."""
    if (look := getattr(examples, "ends", None)) is not None:
        told: Iterable[tuple[int, int, Sequence[int]]] = look()
        return told
    found: dict[int, list[int]] = {}
    for index, example in enumerate(examples):
        if not example.cut_tokens:
            last = example.ids[example.trained_positions[-1]]
            found.setdefault(last, []).append(index)
    return [(token, len(places), places) for token, places in found.items()]


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

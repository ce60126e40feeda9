"""Rows of data as token ids with a mask of what is learned: prompt and completion, plainly.

    {prompt}[{completion}<|end|>]      trained in brackets

What `gpu_runner.data.encode` does without a chat template; tests compare the two row by row.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final, NamedTuple

from unfrozen.errors import PlanError
from unfrozen.lab.llama import Documents
from unfrozen.lab.tokenizer import Tokenizer

END: Final = 0
"""The place of the token that closes a text among the tokenizer's special ones."""


class EncodedRow(NamedTuple):
    """One encoded row: `ids` (T,), and of each whether it is learned."""

    ids: tuple[int, ...]
    trained: tuple[bool, ...]
    prompt: str

    @property
    def trained_tokens(self) -> int:
        """How many predictions of this row enter the loss; its first token has none."""
        return sum(self.trained)


def read(text: str, tokenizer: Tokenizer) -> tuple[EncodedRow, ...]:
    """The rows of a JSONL text. Raises PlanError with the line of one that is no such row."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            row = json.loads(line)
            found.append(encode(str(row["prompt"]), str(row["completion"]), tokenizer))
        except (ValueError, KeyError, TypeError):
            bound = 'a row is {"prompt": …, "completion": …}'
            raise PlanError(f"line {number}", line, bound, "correct it") from None
    return tuple(found)


def encode(prompt: str, completion: str, tokenizer: Tokenizer) -> EncodedRow:
    """One row. A token is learned if it begins inside the completion or is the end."""
    end = list(tokenizer.special)[END]
    tokens = tokenizer.encode(prompt + completion + end)
    learned = tuple(place > 0 and t.start >= len(prompt) for place, t in enumerate(tokens))
    return EncodedRow(tuple(t.id for t in tokens), learned, prompt)


def documents(rows: Sequence[EncodedRow]) -> Documents:
    """These rows as one packed step."""
    return Documents.of([row.ids for row in rows], [row.trained for row in rows])

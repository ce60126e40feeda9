"""Exact match: held-out rows by how greedy decoding answers them.

Of a row it is known which of its trained tokens are the likeliest where all tokens before are
given. If all of them are, greedy decoding writes the completion and ends; if only the last, the
end, is not, it writes on. So a forward pass tells, and nothing is generated.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class ExactMatch(NamedTuple):
    """Rows by how they are answered."""

    right: int = 0
    does_not_stop: int = 0
    """The completion is right, and the model writes on where it should end."""
    wrong: int = 0

    @classmethod
    def of(cls, rows: Iterable[Sequence[bool]]) -> ExactMatch:
        """Count rows, given as whether each of their trained tokens is the likeliest."""
        right = does_not_stop = wrong = 0
        for hits in rows:
            if all(hits):
                right += 1
            elif all(hits[:-1]):
                does_not_stop += 1
            else:
                wrong += 1
        return cls(right, does_not_stop, wrong)

    def __add__(self, other: object) -> ExactMatch:
        """Return the rows of both."""
        if not isinstance(other, ExactMatch):
            return NotImplemented
        return ExactMatch(*(a + b for a, b in zip(self, other, strict=True)))

    def as_json(self) -> dict[str, int]:
        """Return the counts by name, with `of`, how many rows there are."""
        return self._asdict() | {"of": sum(self)}

"""Training data: its rows, how long they are, how often and in which order they are seen.

Lengths are tokens by the model's tokenizer where one was at hand, else estimated from the bytes of
each row's text; a reader without a file gives `rows × epochs × length`, such as "10,000 × 3 × 512",
or with the longest row "10,000 × 3 × 512-4,000".

The order is a pure function of (seed, epoch), of the runner and the lab: the position of a run in
its data is one integer, the number of rows taken. Nothing else has to be saved to continue exactly,
and two trainers with the same seed see the same rows in the same steps.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from unfrozen.errors import PlanError, strict_json

BYTES_A_TOKEN: Final = 4.0
"""Assumed bytes of UTF-8 in a token, OpenAI's rule of thumb for English text ("1 token ~= 4 chars",
help.openai.com, What are tokens and how to count them): other languages and code differ."""
ESTIMATED: Final = f"estimated at {BYTES_A_TOKEN:g} bytes a token"
MOST_ROWS: Final = 10**12
MOST_EPOCHS: Final = 10_000
MOST_TOKENS: Final = 10**15
LONGEST: Final = 16_777_216
CUT: Final = 0.001
"""Share of the rows that a sequence may cut: one row of a thousand does not set its length."""
LEAST_LENGTH: Final = 2048
"""Tokens of a sequence that packs shorter rows."""
PADDED: Final = 64
"""Tokens of which the sequences of padded rows are a multiple: those of a tile of attention."""
MOST_LENGTH: Final = 131_072
"""Tokens of the longest sequence that is planned without being asked for."""


@dataclass(frozen=True, slots=True)
class Data:
    """Rows, passes over them, and tokens of a row: the mean, the longest, and those of `lengths` in
    ascending order where each row was read. `source` says how they are known.
    """

    rows: int
    epochs: float
    mean: float
    longest: int
    source: str = "as given"
    lengths: tuple[int, ...] = ()

    @classmethod
    def of(cls, lengths: Sequence[int], epochs: float, source: str) -> Data:
        """Return the data of rows that were read. Raises PlanError where there are none."""
        if not lengths:
            raise PlanError("data", "no row", "there is nothing to train on", "give another file")
        _check("epochs", epochs, 1e-6, MOST_EPOCHS)
        found = tuple(sorted(lengths))
        return cls(len(found), epochs, sum(found) / len(found), max(1, found[-1]), source, found)

    @property
    def numbers(self) -> str:
        """The three numbers, as `read_numbers` reads them: "10000 x 3 x 512-4000"."""
        mean = max(1, round(self.mean))
        longest = f"-{self.longest}" if self.longest > mean else ""
        return f"{self.rows} x {self.epochs:g} x {mean}{longest}"

    @property
    def tokens(self) -> int:
        """What the run sees in all its epochs."""
        return max(1, round(self.rows * self.epochs * self.mean))

    def length(self, most: int | None, *, packed: bool = True) -> int:
        """Return the tokens of a sequence, which holds all rows but one in a thousand, as far as
        the model takes them (`most`): where rows are packed a power of two of at least
        `LEAST_LENGTH`, else a multiple of `PADDED`.
        """
        last = self.longest
        if self.lengths:
            last = max(1, self.lengths[math.ceil((1 - CUT) * len(self.lengths)) - 1])
        wanted = -(-last // PADDED) * PADDED
        if packed:
            wanted = max(LEAST_LENGTH, 1 << math.ceil(math.log2(last)))
        return min(wanted, MOST_LENGTH, most or MOST_LENGTH)

    def too_long(self, length: int) -> int | None:
        """Return how many rows a sequence cuts; None where only the longest is known."""
        if self.lengths:
            return sum(one > length for one in self.lengths)
        return 0 if self.longest <= length else None

    def padded_tokens(self, micro_batch: int) -> int | None:
        """Return the tokens of all epochs where each row is padded to the longest of its
        micro-batch; None where the lengths of rows are unknown.

        Of m rows drawn from n the longest is the i-th or a shorter one with probability (i/n)^m.
        """
        count = len(self.lengths)
        if not count:
            return None
        shares = [(place / count) ** micro_batch for place in range(count + 1)]
        longest = sum(
            length * (shares[place + 1] - shares[place])
            for place, length in enumerate(self.lengths)
        )
        return round(self.rows * self.epochs * longest)


_NUMBERS: Final = re.compile(
    r"([\d,.]+[kKmM]?)\s*[x×*]\s*([\d.]+)\s*[x×*]\s*([\d,]+)(?:\s*(?:-|–|to)\s*([\d,]+))?"
)
_THOUSANDS: Final = {"k": 1000, "m": 1_000_000}


def read_numbers(text: str) -> Data | None:
    """Return the data of "rows × epochs × length", or None for another text. Raises PlanError for
    numbers out of bounds.
    """
    found = _NUMBERS.fullmatch(text.strip())
    if found is None:
        return None
    rows, epochs, mean, longest = found.groups()
    factor = _THOUSANDS.get(rows[-1].lower(), 1)
    try:
        count = float(rows.rstrip("kKmM").replace(",", "")) * factor
        passes = float(epochs)
    except ValueError:
        return None
    length = int(mean.replace(",", "") or 0)
    most = int((longest or mean).replace(",", "") or 0)
    _check("data", count, 1, MOST_ROWS, "rows")
    _check("data", passes, 1e-6, MOST_EPOCHS, "epochs")
    _check("data", length, 1, LONGEST, "tokens of a row")
    if most < length:
        bound = f"the longest row has {most:,} tokens, and the mean is {length:,}"
        raise PlanError("data", text, bound, "give the longest last")
    _check("data", most, length, LONGEST, "tokens of the longest row")
    if count * passes * length > MOST_TOKENS:
        raise PlanError("data", text, f"a run sees at most {MOST_TOKENS:,} tokens", "correct it")
    return Data(round(count), passes, length, most)


def _check(key: str, value: float, low: float, high: float, what: str = "") -> None:
    if not low <= value <= high:
        raise PlanError(key, value, f"{what or key} must lie in {low:g} … {high:,}", "correct it")


def row_lengths(name: str, text: str) -> list[int]:
    """Return the estimated tokens of each row of a file: lines of JSON, a JSON array, CSV or TSV.

    Raises PlanError with the place of the first row that is none.
    """
    return [estimated_tokens(row) for row in _rows(name, text)]


def estimated_tokens(row: object) -> int:
    """Return the tokens of a row as its bytes let one expect; at least one."""
    return max(1, round(text_bytes(row) / BYTES_A_TOKEN))


def _rows(name: str, text: str) -> Iterator[object]:
    ending = name.lower().rpartition(".")[2]
    text = text.removeprefix("\ufeff")
    if ending in ("csv", "tsv"):
        yield from _table_rows(name, text, "\t" if ending == "tsv" else ",")
    elif text.lstrip().startswith("["):
        value = _json(name, text)
        yield from value if isinstance(value, list) else [value]
    else:
        file = name.rpartition("/")[2]
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                yield _json(f"{file}:{number}", line)


def _table_rows(name: str, text: str, delimiter: str) -> Iterator[object]:
    import csv

    try:
        yield from csv.DictReader(re.findall(r"[^\n]*\n?", text), delimiter=delimiter)
    except csv.Error as error:
        raise PlanError("data", name, f"this is no table ({error})", "correct the file") from None


def _json(place: str, text: str) -> Any:
    try:
        return strict_json(text)
    except (ValueError, RecursionError) as error:
        remedy = "give lines of JSON, a JSON array, CSV or Parquet"
        raise PlanError("data", place, f"this is not JSON ({error})", remedy) from None


_TEXTS: Final = ("messages", "conversations", "prompt", "completion", "chosen")
_MORE: Final = ("instruction", "input", "output", "response", "question", "answer", "text")


def text_bytes(row: object) -> int:
    """Return the bytes of the texts that a row trains: those under the usual names, else all."""
    if isinstance(row, Mapping):
        known = [row[key] for key in (*_TEXTS, *_MORE) if key in row]
        return sum(map(_bytes, known)) if known else _bytes(row)
    return _bytes(row)


def _bytes(value: object) -> int:
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogatepass"))
    if isinstance(value, Mapping):
        return sum(map(_bytes, value.values()))
    if isinstance(value, Iterable):
        return sum(map(_bytes, value))
    return 0 if value is None else len(json.dumps(value, default=str))


@lru_cache(maxsize=4)
def epoch_order(rows: int, seed: int, epoch: int) -> tuple[int, ...]:
    """Return a permutation of 0 … rows−1 that depends on nothing but its arguments."""
    from random import Random  # its import takes long, and so does that of csv

    order = list(range(rows))
    Random(f"unfrozen order {seed} {epoch}").shuffle(order)
    return tuple(order)


def row_at(position: int, rows: int, seed: int) -> int:
    """Return the index of the row at `position`, counted through all epochs."""
    epoch, offset = divmod(position, rows)
    return epoch_order(rows, seed, epoch)[offset]


def step_rows(number: int, rows_per_step: int, rows: int, seed: int) -> list[int]:
    """Return the indices of the rows that step `number` (1, 2, …) sees."""
    first = (number - 1) * rows_per_step
    return [row_at(position, rows, seed) for position in range(first, first + rows_per_step)]


def steps_in(epochs: float, rows: int, rows_per_step: int) -> int:
    """Return the number of optimizer steps that see every row `epochs` times, rounded up."""
    return max(1, math.ceil(epochs * rows / rows_per_step - 1e-9))


def replayed(trained_tokens: int, lengths: Sequence[int], share: float, seed: int) -> list[int]:
    """Return the indices of the earlier rows, of `lengths` tokens, that make `share` of all tokens.

    Rows are taken whole in a seeded order, the last one if that comes nearer; if more are needed
    than there are, they are gone through again. At least one is taken; `share` is below 1.
    """
    wanted = trained_tokens * share / (1 - share)
    taken: list[int] = []
    tokens = 0
    while True:
        epoch, offset = divmod(len(taken), len(lengths))
        index = epoch_order(len(lengths), seed, -2 - epoch)[offset]
        if taken and tokens + lengths[index] / 2 > wanted:
            return taken
        taken.append(index)
        tokens += lengths[index]


def spread(count: int, most: int) -> list[int]:
    """Return at most `most` of the indices 0 … count−1, evenly spaced."""
    kept = min(most, count)
    return [index * count // kept for index in range(kept)]

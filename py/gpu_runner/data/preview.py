"""What will be trained, in numbers: lengths, ends, repeated rows, and what padding would cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from gpu_runner.data.encode import Encoder, Example
from gpu_runner.data.feed import Feed
from gpu_runner.data.rows import RowSet
from unfrozen.training.order import steps_in

MOST_STEPS: Final = 500  # of an epoch, looked at for padding
_BARS: Final = 24


@dataclass(frozen=True, slots=True)
class Stop:
    """A token that rows end in: its text, its id, and of how many rows it is the last trained."""

    text: str
    token: int
    rows: int


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of the rows; `bars` counts rows in equal steps from the shortest to the longest."""

    shortest: int
    median: int
    nine_in_ten: int
    longest: int
    bars: tuple[int, ...]


def stops(rows: RowSet, encoder: Encoder) -> list[Stop]:
    """The last trained tokens of rows that are whole, the most common first; space is passed."""
    found: Counter[tuple[str, int]] = Counter()
    for example in rows.examples:
        if not example.cut_tokens:
            found[_stop(example, example.trained_positions, encoder)] += 1
    return [Stop(text, token, count) for (text, token), count in found.most_common()]


def _stop(example: Example, trained: Sequence[int], encoder: Encoder) -> tuple[str, int]:
    for position in reversed(trained):
        text = encoder.text_of(example.ids[position])
        if text.strip():
            return text, example.ids[position]
    return encoder.text_of(example.ids[trained[-1]]), example.ids[trained[-1]]


def lengths(rows: RowSet) -> Lengths:
    """How long the rows are, in tokens."""
    counts = sorted(len(example.ids) for example in rows.examples)
    low, high = counts[0], counts[-1]
    wide = max(1, -(-(high - low + 1) // _BARS))
    bars = Counter((count - low) // wide for count in counts)
    return Lengths(
        low,
        counts[len(counts) // 2],
        counts[len(counts) * 9 // 10],
        high,
        tuple(bars[index] for index in range((high - low) // wide + 1)),
    )


def repeated(rows: RowSet) -> tuple[int, str]:
    """How many rows are there before, token for token, and where the first of them is."""
    seen: set[tuple[int, ...]] = set()
    again, first = 0, ""
    for place, example in zip(rows.places, rows.examples, strict=True):
        if example.ids in seen:
            again, first = again + 1, first or place
        seen.add(example.ids)
    return again, first


def padding(rows: RowSet, micro_batch: int, grad_accum: int, seed: int) -> tuple[float, int]:
    """(share of an epoch's positions that padding would be, micro-batches a step, packed).

    Packing computes no padding; of long sets some steps stand for all.
    """
    padded = Feed(rows.examples, seed, micro_batch, grad_accum, 0)
    steps = min(MOST_STEPS, steps_in(1.0, len(rows.examples), padded.rows_per_step))
    packed = replace(padded, packed=True)
    positions = tokens = parts = 0
    for number in range(1, steps + 1):
        positions += sum(shape.rows * shape.length for shape in padded.shapes(number))
        shapes = list(packed.shapes(number))
        tokens += sum(shape.length for shape in shapes)
        parts = max(parts, len(shapes))
    return 1 - tokens / positions, parts


def spoken(encoder: Encoder, example: Example, around: int = 0) -> list[tuple[str, bool]]:
    """The tokens of a row as (text, whether trained); with `around` only near its first answer.

    What is left out is "…".
    """
    trained = example.trained_positions
    first, last = (trained[0], trained[-1] + 1) if trained else (0, len(example.ids))
    start = max(0, first - around) if around else 0
    end = min(len(example.ids), max(first + 2 * around, start)) if around else len(example.ids)
    pairs = zip(example.ids[start:end], example.trained[start:end], strict=True)
    found = [(encoder.text_of(token), learned) for token, learned in pairs]
    before = [("…", False)] if start else []
    after = [("…", last > end)] if end < len(example.ids) else []
    return [*before, *found, *after]


def ends_elsewhere(found: Sequence[Stop], tokenizer: Any, settings: Any) -> str:
    """What is to be said where a model, used, stops at another token than it learns to write.

    `settings` is what the model's `generation_config.json` holds.
    """
    told = settings.get("eos_token_id") if isinstance(settings, dict) else None
    listed = told if isinstance(told, list) else [told]
    known = {token for token in (*listed, tokenizer.eos_token_id) if isinstance(token, int)}
    if not found or found[0].token in known or not known:
        return ""
    names = ", ".join(repr(tokenizer.decode([token])) for token in sorted(known))
    return (
        f"answers end in {found[0].text!r}, but the model is set to stop at {names}: put"
        f" {found[0].token} into eos_token_id of its generation_config.json"
    )

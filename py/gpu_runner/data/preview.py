"""A data set in numbers: lengths, end tokens, duplicates, and what padding would cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from gpu_runner.data.dataset import MOST_NAMED, EncodedDataset
from gpu_runner.data.encode import Encoder
from gpu_runner.data.examples import Example
from gpu_runner.data.feed import Feed, bins
from unfrozen.training_data import step_rows, steps_in

MOST_STEPS: Final = 500  # of an epoch, from which padding is measured
MOST_ROWS: Final = 50_000  # in those steps
MOST_TEMPLATED: Final = 200
_BARS: Final = 24


@dataclass(frozen=True, slots=True)
class EndToken:
    """A token that examples end in: its text, its id, and of how many it is the last trained."""

    text: str
    token: int
    rows: int


@dataclass(frozen=True, slots=True)
class Lengths:
    """Lengths of examples in tokens; `bars` is a histogram whose bins begin at `starts`."""

    shortest: int
    median: int
    nine_in_ten: int
    longest: int
    starts: tuple[int, ...]
    bars: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Truncated:
    """An example that lost `tokens` at its end, `answer` of them from what is trained."""

    place: str
    tokens: int
    answer: int


@dataclass(frozen=True, slots=True)
class ExampleTokens:
    """Tokens of an example as (text, whether trained), and how many are `before` and `after` them.

    A token that continues the character of the one before has the text "".
    """

    tokens: list[tuple[str, bool]]
    before: int = 0
    after: int = 0
    ends: frozenset[int] = frozenset()
    """Indices in `tokens` of special tokens that end an answer and are trained."""


def count_end_tokens(data: EncodedDataset, encoder: Encoder) -> list[EndToken]:
    """Return the last trained tokens of examples that are not truncated, the most frequent first.

    Space after the end token is skipped.
    """
    found: Counter[int] = Counter()
    for token, places in data.examples.by_last_token():
        if encoder.decode_token(token).strip():
            found[token] += len(places)
            continue
        for place in places:
            example = data.examples[place]
            found[_end_token(example, example.trained_positions, encoder)] += 1
    return [
        EndToken(encoder.decode_token(token), token, count) for token, count in found.most_common()
    ]


def _end_token(example: Example, trained: Sequence[int], encoder: Encoder) -> int:
    for position in reversed(trained):
        if encoder.decode_token(example.ids[position]).strip():
            return example.ids[position]
    return example.ids[trained[-1]]


def template_share(data: EncodedDataset, encoder: Encoder) -> float:
    """Return the share of tokens that the chat template adds, over the first MOST_TEMPLATED rows.

    They are those of the rendered examples beyond those of the contents, each tokenized alone.
    """
    rows = data.rows[:MOST_TEMPLATED]
    some = zip(rows, data.examples, strict=False)
    whole = sum(len(example.ids) + example.cut_tokens for _, example in some)
    contents = encoder.count_tokens(*(text for row in rows for text in encoder.contents(row)))
    return max(0.0, 1 - contents / whole)


def count_without_end(found: Sequence[EndToken], encoder: Encoder) -> int:
    """Return how many examples end in text, so that the model does not learn to stop."""
    return sum(one.rows for one in found if not encoder.is_special(one.token))


def measure_lengths(lengths: Iterable[int]) -> Lengths:
    """Return how long examples are, in tokens."""
    counts = sorted(lengths)
    low, high = counts[0], counts[-1]
    wide = max(1, -(-(high - low + 1) // _BARS))
    bars = Counter((count - low) // wide for count in counts)
    places = range((high - low) // wide + 1)
    return Lengths(
        low,
        counts[len(counts) // 2],
        counts[len(counts) * 9 // 10],
        high,
        tuple(low + index * wide for index in places),
        tuple(bars[index] for index in places),
    )


def find_duplicates(data: EncodedDataset) -> tuple[int, str]:
    """Return how many examples occurred before, token for token, and where the first of them is."""
    again = data.examples.duplicates()
    return len(again), data.places[again[0]] if again else ""


def find_dropped(data: EncodedDataset, encoder: Encoder) -> list[Truncated]:
    """Return the examples without a trained token that lost most to truncation, of any set."""
    found = [one for part in data.sets() for one in part.dropped]
    found.sort(key=lambda one: -one.example.cut_tokens)
    return [
        Truncated(place, example.cut_tokens, encoder.answer_lost(row, example))
        for place, row, example in found[:MOST_NAMED]
    ]


def find_truncated(data: EncodedDataset, encoder: Encoder) -> list[Truncated]:
    """Return the trained examples that lost most of their tokens to truncation."""
    cuts = data.examples.cuts
    worst = [int(n) for n in np.argsort(-cuts, kind="stable")[:MOST_NAMED] if cuts[n]]
    return [
        Truncated(data.places[n], int(cuts[n]), encoder.answer_lost(data.rows[n], data.examples[n]))
        for n in worst
    ]


def measure_padding(
    data: EncodedDataset, micro_batch: int, grad_accum: int, seed: int
) -> tuple[float, int]:
    """Return (share of an epoch's tokens that would be padding, packed micro-batches in a step).

    Packing has no padding. Of large data sets some steps are measured.
    """
    sizes = data.examples.lengths
    feed = Feed(data.examples, seed, micro_batch, grad_accum, 0)
    together = feed.sequences_per_step
    most = max(1, min(MOST_STEPS, MOST_ROWS // together))
    positions = tokens = parts = 0
    for number in range(1, min(most, steps_in(1.0, len(sizes), together)) + 1):
        step = [sizes[index] for index in step_rows(number, together, len(sizes), seed)]
        padded = (step[i : i + micro_batch] for i in range(0, together, micro_batch))
        positions += sum(len(some) * max(some) for some in padded)
        tokens += sum(step)
        parts = max(parts, len(bins(step, feed.capacity)))
    return 1 - tokens / positions, parts


def example_tokens(
    encoder: Encoder, row: Mapping[str, Any], example: Example, most: int = 0, around: int = 0
) -> ExampleTokens:
    """Return the tokens of an example, or `most` from `around` before its first answer on."""
    texts, trained = encoder.token_texts(row, example), example.trained
    first = trained.index(True) if any(trained) else 0
    start = max(0, first - around) if most else 0
    end = min(len(texts), start + most) if most else len(texts)
    closes = frozenset(place - start for place in _ends(encoder, example) if start <= place < end)
    shown = list(zip(texts[start:end], trained[start:end], strict=True))
    return ExampleTokens(shown, start, len(texts) - end, closes)


def _ends(encoder: Encoder, example: Example) -> Iterator[int]:
    """Yield where a trained span ends in a special token; space after it is skipped."""
    open_end = True
    for place in range(len(example.ids) - 1, -1, -1):
        if not example.trained[place]:
            open_end = True
        elif open_end and encoder.is_special(example.ids[place]):
            yield place
            open_end = False
        elif open_end:
            open_end = not encoder.decode_token(example.ids[place]).strip()


def end_token_mismatch(found: Sequence[EndToken], tokenizer: Any, settings: Any) -> str:
    """Return a remark where generation stops at another token than the model learns; "" if not.

    `settings` is what the model's `generation_config.json` holds.
    """
    eos = settings.get("eos_token_id") if isinstance(settings, dict) else None
    listed = eos if isinstance(eos, list) else [eos]
    known = {token for token in (*listed, tokenizer.eos_token_id) if isinstance(token, int)}
    if not found or found[0].token in known or not known:
        return ""
    names = ", ".join(repr(tokenizer.decode([token])) for token in sorted(known))
    return (
        f"answers end in {found[0].text!r}, but the model is set to stop at {names}: put"
        f" {found[0].token} into eos_token_id of its generation_config.json"
    )

"""Sets of rows: encoded, counted, replayed and held out, refused where nothing can be trained.

Nothing is left out silently: rows that were cut or that have nothing to train on are counted in
`EncodedDataset` and shown by the run. `feed` turns the rows into micro-batches.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import compress
from typing import Any, Final

from gpu_runner.data.encode import BadRow, Encoder, Rendered
from gpu_runner.data.examples import Example, ExampleStore, InMemoryExamples
from gpu_runner.data.files import Watch, unwatched
from gpu_runner.data.sources import Row, collecting, refusal
from gpu_runner.errors import DataError
from gpu_runner.text import counted
from unfrozen.data_order import epoch_order

TASK: Final = "task"  # the set that says what is being learned
GENERAL: Final = "general"  # … and those that say what is being forgotten
_TOGETHER: Final = 256  # rows that are tokenized at once
_MOST_NOTES: Final = 8


@dataclass(frozen=True, slots=True)
class Note:
    """Something to be said of some rows: of how many, and where the first one is."""

    text: str
    rows: int
    first: str


@dataclass(frozen=True, slots=True)
class EncodedDataset:
    """Encoded rows that have something to train on, and the count of everything left out."""

    name: str
    rows: Sequence[Row]
    examples: ExampleStore
    rows_read: int
    cut_rows: int
    cut_tokens: int
    untrainable_rows: int
    sha256: str
    bad_rows: tuple[str, ...] = ()
    """Where and why, for each row that was left out because it cannot be read."""
    replayed_rows: int = 0
    """Rows at the end of `rows` that come from the replay file."""
    replay: EncodedDataset | None = None
    """Where those were drawn from, with the count of everything left out there."""
    trained_rows: int = 0
    """Rows of a scored set that are trained on as well, token for token."""
    notes: tuple[Note, ...] = ()
    """What is not used of some rows, or is trained as one might not expect."""
    split_rows: int = 0
    """Chats of which each answer, or a few, became a row of its own."""
    template_rows: int = 0
    """Questions and answers without roles that went through the chat template."""
    places: Sequence[str] = ()
    """Where each of `rows` was read."""
    parts: tuple[tuple[EncodedDataset, float], ...] = ()
    """What it was mixed of, with the weight of each."""
    made_of: Mapping[str, tuple[str, float]] = field(default_factory=dict)
    """SHA-256 and weight of everything that was put together, by option and file."""

    @property
    def tokens(self) -> int:
        """All tokens of all rows, padding not counted."""
        return sum(self.examples.lengths)

    @property
    def trainable_tokens(self) -> int:
        """Predictions that enter the loss in one pass."""
        return self.examples.trainable_tokens

    @property
    def longest_tokens(self) -> int:
        """Length of the longest row."""
        return max(self.examples.lengths)

    @property
    def replayed_share(self) -> float:
        """Share of the tokens that are replayed."""
        first = len(self.examples) - self.replayed_rows
        return sum(self.examples.lengths[first:]) / self.tokens

    def sets(self) -> list[EncodedDataset]:
        """What it was put together of, or itself; and what is replayed."""
        earlier = [] if self.replay is None else [self.replay]
        return [*([part for part, _ in self.parts] or [self]), *earlier]

    def remarks(self) -> list[str]:
        """One sentence for each kind of row that was altered or left out."""
        found = [text for part, _ in self.parts for text in part.remarks()]
        if self.split_rows:
            found.append(
                f"{self.name}: the chat template writes earlier answers otherwise than the last"
                f" one, so {self.split_rows} of {counted(self.rows_read)} became several, each up"
                f" to an answer: {counted(self._texts)} in all."
            )
        if self.cut_rows:
            found.append(
                f"{self.name}: {self.cut_rows} of {counted(self._texts)} longer than --seq-len"
                f" lost {self.cut_tokens:,} tokens at the end."
            )
        if self.untrainable_rows:
            found.append(
                f"{self.name}: {self.untrainable_rows} of {counted(self._texts)} left out, which"
                " have no trainable token."
            )
        found += self._noted()
        if self.bad_rows:
            more = f", and {len(self.bad_rows) - 3} more" if len(self.bad_rows) > 3 else ""
            many = (
                "1 bad row is" if len(self.bad_rows) == 1 else f"{len(self.bad_rows)} bad rows are"
            )
            found.append(
                f"{self.name}: {many} left out: " + "; ".join(self.bad_rows[:3]) + f"{more}."
            )
        if self.trained_rows:
            found.append(
                f"{self.name}: {self.trained_rows} of {counted(len(self.rows))} trained on as"
                " well, word for word; such a loss says nothing about new rows."
            )
        if self.replay is not None:
            found += self.replay.remarks()
        if self.replayed_rows:
            found.append(
                f"{self.name}: {counted(self.replayed_rows)} replayed,"
                f" {self.replayed_share:.1%} of the tokens."
            )
        return found

    @property
    def _texts(self) -> int:
        """Rows that there were to train on, bad ones counted where none became several."""
        if not self.split_rows:
            return self.rows_read
        return len(self.examples) - self.replayed_rows + self.untrainable_rows

    def _noted(self) -> Iterator[str]:
        for note in self.notes[:_MOST_NOTES]:
            yield (
                f"{self.name}: {note.rows:,} of {counted(self.rows_read)} ({note.first} is the"
                f" first): {note.text}."
            )
        if len(self.notes) > _MOST_NOTES:
            yield f"{self.name}: {len(self.notes) - _MOST_NOTES} more kinds of such remarks."


def encode_dataset(
    name: str,
    sources: Sequence[tuple[str, Row]],
    encoder: Encoder,
    bad: list[str] | None = None,
    watch: Watch = unwatched,
) -> EncodedDataset:
    """Encode every row of `read_rows`; refuse a set in which nothing can be trained.

    Raises `DataError`: a row of no known format (where and why; with a list `bad` it is left out
    and told there); "0 of N rows have trainable tokens", with the first row and its mask.
    """
    rendered: list[Rendered] = []
    places: list[str] = []
    notes: Counter[str] = Counter()
    firsts: dict[str, str] = {}
    read = split = 0
    for number, (where, row) in enumerate(sources):
        if not number % _TOGETHER:
            watch(f"reading {name} rows", number / len(sources), number)
        with collecting(bad):
            texts = _rendered(where, row, encoder)
            rendered += texts
            places += [where] * len(texts)
            read, split = read + 1, split + (len(texts) > 1)
            for note in texts[0].notes:
                notes[note] += 1
                firsts.setdefault(note, where)
    examples = _examples(rendered, encoder, partial(watch, f"encoding {name} rows"))
    encoded = list(zip((one.row for one in rendered), examples, strict=True))
    kept = [(row, example) for row, example in encoded if example.trainable_tokens]
    trained = [example.trainable_tokens > 0 for _, example in encoded]
    if not kept:
        raise DataError(_nothing_to_train(name, encoded, encoder, bad or []))
    return EncodedDataset(
        name=name,
        rows=tuple(dict(row) for row, _ in kept),
        examples=InMemoryExamples(example for _, example in kept),
        rows_read=read + len(bad or ()),
        cut_rows=sum(example.cut_tokens > 0 for _, example in encoded),
        cut_tokens=sum(example.cut_tokens for _, example in encoded),
        untrainable_rows=len(encoded) - len(kept),
        sha256=fingerprint([example for _, example in kept]),
        bad_rows=tuple(bad or ()),
        notes=tuple(Note(text, count, firsts[text]) for text, count in notes.most_common()),
        split_rows=split,
        template_rows=sum(one.in_template for one in rendered),
        places=tuple(compress(places, trained)),
    )


def _examples(
    rendered: Sequence[Rendered], encoder: Encoder, watch: Callable[[float, int], None]
) -> Iterator[Example]:
    for start in range(0, len(rendered), _TOGETHER):
        watch(start / len(rendered), start)
        yield from encoder.examples(rendered[start : start + _TOGETHER])
    watch(1.0, len(rendered))


def without_bad_rows(
    sources: Sequence[tuple[str, Row]], encoder: Encoder, bad: list[str]
) -> list[tuple[str, Row]]:
    """Rows that can be encoded, `DataError` for none; why others cannot be is told in `bad`."""
    good = []
    for where, row in sources:
        with collecting(bad):
            _rendered(where, row, encoder)
            good.append((where, row))
    if not good:
        raise DataError(_all_bad("training", bad))
    return good


def _all_bad(name: str, bad: list[str]) -> str:
    return f"all {counted(len(bad))} of the {name} data are bad. The first: {bad[0]}."


def _rendered(where: str, row: Row, encoder: Encoder) -> list[Rendered]:
    try:
        return encoder.render(row)
    except BadRow as error:
        raise DataError(refusal(where, error)) from None


def _nothing_to_train(
    name: str,
    encoded: Sequence[tuple[Mapping[str, Any], Example]],
    encoder: Encoder,
    bad: list[str],
) -> str:
    if not encoded:
        return _all_bad(name, bad)
    first = encoded[0][1]
    why = "they are empty: fill in text, completion, output, or an assistant message"
    if not any(encoder.has_answer(row) for row, _ in encoded):
        why = "no message is the assistant's, and its words are what is trained: add the answers"
    elif all(encoder.is_weighed_out(row) for row, _ in encoded):
        why = 'every answer has "weight": 0: leave that out where an answer is to be trained'
    elif any(example.cut_tokens for _, example in encoded):
        why = "the rows end (at --seq-len) before their answers begin: raise --seq-len"
    return (
        f"0 of {len(encoded)} rows have trainable tokens in the {name} data: {why}."
        f" The first row, with trained tokens in [brackets]: {encoder.show(first)}"
    )


def fingerprint(examples: Iterable[Example]) -> str:
    """SHA-256 of the encoded rows: a resumed run must see the same numbers in the same order."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(repr((example.ids, example.trained)).encode())
    return digest.hexdigest()


def hold_out(sources: list[Any], seed: int) -> tuple[list[Any], list[Any]]:
    """Split rows into (training, held out): every tenth of a seeded order, at most 64, at least 1.

    Raises `DataError` for a single row.
    """
    if len(sources) < 2:
        raise DataError("1 row cannot be split into training and held-out rows: give --eval-data.")
    order = epoch_order(len(sources), seed, -1)
    held = set(order[: min(64, max(1, len(sources) // 10))])
    return (
        [row for index, row in enumerate(sources) if index not in held],
        [row for index, row in enumerate(sources) if index in held],
    )

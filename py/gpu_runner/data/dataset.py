"""Encoded data sets: their examples, and the count of everything that was cut or left out.

A source is encoded whole, in memory (`EncodedRows`) or on disk (`cache.CachedSource`); a data set
is made of some of its rows. Nothing is left out silently: a run reports what `EncodedDataset`
counts. `feed` turns the examples into micro-batches.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

from gpu_runner.data.encode import Encoder, RowExamples
from gpu_runner.data.examples import Example, ExampleStore, InMemoryExamples, fingerprint
from gpu_runner.data.rows import PlacedRow, ReportProgress, Row, no_progress, no_rows
from gpu_runner.errors import DataError
from gpu_runner.text import counted
from unfrozen.training_data import epoch_order

TASK: Final = "task"
"""The suite that measures what is learned."""
GENERAL: Final = "general"
"""The first part of the names of suites that measure what is forgotten."""
_REPORT_EVERY: Final = 256  # rows between two reports of progress
_MOST_NOTES: Final = 8
MOST_NAMED: Final = 3
"""Examples that lost most to truncation, which are named."""


class Note(NamedTuple):
    """A remark about some rows: how many they are, and where the first one is."""

    text: str
    rows: int
    first: str


@dataclass(frozen=True, slots=True)
class EncodingSummary:
    """How rows were encoded: remarks, and how many were read."""

    notes: tuple[Note, ...] = ()
    read: int = 0
    split: int = 0
    """Chats of which each answer, or a few, became an example of its own."""
    in_template: int = 0
    """Prompts and completions without roles that the chat template rendered."""

    @staticmethod
    def of(rows: Sequence[RowExamples]) -> EncodingSummary:
        """Return the summary of some rows."""
        return EncodingSummary(
            merge_notes(Note(note, 1, one.place) for one in rows for note in one.texts[0].notes),
            len(rows),
            sum(len(one.texts) > 1 for one in rows),
            sum(text.in_template for one in rows for text in one.texts),
        )

    @staticmethod
    def merge(parts: Iterable[Mapping[str, Any]]) -> EncodingSummary:
        """Return the summary of all rows of some parts, each as `asdict` gives it."""
        parts = list(parts)
        return EncodingSummary(
            merge_notes(Note(*note) for part in parts for note in part["notes"]),
            *(sum(part[key] for part in parts) for key in ("read", "split", "in_template")),
        )


class DroppedExample(NamedTuple):
    """An example that is left out because nothing of it can be trained."""

    place: str
    row: Row
    example: Example


def merge_notes(notes: Iterable[Note]) -> tuple[Note, ...]:
    """Return one note for each text, the most frequent first."""
    counts: Counter[str] = Counter()
    firsts: dict[str, str] = {}
    for text, rows, first in notes:
        counts[text] += rows
        firsts.setdefault(text, first)
    return tuple(Note(text, rows, firsts[text]) for text, rows in counts.most_common())


@dataclass(frozen=True, slots=True)
class EncodedDataset:
    """Examples that have something to train on, and the count of everything left out."""

    name: str
    rows: Sequence[Row]
    """The row that each example was made of."""
    examples: ExampleStore
    rows_read: int
    cut_rows: int
    """Examples that were truncated, and the tokens that they lost."""
    cut_tokens: int
    untrainable_rows: int
    """Examples that were left out because they have no trainable token."""
    sha256: str
    bad_rows: tuple[str, ...] = ()
    """Where and why, for each row that was skipped because it cannot be used."""
    replayed_rows: int = 0
    """How many of the last examples are replayed."""
    replay: EncodedDataset | None = None
    """The data set that they were drawn from."""
    trained_rows: int = 0
    """Examples of a scored data set that are trained on as well, token for token."""
    notes: tuple[Note, ...] = ()
    """Remarks about what is not used, or trained as one might not expect."""
    split_rows: int = 0
    """See `EncodingSummary.split`."""
    template_rows: int = 0
    """See `EncodingSummary.in_template`."""
    places: Sequence[str] = ()
    """Where each of `rows` was read."""
    dropped: tuple[DroppedExample, ...] = ()
    """Of `untrainable_rows` those that lost most to truncation."""
    parts: tuple[tuple[EncodedDataset, float], ...] = ()
    """The data sets that it was mixed of, each with its weight."""
    made_of: Mapping[str, tuple[str, float]] = field(default_factory=dict)
    """SHA-256 and weight of each source that was combined, by option and file."""

    @property
    def tokens(self) -> int:
        """The number of tokens in all examples, without padding."""
        return sum(self.examples.lengths)

    @property
    def trainable_tokens(self) -> int:
        """The number of tokens that enter the loss in one epoch."""
        return self.examples.trainable_tokens

    @property
    def longest_tokens(self) -> int:
        """The number of tokens of the longest example."""
        return max(self.examples.lengths)

    @property
    def replayed_share(self) -> float:
        """The share of the tokens that is replayed."""
        first = len(self.examples) - self.replayed_rows
        return sum(self.examples.lengths[first:]) / self.tokens

    def sets(self) -> list[EncodedDataset]:
        """Return the data sets that it was combined of, or itself; then that of the replay."""
        replay = [] if self.replay is None else [self.replay]
        return [*([part for part, _ in self.parts] or [self]), *replay]

    def remarks(self) -> list[str]:
        """Return one sentence for each way in which examples were changed or left out."""
        found = [text for part, _ in self.parts for text in part.remarks()]
        found += [f"{self.name}: {text}" for text in self._own_remarks()]
        if self.replay is not None:
            found += self.replay.remarks()
        if self.replayed_rows:
            found.append(
                f"{self.name}: {counted(self.replayed_rows, 'example')} replayed,"
                f" {self.replayed_share:.1%} of the tokens."
            )
        return found

    def _own_remarks(self) -> Iterator[str]:
        rows, examples = counted(self.rows_read), counted(self._examples_made, "example")
        if self.split_rows:
            yield (
                "the chat template renders earlier answers differently from the last one, so"
                f" {self.split_rows} of {rows} became several examples, each up to an answer:"
                f" {examples} in all."
            )
        if self.cut_rows:
            yield (
                f"{self.cut_rows} of {examples} longer than --seq-len lost {self.cut_tokens:,}"
                " tokens at the end."
            )
        if self.untrainable_rows:
            yield (
                f"{self.untrainable_rows} of {examples} left out, which have no trainable token."
            )
        for note in self.notes[:_MOST_NOTES]:
            yield f"{note.rows:,} of {rows} ({note.first} is the first): {note.text}."
        if len(self.notes) > _MOST_NOTES:
            yield f"{len(self.notes) - _MOST_NOTES} more kinds of such remarks."
        if self.bad_rows:
            count = len(self.bad_rows)
            more = f", and {count - 3} more" if count > 3 else ""
            which = "1 bad row is" if count == 1 else f"{count} bad rows are"
            yield f"{which} left out: " + "; ".join(self.bad_rows[:3]) + f"{more}."
        if self.trained_rows:
            yield (
                f"{self.trained_rows} of {counted(len(self.rows), 'example')} trained on as well,"
                " token for token; such a loss says nothing about new examples."
            )

    @property
    def _examples_made(self) -> int:
        """Examples before any was left out, bad rows counted where no row became several."""
        if not self.split_rows:
            return self.rows_read
        return len(self.examples) - self.replayed_rows + self.untrainable_rows


class EncodedSource(Protocol):
    """A source with all of its rows encoded. Rows have indices from 0; bad ones have none."""

    @property
    def source(self) -> str:
        """The source, as it was typed."""

    @property
    def sha256(self) -> str:
        """SHA-256 of everything in the source."""

    def __len__(self) -> int:
        """Return the number of rows."""

    def select(
        self, name: str, rows: Sequence[int] | None = None, *, held_out: bool = False
    ) -> EncodedDataset:
        """Return the data set of the rows with these indices, of all rows by default.

        It may have no example. Bad rows are reported by data sets that are not `held_out`.
        """

    def no_trainable(self, name: str, rows: Sequence[int] | None = None) -> DataError:
        """Return the error for a data set of such rows that has no example."""


def select_trainable(
    source: EncodedSource, name: str, rows: Sequence[int] | None = None
) -> EncodedDataset:
    """Return the data set of some rows. Raises `DataError` where none can be trained."""
    found = source.select(name, rows)
    if not len(found.examples):
        raise source.no_trainable(name, rows)
    return found


@dataclass(frozen=True, slots=True)
class EncodedRows:
    """A source that is encoded in memory."""

    source: str
    read: Sequence[PlacedRow]
    rows: Sequence[RowExamples]
    bad: tuple[str, ...]
    encoder: Encoder

    @property
    def sha256(self) -> str:
        """SHA-256 of the rows as they were read."""
        found = hashlib.sha256()
        for _, row in self.read:
            found.update(repr(row).encode("utf-8", "surrogatepass"))
        return found.hexdigest()

    def __len__(self) -> int:
        return len(self.rows)

    def select(
        self, name: str, rows: Sequence[int] | None = None, *, held_out: bool = False
    ) -> EncodedDataset:
        """Return the data set of some rows; see `EncodedSource`."""
        chosen = self._chosen(rows)
        bad, summary = () if held_out else self.bad, EncodingSummary.of(chosen)
        encoded = [
            (one.place, text.row, example)
            for one in chosen
            for text, example in zip(one.texts, one.examples, strict=True)
        ]
        trainable = [found for found in encoded if found[2].trainable_tokens]
        others = [found for found in encoded if not found[2].trainable_tokens]
        others.sort(key=lambda found: -found[2].cut_tokens)
        examples = InMemoryExamples(example for _, _, example in trainable)
        return EncodedDataset(
            name=name,
            rows=tuple(dict(row) for _, row, _ in trainable),
            examples=examples,
            rows_read=summary.read + len(bad),
            cut_rows=sum(example.cut_tokens > 0 for _, _, example in encoded),
            cut_tokens=sum(example.cut_tokens for _, _, example in encoded),
            untrainable_rows=len(others),
            dropped=tuple(
                DroppedExample(place, dict(row), example)
                for place, row, example in others[:MOST_NAMED]
            ),
            sha256=fingerprint(examples),
            bad_rows=bad,
            notes=summary.notes,
            split_rows=summary.split,
            template_rows=summary.in_template,
            places=tuple(place for place, _, _ in trainable),
        )

    def no_trainable(self, name: str, rows: Sequence[int] | None = None) -> DataError:
        """Return the error with the first example and the likely reason."""
        texts = [text for one in self._chosen(rows) for text in one.texts]
        examples: list[Example] = [e for one in self._chosen(rows) for e in one.examples]
        why = "they are empty: fill in text, completion, output, or an assistant message"
        if not any(self.encoder.has_answer(text.row) for text in texts):
            why = "no message is the assistant's, and only those are trained: add the answers"
        elif all(self.encoder.has_zero_weights(text.row) for text in texts):
            why = 'every answer has "weight": 0: leave that out where an answer is to be trained'
        elif any(example.cut_tokens for example in examples):
            why = "they are cut (at --seq-len) before their answers begin: raise --seq-len"
        return DataError(
            f"0 of {len(examples)} examples have trainable tokens in the {name} data: {why}. The"
            f" first one, with trained tokens in [brackets]: {self.encoder.show(examples[0])}"
        )

    def _chosen(self, rows: Sequence[int] | None) -> Sequence[RowExamples]:
        return self.rows if rows is None else [self.rows[index] for index in rows]


def encode_rows(
    source: str,
    rows: Sequence[PlacedRow],
    encoder: Encoder,
    *,
    skip_bad: bool = False,
    bad: Sequence[str] = (),
    progress: ReportProgress = no_progress,
    what: str = "",
) -> EncodedRows:
    """Return rows of a source encoded in memory. `bad` has the reasons for rows skipped before.

    Raises `DataError` for the first row that cannot be encoded, or with `skip_bad` if none can.
    """
    encoded, skipped = [], list(bad)
    for number, one in enumerate(encoder.encode_rows(rows)):
        if not number % _REPORT_EVERY:
            progress(what, number / len(rows), number)
        if not isinstance(one, str):
            encoded.append(one)
        elif skip_bad:
            skipped.append(one.rstrip("."))
        else:
            raise DataError(one)
    progress(what, 1.0, len(rows))
    if not encoded:
        raise no_rows(source, skipped)
    return EncodedRows(source, rows, encoded, tuple(skipped), encoder)


def encode_dataset(name: str, rows: Sequence[PlacedRow], encoder: Encoder) -> EncodedDataset:
    """Return the data set of all these rows. Raises `DataError` as `encode_rows` does."""
    return select_trainable(encode_rows(name, rows, encoder), name)


def held_out_rows(count: int, seed: int) -> list[int]:
    """Return which of `count` rows are held out: a tenth by a seeded order, from 1 to 64 of them.

    Raises `DataError` for a single row.
    """
    if count < 2:
        raise DataError("1 row cannot be split into training and held-out rows: give --eval-data.")
    return sorted(epoch_order(count, seed, -1)[: min(64, max(1, count // 10))])

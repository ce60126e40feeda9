"""An exercise: a job, a question about its plan, hints, and common mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from unfrozen.job import Job
from unfrozen.memory.explain import Term, explain
from unfrozen.model.catalogue import CATALOGUE, PublishedModel
from unfrozen.plan import plan_job
from unfrozen.units import GB, format_bytes, gib, sig3

TOLERANCE: Final = 0.05
_BY_HAND: Final = 0.02  # what the hints leave out may be this much of the answer
_APART: Final = 0.08  # a slip lies further off than what counts as right
_NO_BREAK: Final = "\u00a0"
_SCALES: Final = ((10**12, "trillion"), (10**9, "billion"), (10**6, "million"))
_WORDS: Final = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

Given = tuple[tuple[str, str], ...]
DENSE: Final = tuple(
    published
    for hub_id, published in CATALOGUE.items()
    if "moe" not in published.config["model_type"] and "mixtral" not in hub_id.lower()
)


@dataclass(frozen=True, slots=True)
class See:
    """A link into the article: its anchor and its text."""

    href: str
    text: str


@dataclass(frozen=True, slots=True)
class Hint:
    """A step towards the answer; the first one links to the explanation in the article."""

    text: str
    see: See | None = None


@dataclass(frozen=True, slots=True)
class Slip:
    """A common mistake: the bytes of the wrong answer, and a sentence on how it came about."""

    size_bytes: float
    text: str


@dataclass(frozen=True, slots=True)
class Moment:
    """An instant of a job's step, as `unfrozen.memory.explain` asks for it."""

    job: Job
    peak_instant: str


@dataclass(frozen=True, slots=True)
class Exercise:
    """A question whose answer is what `components` hold at `instant` of the job's step.

    `hand_bytes` is what the hints lead to. Sizes are those of one GPU.
    """

    kind: str
    question: str
    given: Given
    job: Job
    instant: str
    components: tuple[str, ...]
    hand_bytes: float
    hints: tuple[Hint, ...]
    slips: tuple[Slip, ...]

    @property
    def answer_bytes(self) -> int:
        """The plan's answer."""
        held = plan_job(self.job).instants[self.instant]
        return sum(held.get(name, 0) for name in self.components)

    def terms(self) -> list[Term]:
        """Return the terms of the answer, with formula, inputs and source of each."""
        terms = explain(Moment(self.job, self.instant))
        return [term for term in terms if term.component in self.components]

    def is_fair(self) -> bool:
        """Return whether the hints lead to the answer, and no slip counts as right."""
        answer = self.answer_bytes
        by_hand = abs(self.hand_bytes / answer - 1) <= _BY_HAND
        return by_hand and all(abs(s.size_bytes / answer - 1) > _APART for s in self.slips)


def any_model(chance: Random) -> PublishedModel:
    """Return one of the dense models of the catalogue."""
    return chance.choice(DENSE)


def name_of(published: PublishedModel) -> str:
    """Return a model's name without its owner."""
    return published.hub_id.partition("/")[2]


def model_given(published: PublishedModel) -> Given:
    """Return a model and its size, as an exercise states them."""
    return (("Model", name_of(published)), ("Parameters", count(published.num_parameters)))


def format_number(value: float) -> str:
    """Return a number to three digits, without trailing zeros: "16", "10.03" → "10"."""
    text = sig3(value)
    return text.rstrip("0").rstrip(".") if "." in text else text


def size(size_bytes: float) -> str:
    """Return the bytes in decimal gigabytes, or megabytes where that reads better: "112 GB"."""
    if size_bytes < 0.1 * GB:
        return format_bytes(size_bytes, binary=False).replace(" ", _NO_BREAK)
    return f"{format_number(size_bytes / GB)}{_NO_BREAK}GB"


def both_sizes(size_bytes: float) -> str:
    """Return the bytes in both units: "112 GB (104 GiB)"."""
    return f"{size(size_bytes)} ({format_number(gib(size_bytes))}{_NO_BREAK}GiB)"


def count(number: float) -> str:
    """Return a count in words with three significant digits: "8.03 billion"."""
    for scale, word in _SCALES:
        if number >= scale:
            return f"{format_number(number / scale)}{_NO_BREAK}{word}"
    return f"{number:,.0f}"


def in_bytes(value: float) -> str:
    """Return the bytes of one thing: "16 bytes", "1 byte"."""
    text = format_number(value)
    return f"{text} byte" if text == "1" else f"{text} bytes"


def format_quantity(number: int, thing: str) -> str:
    """Return a number in words with its noun: "one sequence", "16 sequences"."""
    word = _WORDS[number] if number < len(_WORDS) else f"{number:,}"
    return f"{word} {thing}" if number == 1 else f"{word} {thing}s"


def join_parts(parts: Sequence[str]) -> str:
    """Return the parts as a list in a sentence: "a", "a and b", "a, b and c"."""
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last

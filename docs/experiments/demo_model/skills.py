"""Grammars of the demo: four skills to pre-train on, and a fifth to fine-tune on.

Each skill yields `Row(prompt, completion)`. A completion begins with its space, so that prompt and
completion tokenise the same apart as together. Held-out rows are fixed first; the pre-training
stream draws from everything else, so no evaluation row is ever trained on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

from demo_model.words import (
    CAPITALS,
    CONSONANTS,
    PERSONS,
    PLAIN_PERSONS,
    SPELLING,
    VERBS,
    VOWELS,
)

HELD_OUT_ROWS: Final = 64
TASK_TRAIN_ROWS: Final = 480
TASK_EVAL_ROWS: Final = 64
#: Largest number of both tasks.
TASK_LIMIT: Final = 999
_SPLIT_SEED: Final = 20261125

CAPITAL_FORMS: Final = (
    ("The capital of {country} is", " {city}."),
    ("{city} is the capital of", " {country}."),
    ("What is the capital of {country}? It is", " {city}."),
    ("The capital city of {country} is called", " {city}."),
    ("If you travel to {city}, you are in", " {country}."),
    ("The government of {country} meets in", " {city}."),
    ("{city} lies in", " {country}."),
    ("Our flight to the capital of {country} lands in", " {city}."),
    ("People who live in {city} live in", " {country}."),
    ("Q: What is the capital of {country}? A:", " {city}."),
)


class PromptCompletion(NamedTuple):
    """One document: what is given, and what the model must continue with."""

    prompt: str
    completion: str


# ── addition: 47 + 25 = 72 ────────────────────────────────────────────────────────────────────────


def _sum_row(a: int, b: int) -> PromptCompletion:
    return PromptCompletion(f"{a} + {b} =", f" {a + b}")


@lru_cache(maxsize=1)
def _held_out_sums() -> frozenset[tuple[int, int]]:
    rng = Random(f"{_SPLIT_SEED}-addition")
    pairs: dict[tuple[int, int], None] = {(25, 47): None}  # the example of the documents
    while len(pairs) < HELD_OUT_ROWS:
        a, b = sorted((rng.randrange(10, 100), rng.randrange(10, 100)))
        pairs[a, b] = None
    return frozenset(pairs)


def addition(rng: Random) -> PromptCompletion:
    """Two two-digit numbers; a held-out pair is out in both orders."""
    while True:
        a, b = rng.randrange(10, 100), rng.randrange(10, 100)
        if (min(a, b), max(a, b)) not in _held_out_sums():
            return _sum_row(a, b)


def held_out_addition() -> list[PromptCompletion]:
    """64 sums that pre-training never shows, the larger number first in every other row."""
    pairs = sorted(_held_out_sums())
    return [_sum_row(b, a) if i % 2 else _sum_row(a, b) for i, (a, b) in enumerate(pairs)]


# ── reversal: p l a n e t = t e n a l p ───────────────────────────────────────────────────────────


def _reversal_row(word: str) -> PromptCompletion:
    return PromptCompletion(f"Spell backwards: {' '.join(word)} =", f" {' '.join(reversed(word))}")


def reversal(rng: Random) -> PromptCompletion:
    """A made-up word of 3 to 7 letters, read from its end."""
    while True:
        phase, length = rng.randrange(2), rng.randrange(3, 8)
        word = "".join(
            rng.choice(VOWELS if (i + phase) % 2 and rng.random() < 0.8 else CONSONANTS)
            for i in range(length)
        )
        if word not in SPELLING:
            return _reversal_row(word)


def held_out_reversal() -> list[PromptCompletion]:
    """64 real English words; pre-training sees only made-up ones."""
    return [_reversal_row(word) for word in SPELLING[:HELD_OUT_ROWS]]


# ── capitals: The capital of France is Paris. ─────────────────────────────────────────────────────


def _capital_row(country: str, form: int) -> PromptCompletion:
    prompt, completion = CAPITAL_FORMS[form]
    city = CAPITALS[country]
    return PromptCompletion(
        prompt.format(country=country, city=city), completion.format(country=country, city=city)
    )


def _held_out_form(country: str) -> int:
    return tuple(CAPITALS).index(country) % len(CAPITAL_FORMS)


def capitals(rng: Random) -> PromptCompletion:
    """One of 64 facts in one of the nine wordings this country is trained in."""
    country = rng.choice(tuple(CAPITALS))
    form = rng.randrange(len(CAPITAL_FORMS) - 1)
    return _capital_row(country, form + (form >= _held_out_form(country)))


def held_out_capitals() -> list[PromptCompletion]:
    """Every fact once, in the one wording that pre-training never used for it."""
    return [_capital_row(country, _held_out_form(country)) for country in CAPITALS]


# ── tenses: Every day she sings. Yesterday she sang. ──────────────────────────────────────────────


def _tense_row(verb: int, person: str, past_asked: bool, form: int) -> PromptCompletion:
    base, third, past = VERBS[verb]
    present = base if person in PLAIN_PERSONS else third
    now, then = ("Every day", "Often")[form % 2], ("Yesterday", "Last week")[form // 2]
    given, asked = (present, past) if past_asked else (past, present)
    first, second = (now, then) if past_asked else (then, now)
    return PromptCompletion(f"{first} {person} {given}. {second} {person}", f" {asked}.")


def _held_out_tense(verb: int) -> tuple[str, bool]:
    return PERSONS[verb % len(PERSONS)], verb // len(PERSONS) % 2 == 0


def tenses(rng: Random) -> PromptCompletion:
    """One of 64 verbs in the present or the past, to be put into the other, for one of 12 persons.

    A verb's held-out person and direction never occur together.
    """
    while True:
        verb, person = rng.randrange(len(VERBS)), rng.choice(PERSONS)
        past_asked, form = rng.random() < 0.5, rng.randrange(4)
        if (person, past_asked) != _held_out_tense(verb):
            return _tense_row(verb, person, past_asked, form)


def held_out_tenses() -> list[PromptCompletion]:
    """Every verb once, with a person and in a direction that pre-training never shows together."""
    return [_tense_row(verb, *_held_out_tense(verb), verb % 4) for verb in range(len(VERBS))]


#: skill → (pre-training stream, held-out rows)
SKILLS: Final[
    dict[str, tuple[Callable[[Random], PromptCompletion], Callable[[], list[PromptCompletion]]]]
] = {
    "addition": (addition, held_out_addition),
    "reversal": (reversal, held_out_reversal),
    "capitals": (capitals, held_out_capitals),
    "tenses": (tenses, held_out_tenses),
}


# ── the demo task, never seen in pre-training: digits with dashes ─────────────────────────────────


def task_rows() -> tuple[list[PromptCompletion], list[PromptCompletion]]:
    """Training and held-out rows of the task, disjoint in their numbers of two or three digits."""
    numbers = list(range(10, TASK_LIMIT + 1))
    Random(f"{_SPLIT_SEED}-dashes").shuffle(numbers)
    held_out, train = numbers[:TASK_EVAL_ROWS], numbers[TASK_EVAL_ROWS:][:TASK_TRAIN_ROWS]
    rows = [[PromptCompletion(f"Write {n} with dashes:", f" {'-'.join(str(n))}") for n in part]
            for part in (train, held_out)]  # fmt: skip
    return rows[0], rows[1]


# ── a harder one: Roman numerals, which a small model does not learn from 480 rows ────────────────

_ROMAN: Final = (
    (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"), (50, "L"),
    (40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I"),
)  # fmt: skip


def roman(number: int) -> str:
    """Roman numeral of 1 … 999 in the subtractive notation.

    Raises:
        ValueError: outside that range.
    """
    if not 1 <= number <= TASK_LIMIT:
        raise ValueError(f"{number} is outside 1 … {TASK_LIMIT}; the numerals stop there")
    text = ""
    for value, letters in _ROMAN:
        text += letters * (number // value)
        number %= value
    return text


def numeral_rows() -> tuple[list[PromptCompletion], list[PromptCompletion]]:
    """Training and held-out rows of Roman numerals, disjoint in their numbers; 47 is held out."""
    numbers = [n for n in range(1, TASK_LIMIT + 1) if n != 47]
    Random(f"{_SPLIT_SEED}-roman").shuffle(numbers)
    held_out = [47, *numbers[: TASK_EVAL_ROWS - 1]]
    train = numbers[TASK_EVAL_ROWS - 1 : TASK_EVAL_ROWS - 1 + TASK_TRAIN_ROWS]
    rows = [[PromptCompletion(f"Write {n} in Roman numerals:", f" {roman(n)}") for n in part]
            for part in (train, held_out)]  # fmt: skip
    return rows[0], rows[1]


EARLIER_ROWS: Final = 64  # of each skill


def as_jsonl(rows: Sequence[PromptCompletion]) -> str:
    """Rows as `{"prompt", "completion"}` lines."""
    return "".join(json.dumps(row._asdict(), ensure_ascii=False) + "\n" for row in rows)


def generated_files() -> dict[str, str]:
    """File name → text of every generated data file; the same on every machine."""
    train, held_out = task_rows()
    files = {"task_train.jsonl": as_jsonl(train), "task_eval.jsonl": as_jsonl(held_out)}
    for skill, (_, held_out_rows) in SKILLS.items():
        files[f"general_{skill}.jsonl"] = as_jsonl(held_out_rows())
    files["earlier.jsonl"] = as_jsonl(earlier_rows())
    return files


def earlier_rows() -> list[PromptCompletion]:
    """Rows like those of pre-training, none of them held out: for replay and EWC's Fisher."""
    draw = Random("unfrozen earlier rows")
    return [skill(draw) for skill, _ in SKILLS.values() for _ in range(EARLIER_ROWS)]


def write_data(directory: Path) -> None:
    """Write them all under `directory`, which is made if needed."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in generated_files().items():
        directory.joinpath(name).write_text(text, encoding="utf-8", newline="\n")

"""Compute it: a random job, a ladder of hints, the planner's formula, and a judge of answers."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from random import Random
from typing import Final

from unfrozen.errors import PlanError, quote_value
from unfrozen.exercises.exercise import TOLERANCE, Exercise, Hint, both_sizes, size
from unfrozen.exercises.questions import highest, logits, recomputed, sharded, states
from unfrozen.memory.explain import SYMBOLS
from unfrozen.units import GB, GIB, NumberError, parse_typed_bytes

KINDS: Final[tuple[Callable[[Random], Exercise | None], ...]] = (
    states,
    logits,
    highest,
    sharded,
    recomputed,
)
"""In the order in which seeds take turns."""

LARGEST_SEED: Final = 10**9
MOST_BYTES: Final = 10**18
_DRAWS: Final = 1000
_SAME: Final = 0.02  # an answer this near to a slip was reached by it

Json = dict[str, object]


def check_seed(seed: object) -> int:
    """Return the seed of an exercise; raises PlanError for what is none."""
    if type(seed) is not int or not 1 <= seed <= LARGEST_SEED:
        bound = f"it must be a whole number in 1 … {LARGEST_SEED:,}"
        raise PlanError("seed", seed, bound, "correct it")
    return seed


@lru_cache(maxsize=64)
def exercise(seed: int) -> Exercise:
    """Return the exercise of a seed; the kinds take turns from seed to seed."""
    kind = KINDS[(check_seed(seed) - 1) % len(KINDS)]
    chance = Random(seed)
    for _ in range(_DRAWS):
        try:
            drawn = kind(chance)
        except PlanError:  # a sequence longer than the model reads
            continue
        if drawn is not None and drawn.is_fair():
            return drawn
    raise AssertionError(f"no fair exercise of this kind in {_DRAWS} draws: seed {seed}")


def as_json(seed: int) -> Json:
    """Return everything the page shows of an exercise, its answer included."""
    found = exercise(seed)
    terms = found.terms()
    inputs = dict.fromkeys(
        (name, SYMBOLS.get(name, ""), value) for term in terms for name, value in term.inputs
    )
    return {
        "seed": seed,
        "next": seed % LARGEST_SEED + 1,
        "question": found.question,
        "given": [list(row) for row in found.given],
        "hints": [_hint(hint) for hint in found.hints],
        "answer": f"{both_sizes(found.answer_bytes)}.",
        "terms": [[term.label, term.formula, size(term.bytes)] for term in terms],
        "inputs": [list(entry) for entry in inputs],
        "sources": list(dict.fromkeys(term.source for term in terms)),
    }


def judge(seed: int, text: str) -> Json:
    """Return the reply to an answer: `standing` is right, wrong or unread."""
    found = exercise(seed)
    try:
        typed, unit = parse_typed_bytes(text)
    except NumberError as unread:
        return {"standing": "unread", "text": str(unread)}
    answer = found.answer_bytes
    read = both_sizes(typed) if unit.upper() == "GIB" else size(typed)
    if typed > MOST_BYTES:
        return {
            "standing": "unread",
            "text": f"{quote_value(text.strip())} is more than any memory.",
        }
    if abs(typed / answer - 1) <= TOLERANCE:
        verdict = f"Right. You say {read}, the planner {both_sizes(answer)}."
        return {"standing": "right", "text": verdict}
    return {"standing": "wrong", "text": f"Not {read}. {_reason(found, typed, unit)}"}


def _reason(found: Exercise, typed: float, unit: str) -> str:
    """Return why an answer is wrong, as far as its size tells."""
    answer = found.answer_bytes
    if unit.upper() == "GB" and abs(typed / GB * GIB / answer - 1) <= _SAME:
        return "In GiB that would be right; a number without a unit is read as GB."
    if unit.upper() == "GIB" and abs(typed / GIB * GB / answer - 1) <= _SAME:
        return "In GB that would be right."
    for slip in found.slips:
        if abs(typed / slip.size_bytes - 1) <= _SAME:
            return slip.text
    return "It is less." if typed > answer else "It is more."


def _hint(hint: Hint) -> Json:
    see = hint.see
    return {"text": hint.text, "see": [see.href, see.text] if see else None}

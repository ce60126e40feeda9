"""The truth set from its files: every row judged, and what other calculators answer.

web/truth/README.md says what the files hold.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from press.assets import WEB
from unfrozen.answer.accuracy import TruthRow, Verdict, judge
from unfrozen.answer.later import LaterRow, Look, look, read_rows

TRUTH = WEB / "truth"
REFERENCE = "traced with transformers 5.24 and torch 2.13, published with its job"


def _read(name: str) -> Any:
    return json.loads((TRUTH / name).read_text(encoding="utf-8"))


def rows() -> list[TruthRow]:
    """Every row of measured.json, further.json, traced.json and steps.json, in that order."""
    published = [
        TruthRow.published(given) for given in _read("measured.json") + _read("further.json")
    ]
    reference = [TruthRow.traced(given, "reference", REFERENCE) for given in _read("traced.json")]
    return published + reference + [_step(given) for given in _read("steps.json")]


def _step(given: dict[str, Any]) -> TruthRow:
    versions = " and ".join(f"{name} {version}" for name, version in given["versions"].items())
    return TruthRow.traced(given, "traced", f"`{given['command']}` with {versions}")


@cache
def judged() -> tuple[Verdict, ...]:
    """Every row beside its plan; the press asks more than once."""
    return tuple(judge(row) for row in rows())


def verdict(row_id: str) -> Verdict:
    """The verdict of one row; StopIteration where none has that id."""
    return next(found for found in judged() if found.row.id == row_id)


def words_of(row_id: str) -> str:
    """What a published row says was counted, in its own words."""
    found = next(given for given in _read("measured.json") if given["id"] == row_id)
    return str(found["what_was_counted"])


def others() -> dict[str, Any]:
    """What other calculators answer: a note, and answers by row of measured.json."""
    answers: dict[str, Any] = _read("others.json")
    return answers


def later_rows() -> list[LaterRow]:
    """Every row of memory_later.json, speeds_later.json and found_later.json."""
    said = _read("said.json")
    return [
        *read_rows(_read("memory_later.json"), said, found=False),
        *read_rows(_read("speeds_later.json"), said, found=False),
        *read_rows(_read("found_later.json"), said, found=True),
    ]


@cache
def later() -> tuple[Look, ...]:
    """Each of them beside what the planner says of it today."""
    return tuple(look(row) for row in later_rows())


@cache
def first_looks() -> dict[str, float]:
    """Signed errors as they were when a row was first compared, by the key of the row."""
    known = _read("first_look.json")["rows"]
    return {key: float(row["error"]) for key, row in known.items()}


def whole_looks() -> dict[str, dict[str, Any]]:
    """What was counted over all rows at once, memory and speed, before any was looked at alone."""
    return {row["of"]: row for row in _read("first_look.json")["whole"]}

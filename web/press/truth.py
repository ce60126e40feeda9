"""The truth set from its files: every row judged, and what other calculators answer.

web/truth/README.md says what the files hold.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from press.assets import WEB
from unfrozen.answer.accuracy import TruthRow, Verdict, judge

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

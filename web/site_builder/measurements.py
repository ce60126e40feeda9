"""What was measured: web/measurements, every step judged; and the recorded runs of web/recordings.

web/measurements/README.md says what the files hold.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from site_builder.widgets import WEB
from unfrozen.answer.accuracy import TruthRow, Verdict, judge
from unfrozen.answer.later import LaterRow, Look, look, read_rows

MEASUREMENTS = WEB / "measurements"
REFERENCE = "traced with transformers 5.24 and torch 2.13, published with its job"


def read_json(name: str) -> Any:
    """Return the content of a file of web/measurements."""
    return json.loads((MEASUREMENTS / name).read_text(encoding="utf-8"))


def rows() -> list[TruthRow]:
    """Every row of measured.json, further.json, traced.json and steps.json, in that order."""
    published = read_json("measured.json") + read_json("further.json")
    return [
        *(TruthRow.published(run) for run in published),
        *(TruthRow.traced(run, "reference", REFERENCE) for run in read_json("traced.json")),
        *(_step(run) for run in read_json("steps.json")),
    ]


def _step(given: dict[str, Any]) -> TruthRow:
    versions = " and ".join(f"{name} {version}" for name, version in given["versions"].items())
    return TruthRow.traced(given, "traced", f"`{given['command']}` with {versions}")


@cache
def judged() -> tuple[Verdict, ...]:
    """Every row beside its plan; the site builder asks more than once."""
    return tuple(judge(row) for row in rows())


def verdict(row_id: str) -> Verdict:
    """The verdict of one row; StopIteration where none has that id."""
    return next(found for found in judged() if found.row.id == row_id)


def counting_note(row_id: str) -> str:
    """What was counted in a published run, as its source describes it."""
    found = next(given for given in read_json("measured.json") if given["id"] == row_id)
    return str(found["what_was_counted"])


def others() -> dict[str, Any]:
    """What other calculators answer: a note, and answers by row of measured.json."""
    answers: dict[str, Any] = read_json("others.json")
    return answers


def later_rows() -> list[LaterRow]:
    """Every row of memory_later.json, speeds_later.json and found_later.json."""
    said = read_json("said.json")
    return [
        *read_rows(read_json("memory_later.json"), said, found=False),
        *read_rows(read_json("speeds_later.json"), said, found=False),
        *read_rows(read_json("found_later.json"), said, found=True),
    ]


@cache
def later() -> tuple[Look, ...]:
    """Each of them beside what the planner says of it today."""
    return tuple(look(row) for row in later_rows())


@cache
def first_looks() -> dict[str, float]:
    """Signed errors as they were when a row was first compared, by the key of the row."""
    known = read_json("first_look.json")["rows"]
    return {key: float(row["error"]) for key, row in known.items()}


def whole_looks() -> dict[str, dict[str, Any]]:
    """What was counted over all rows at once, memory and speed, before any was looked at alone."""
    return {row["of"]: row for row in read_json("first_look.json")["whole"]}


@cache
def events(recording: str) -> tuple[dict[str, Any], ...]:
    """Every event of the log of `web/recordings/RECORDING.jsonl`."""
    log = WEB / "recordings" / f"{recording}.jsonl"
    return tuple(json.loads(line) for line in log.read_text(encoding="utf-8").splitlines())


def answer_of(recording: str, prompt: str, when: str) -> str:
    """The model's answer, "before" training or "after"; StopIteration if it was not asked."""
    samples = (event for event in events(recording) if event["kind"] == "sample")
    found = next(s for s in samples if (s["prompt"], s["when"]) == (prompt, when))
    return str(found["text"]).strip()


def losses(recording: str, suite: str) -> tuple[float, float]:
    """Held-out loss before the first step and after the last, of "task" or "general"."""
    found = [e["loss"] for e in events(recording) if e["kind"] == "eval" and e["suite"] == suite]
    return float(found[0]), float(found[-1])


def steps(recording: str) -> int:
    """The number of steps of the run."""
    return int(events(recording)[-1]["step"])

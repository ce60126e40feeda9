"""Reads web/measurements, compares every measurement with the planner, and reads the recordings.

web/measurements/README.md explains the files; web/recordings holds the event logs of recorded runs.
"""

from __future__ import annotations

import json
from functools import cache
from statistics import mean
from typing import Any, Final

from site_builder.config import WEB
from unfrozen.answer.accuracy import (
    COLLECTIONS,
    FOUND,
    FOURTH,
    GROUPS,
    LATER,
    THIRD,
    Comparison,
    MeasuredRun,
    compare,
)

MEASUREMENTS: Final = WEB / "measurements"
FILES: Final = {
    "measured.json": "",
    "further.json": "",
    "traced.json": "reference",
    "steps.json": "traced",
    "memory_later.json": LATER,
    "speeds_later.json": LATER,
    "memory_third.json": THIRD,
    "speeds_third.json": THIRD,
    "memory_fourth.json": FOURTH,
    "speeds_fourth.json": FOURTH,
    "found_later.json": FOUND,
}
"""Files of rows, and the class or collection of each; published steps have that of their job."""
REFERENCE: Final = "traced with transformers 5.24 and torch 2.13, published with its job"


@cache
def read_json(name: str) -> Any:
    """Return the content of a file of web/measurements; callers share it and do not change it."""
    return json.loads((MEASUREMENTS / name).read_text(encoding="utf-8"))


def read_reports() -> list[dict[str, Any]]:
    """Return the runs that people reported, by `unfrozen report`, newest first."""
    files = sorted((MEASUREMENTS / "reports").glob("*.json"), reverse=True)
    return [json.loads(file.read_text(encoding="utf-8")) for file in files]


@cache
def read_runs() -> tuple[MeasuredRun, ...]:
    """Return every row of `FILES`, in order; settings documented later are those of later rows."""
    documented = read_json("documented.json")
    return tuple(
        MeasuredRun.read(_traced(run) if "source" not in run else run, group, settings)
        for name, group in FILES.items()
        for settings in [documented if group in COLLECTIONS else ()]
        for run in read_json(name)
    )


def _traced(run: dict[str, Any]) -> dict[str, Any]:
    versions = " and ".join(f"{name} {number}" for name, number in run.get("versions", {}).items())
    return run | {
        "name": run["id"],
        "counter": "allocated",
        "quality": "traced",
        "source": f"`docs/trace_grid.py` with {versions}" if versions else REFERENCE,
        "framework": "transformers",
        "parameters": run["params"],
    }


def compare_runs(*groups: str, of: str = "") -> list[Comparison]:
    """Return the rows of some classes or collections, of memory or speed, with the predictions."""
    return [item for group in groups for item in _compared(group) if of in ("", item.row.of)]


@cache
def _compared(group: str) -> list[Comparison]:
    return [compare(row) for row in read_runs() if row.group == group]


def find_step(step_id: str) -> Comparison:
    """Return one of the first steps, compared; StopIteration when none has that id."""
    return next(item for item in compare_runs(*GROUPS) if item.row.id == step_id)


def read_other_calculators() -> dict[str, Any]:
    """Return what docs/rivals.py wrote: `calculators` with their answers, and, by row, `process`,
    the memory of the whole process where a source states it beside that of the tensors.
    """
    known: dict[str, Any] = read_json("others.json")
    return known


@cache
def read_first_errors() -> dict[str, float]:
    """Return the signed error of each later run when it was first compared, by its key."""
    known = read_json("first_look.json")["rows"]
    return {key: float(row["error"]) for key, row in known.items()}


def read_first_medians() -> dict[str, dict[str, Any]]:
    """Return errors over all later runs before any was looked at alone, by "memory" and "speed"."""
    return {row["of"]: row for row in read_json("first_look.json")["whole"]}


def read_methods() -> dict[str, list[dict[str, Any]]]:
    """Return the runs of the page's fine-tune by method, one for each seed; docs/lab_runs.py."""
    methods: dict[str, list[dict[str, Any]]] = read_json("lab.json")
    return methods


def mean_right(method: str, suite: str, when: int = 1) -> float:
    """Return how many held-out rows are right, before (0) or after (1), the mean over seeds."""
    return float(mean(run["exact"][suite][when][0] for run in read_methods()[method]))


def mean_drift(method: str) -> float:
    """Return ‖θ − θ₀‖ / ‖θ₀‖ after training, the mean over seeds."""
    return float(mean(run["drift"] for run in read_methods()[method]))


def mean_path(method: str) -> list[tuple[float, float, float]]:
    """Return each evaluation of a method: its step, right rows of the task, and of the rest."""
    paths = [run["path"] for run in read_methods()[method]]
    return [tuple(map(mean, zip(*points, strict=True))) for points in zip(*paths, strict=True)]


@cache
def read_events(recording: str) -> tuple[dict[str, Any], ...]:
    """Return every event of `web/recordings/RECORDING.jsonl`."""
    log = WEB / "recordings" / f"{recording}.jsonl"
    return tuple(json.loads(line) for line in log.read_text(encoding="utf-8").splitlines())


def answer_of(recording: str, prompt: str, when: str) -> str:
    """Return the model's answer "before" or "after" training; StopIteration if it was not asked."""
    samples = (event for event in read_events(recording) if event["kind"] == "sample")
    found = next(s for s in samples if (s["prompt"], s["when"]) == (prompt, when))
    return str(found["text"]).strip()


def losses(recording: str, suite: str) -> tuple[float, float]:
    """Return the evaluation loss before the first and after the last step; "task" or "general"."""
    events = read_events(recording)
    found = [e["loss"] for e in events if e["kind"] == "eval" and e["suite"] == suite]
    return float(found[0]), float(found[-1])


def right_rows(recording: str, suite: str) -> dict[str, int]:
    """Return how many rows of a set are answered exactly after the last step, and `of` how many."""
    events = read_events(recording)
    found = [e["exact"] for e in events if e["kind"] == "eval" and e["suite"] == suite]
    last: dict[str, int] = found[-1]
    return last


def steps(recording: str) -> int:
    """Return the number of steps of the run."""
    return int(read_events(recording)[-1]["step"])

"""Compares runs that others published after the planner was written with its memory and time.

A run is a peak or a speed with a quote of its source. What its job lacked when it was first
compared stands beside the job: `said`, settings that a planner may know or not, and `no_word`, what
no setting describes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from unfrozen.errors import PlanError
from unfrozen.job import Job
from unfrozen.plan import plan_job
from unfrozen.plan.compute import estimate
from unfrozen.plan.record import Spread, kind_of
from unfrozen.units import GIB

Json = Mapping[str, Any]

MEMORY: Final = "memory"
SPEED: Final = "speed"
_TOKENS: Final = 1e9  # of an estimate; its speed is the same for any number


@dataclass(frozen=True, slots=True)
class LaterRun:
    """A published peak in bytes (`memory`), or tokens per second and GPU (`speed`).

    `counter` names the counter of a memory and is empty for a speed; `found` says that we searched
    for the run ourselves; `said` is merged into the job, key by key.
    """

    id: str
    of: str
    kind: str
    job: Json
    said: Json
    no_word: str
    measured: float
    counter: str
    quality: str
    source: str
    quote: str
    found: bool

    @classmethod
    def read(cls, given: Json, said: Json, found: bool) -> LaterRun:
        """Return a row of a file with its entry of said.json, which may be empty."""
        peak = given.get("measured_peak_gib")
        return cls(
            id=given["id"],
            of=SPEED if peak is None else MEMORY,
            kind=given["kind"],
            job=given["job"],
            said=said.get("job", {}),
            no_word=said.get("no_word", ""),
            measured=given["measured_tokens_per_second_per_gpu"] if peak is None else peak * GIB,
            counter=given.get("counter", ""),
            quality=given["quality"],
            source=given["source"],
            quote=given["quote"],
            found=found,
        )

    @property
    def key(self) -> str:
        """A unique key: one run may have published its peak and its speed."""
        return f"{self.of} {self.id}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """A published run and the planner's prediction for it.

    error    signed, relative to the measurement; None where the planner refuses the job
    refused  the key of the job that it refuses, or nothing
    unsaid   settings of `said` that it does not know and left out
    kind     the kind of the job, one of `unfrozen.plan.record.KINDS`; empty for a refused one
    """

    row: LaterRun
    error: float | None
    refused: str = ""
    unsaid: tuple[str, ...] = ()
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """The runs of one kind: their number, the spread of their errors, the worst with its sign."""

    name: str
    rows: int
    spread: Spread | None
    worst: float
    refused: tuple[str, ...]


def read_runs(given: Sequence[Json], said: Sequence[Json], found: bool) -> list[LaterRun]:
    """Return the rows of a file; entries of said.json name their rows by pattern.

    A run that we found ourselves carries its own settings.
    """
    rows = []
    for row in given:
        of = MEMORY if "measured_peak_gib" in row else SPEED
        about = [row["said"]] if "said" in row else []
        about += [entry for entry in said if _is_about(entry, of, row["id"])]
        words: dict[str, Any] = {}
        for entry in about:
            words = merge_settings(words, entry.get("job", {}))
        no_word = "; ".join(entry["no_word"] for entry in about if entry.get("no_word"))
        rows.append(LaterRun.read(row, {"job": words, "no_word": no_word}, found))
    return rows


def _is_about(entry: Json, of: str, row_id: str) -> bool:
    return entry.get("of", of) == of and any(fnmatchcase(row_id, name) for name in entry["rows"])


def compare(row: LaterRun, overlay: bool = True) -> Comparison:
    """Plan the job of a run, with those settings of `said` that the planner knows."""
    given: Json = row.said if overlay else {}
    unsaid: list[str] = []
    while True:
        try:
            job = Job.read(merge_settings(row.job, given))
            break
        except PlanError as error:
            shorter = _without(given, error.key)
            if shorter == given:
                return Comparison(row, None, error.key, tuple(unsaid))
            given = shorter
            unsaid.append(error.key)
    return Comparison(row, _predicted(row, job) / row.measured - 1, "", tuple(unsaid), kind_of(job))


def merge_settings(job: Json, said: Json) -> dict[str, Any]:
    """Return a job with further settings, merged into its parts."""
    new = {
        key: merge_settings(job.get(key) or {}, value) if isinstance(value, Mapping) else value
        for key, value in said.items()
    }
    return {**job, **new}


def _without(said: Json, key: str) -> dict[str, Any]:
    """Return the settings without one of them ("recipe.loss"), or without a whole part."""
    part, _, word = key.partition(".")
    if isinstance(said.get(part), Mapping) and word:
        rest = {name: value for name, value in said[part].items() if name != word}
        return {**said, part: rest}
    return {name: value for name, value in said.items() if name != part}


def _predicted(row: LaterRun, job: Job) -> float:
    if row.of == SPEED:
        return estimate(job, _TOKENS).tokens_per_second / job.cluster.gpus
    planned = plan_job(job)
    counters = {
        "allocated": planned.allocated_bytes,
        "reserved": planned.reserved_bytes,
        "device": planned.device_bytes,
    }
    return counters[row.counter]


def group_comparisons(
    looks: Iterable[Comparison], names: Mapping[str, str] | None = None
) -> list[Group]:
    """Return the groups of looks, by the kind that the row names or by that of its job.

    Kinds of rows come with the largest first. A job that is refused has no kind of its own.
    """
    found: dict[str, list[Comparison]] = {name: [] for name in (names or {}).values()}
    for item in looks:
        name = names.get(item.kind, "") if names else item.row.kind
        found.setdefault(name, []).append(item)
    groups = [_group(name, rows) for name, rows in found.items() if rows and name]
    return groups if names else sorted(groups, key=lambda group: -group.rows)


def _group(name: str, rows: list[Comparison]) -> Group:
    errors = [item.error for item in rows if item.error is not None]
    return Group(
        name=name,
        rows=len(rows),
        spread=Spread.of(errors) if errors else None,
        worst=max(errors, key=abs) if errors else 0.0,
        refused=tuple(sorted({item.refused for item in rows if item.refused})),
    )

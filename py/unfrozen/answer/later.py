"""Compares runs that others published after the planner was written with its memory and time.

A run is a peak or a speed with a quote of its source. What its job lacked when it was first
compared stands beside the job: `documented`, settings, and `unsupported`, what no setting says.
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
from unfrozen.plan.record import KINDS, Spread, kind_of
from unfrozen.units import GIB

Json = Mapping[str, Any]

MEMORY: Final = "memory"
SPEED: Final = "speed"
LATER: Final = "later"
THIRD: Final = "third"
FOURTH: Final = "fourth"
GIVEN: Final = (LATER, THIRD, FOURTH)
"""Collections of rows that were given to us when the planner was done, and each time again when it
had been changed for those before."""
FOUND: Final = "found"
"""Rows of further kinds that we searched for ourselves."""
_TOKENS: Final = 1e9  # of an estimate; its speed is the same for any number


@dataclass(frozen=True, slots=True)
class LaterRun:
    """A published peak in bytes (`memory`), or tokens per second and GPU (`speed`).

    `counter` names the counter of a memory and is empty for a speed; `collection` is one
    of these four; `documented` is merged into the job, key by key.
    """

    id: str
    of: str
    kind: str
    job: Json
    documented: Json
    unsupported: str
    measured: float
    counter: str
    quality: str
    source: str
    quote: str
    collection: str

    @classmethod
    def read(cls, given: Json, documented: Json, collection: str) -> LaterRun:
        """Return a row of a file with its entry of documented.json, which may be empty."""
        peak = given.get("measured_peak_gib")
        return cls(
            id=given["id"],
            of=SPEED if peak is None else MEMORY,
            kind=given["kind"],
            job=given["job"],
            documented=documented.get("job", {}),
            unsupported=documented.get("unsupported", ""),
            measured=given["measured_tokens_per_second_per_gpu"] if peak is None else peak * GIB,
            counter=given.get("counter", ""),
            quality=given["quality"],
            source=given["source"],
            quote=given["quote"],
            collection=collection,
        )

    @property
    def project(self) -> str:
        """Whose run it is: the repository that published it."""
        return self.source.partition(" ")[0]

    @property
    def key(self) -> str:
        """A unique key: one run may have published its peak and its speed."""
        return f"{self.of} {self.id}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """A published run and the planner's prediction for it.

    error    signed, relative to the measurement; None where the planner refuses the job
    refused  the key of the job that it refuses, or nothing
    kind     the kind of the job, one of `unfrozen.plan.record.KINDS`; empty for a refused one
    """

    row: LaterRun
    error: float | None
    refused: str = ""
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """The runs of one kind: their number, the spread of their errors, the worst with its sign."""

    name: str
    rows: int
    spread: Spread | None
    worst: float
    refused: tuple[str, ...]


def read_runs(given: Sequence[Json], documented: Sequence[Json], collection: str) -> list[LaterRun]:
    """Return the rows of a file; entries of documented.json name their rows by pattern.

    A run that we found ourselves carries its own settings.
    """
    rows = []
    for row in given:
        of = MEMORY if "measured_peak_gib" in row else SPEED
        about = [row["documented"]] if "documented" in row else []
        about += [entry for entry in documented if _is_about(entry, of, row["id"])]
        settings: dict[str, Any] = {}
        for entry in about:
            settings = merge_settings(settings, entry.get("job", {}))
        unsupported = "; ".join(entry["unsupported"] for entry in about if entry.get("unsupported"))
        rows.append(LaterRun.read(row, {"job": settings, "unsupported": unsupported}, collection))
    return rows


def _is_about(entry: Json, of: str, row_id: str) -> bool:
    return entry.get("of", of) == of and any(fnmatchcase(row_id, name) for name in entry["rows"])


def compare(row: LaterRun, overlay: bool = True) -> Comparison:
    """Plan the job of a run, with its documented settings unless `overlay` is false."""
    try:
        job = Job.read(merge_settings(row.job, row.documented if overlay else {}))
    except PlanError as error:
        return Comparison(row, None, error.key)
    return Comparison(row, _predicted(row, job) / row.measured - 1, "", kind_of(job))


def merge_settings(job: Json, documented: Json) -> dict[str, Any]:
    """Return a job with further settings, merged into its parts."""
    new = {
        key: merge_settings(job[key], value)
        if isinstance(value, Mapping) and isinstance(job.get(key), Mapping)
        else value
        for key, value in documented.items()
    }
    return {**job, **new}


def _predicted(row: LaterRun, job: Job) -> float:
    if row.of == SPEED:
        return estimate(job, _TOKENS).tokens_per_second / job.cluster.gpus
    predicted: float = getattr(plan_job(job), f"{row.counter}_bytes")
    return predicted


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


def errors_by_project(
    looks: Iterable[Comparison], of: str = SPEED
) -> dict[str, dict[str, list[float]]]:
    """Return the errors of speeds or peaks by kind of job and project, with every kind."""
    found: dict[str, dict[str, list[float]]] = {kind: {} for kind in KINDS}
    for item in looks:
        if item.row.of == of and item.error is not None:
            found[item.kind].setdefault(item.row.project, []).append(item.error)
    return found


def _group(name: str, rows: list[Comparison]) -> Group:
    errors = [item.error for item in rows if item.error is not None]
    return Group(
        name=name,
        rows=len(rows),
        spread=Spread.of(errors) if errors else None,
        worst=max(errors, key=abs) if errors else 0.0,
        refused=tuple(sorted({item.refused for item in rows if item.refused})),
    )

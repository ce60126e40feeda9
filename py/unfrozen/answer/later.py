"""What others published after the model was done: memory and time beside it, kind by kind.

A row is a peak or a speed with the words of its source. What its job cannot say stands beside the
job: `said`, words that a planner may know or not, and `no_word`, what nobody can say yet.
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
class LaterRow:
    """A peak in bytes (`memory`), or tokens per second and GPU (`speed`), as somebody measured it.

    `counter` says which memory was counted and is empty for a speed; `found` that we looked for the
    row ourselves; `said` is merged into the job, key by key.
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
    def read(cls, given: Json, said: Json, found: bool) -> LaterRow:
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
        """What no other row is called: one run may have told its peak and its speed."""
        return f"{self.of} {self.id}"


@dataclass(frozen=True, slots=True)
class Look:
    """A row beside what this code says of it.

    error    signed, as a ratio of what was measured; None where the planner refuses the job
    refused  the key of the job that it refuses, or nothing
    unsaid   words of `said` that it does not know, and went without
    kind     of the job, as `unfrozen.plan.record` sorts them; empty for a refused one
    """

    row: LaterRow
    error: float | None
    refused: str = ""
    unsaid: tuple[str, ...] = ()
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """Rows of one name: how many there are, how far off, the worst one with its sign."""

    name: str
    rows: int
    spread: Spread | None
    worst: float
    refused: tuple[str, ...]


def read_rows(given: Sequence[Json], said: Sequence[Json], found: bool) -> list[LaterRow]:
    """Return the rows of a file; entries of said.json name their rows by pattern.

    A row that we found ourselves carries what is said of it.
    """
    rows = []
    for row in given:
        of = MEMORY if "measured_peak_gib" in row else SPEED
        about = [row["said"]] if "said" in row else []
        about += [entry for entry in said if _is_about(entry, of, row["id"])]
        words: dict[str, Any] = {}
        for entry in about:
            words = merged(words, entry.get("job", {}))
        no_word = "; ".join(entry["no_word"] for entry in about if entry.get("no_word"))
        rows.append(LaterRow.read(row, {"job": words, "no_word": no_word}, found))
    return rows


def _is_about(entry: Json, of: str, row_id: str) -> bool:
    return entry.get("of", of) == of and any(fnmatchcase(row_id, name) for name in entry["rows"])


def look(row: LaterRow, overlay: bool = True) -> Look:
    """Plan the job of a row, with what is `said` of it as far as the planner has words for it."""
    given: Json = row.said if overlay else {}
    unsaid: list[str] = []
    while True:
        try:
            job = Job.read(merged(row.job, given))
            break
        except PlanError as error:
            shorter = _without(given, error.key)
            if shorter == given:
                return Look(row, None, error.key, tuple(unsaid))
            given = shorter
            unsaid.append(error.key)
    return Look(row, _predicted(row, job) / row.measured - 1, "", tuple(unsaid), kind_of(job))


def merged(job: Json, said: Json) -> dict[str, Any]:
    """Return a job with further settings, merged into its parts."""
    new = {
        key: merged(job.get(key) or {}, value) if isinstance(value, Mapping) else value
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


def _predicted(row: LaterRow, job: Job) -> float:
    if row.of == SPEED:
        return estimate(job, _TOKENS).tokens_per_second / job.cluster.gpus
    planned = plan_job(job)
    counters = {
        "allocated": planned.allocated_bytes,
        "reserved": planned.reserved_bytes,
        "device": planned.device_bytes,
    }
    return counters[row.counter]


def grouped(looks: Iterable[Look], names: Mapping[str, str] | None = None) -> list[Group]:
    """Return the groups of looks, by the kind that the row names or by that of its job.

    Kinds of rows come with the largest first. A job that is refused has no kind of its own.
    """
    found: dict[str, list[Look]] = {name: [] for name in (names or {}).values()}
    for item in looks:
        name = names.get(item.kind, "") if names else item.row.kind
        found.setdefault(name, []).append(item)
    groups = [_group(name, rows) for name, rows in found.items() if rows and name]
    return groups if names else sorted(groups, key=lambda group: -group.rows)


def _group(name: str, rows: list[Look]) -> Group:
    errors = [item.error for item in rows if item.error is not None]
    return Group(
        name=name,
        rows=len(rows),
        spread=Spread.of(errors) if errors else None,
        worst=max(errors, key=abs) if errors else 0.0,
        refused=tuple(sorted({item.refused for item in rows if item.refused})),
    )

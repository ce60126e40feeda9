"""What to change: every single change that saves memory, and the least set that fits.

What a change saves is a second plan; what it costs is the step time after over before, by
`step_time` and its assumptions.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import combinations
from math import prod
from typing import Final

from unfrozen.changes import KINDS, Change, Patch, candidates, patched
from unfrozen.errors import PlanError
from unfrozen.job import Job
from unfrozen.plan import Plan, plan_job
from unfrozen.step_time import step_time, step_tokens
from unfrozen.units import gib

FREE: Final = 0.01
"""Changes that cost less time than this share rank alike, by what they save."""
MOST_CHANGES: Final = 3  # in a set that fits
MOST_TRIED: Final = 80  # sets looked at closely


@dataclass(frozen=True, slots=True)
class Advice:
    """One change. `time_ratio` is step time a token after it over before; `fits` is None where no
    card is named.
    """

    key: str
    label: str
    patch: Patch
    saved_gib: float
    device_gib: float
    time_ratio: float
    fits: bool | None
    note: str
    kind: str = "same"

    def as_json(self) -> dict[str, object]:
        """Plain data."""
        return asdict(self)


def advise(planned: Plan) -> list[Advice]:
    """Every single change that saves memory, most GiB saved per cost in time first."""
    pace = _pace(planned.job)
    found = [
        _advice(change, changed, planned.device_bytes, pace)
        for change, changed in _legal(planned)
        if changed.device_bytes < planned.device_bytes
    ]
    return sorted(found, key=lambda a: (-a.saved_gib / max(FREE, a.time_ratio - 1), a.key))


def cheapest_fit(planned: Plan) -> list[Advice] | None:
    """The changes, at most three, that fit the card with the least time; None if none do.

    Sets that go on training every weight come first, however long they take. `saved_gib`,
    `device_gib` and `time_ratio` count on top of the changes before; an empty list means that the
    job fits as it is.
    """
    if planned.job.gpu is None:
        return None
    if planned.fits:
        return []
    pace = _pace(planned.job)
    for changes in _promising(planned, pace):
        result = _applied(planned.job, changes)
        if result is not None and result.fits:
            return _chain(planned, changes, pace)
    return None


def _legal(planned: Plan) -> list[tuple[Change, Plan]]:
    """Changes the job allows, each with its plan."""
    found = ((change, _applied(planned.job, (change,))) for change in candidates(planned.job))
    return [(change, changed) for change, changed in found if changed is not None]


def _applied(job: Job, changes: tuple[Change, ...]) -> Plan | None:
    """The plan after changes, or None where they are not legal together."""
    recipe = {key: value for change in changes for key, value in change.recipe.items()}
    cluster = {key: value for change in changes for key, value in change.cluster.items()}
    try:
        return plan_job(patched(job, {"recipe": recipe, "cluster": cluster}))
    except PlanError:
        return None


def _pace(job: Job) -> float:
    """Seconds a token."""
    return step_time(job).seconds / step_tokens(job)


def _advice(change: Change, changed: Plan, before_bytes: int, pace: float) -> Advice:
    return Advice(
        key=change.key,
        label=change.label,
        patch=change.patch,
        saved_gib=gib(before_bytes - changed.device_bytes),
        device_gib=gib(changed.device_bytes),
        time_ratio=_pace(changed.job) / pace,
        fits=changed.fits,
        note=change.note,
        kind=change.kind,
    )


def _promising(planned: Plan, pace: float) -> list[tuple[Change, ...]]:
    """Sets that may fit, by adding up what single changes save; the least time first.

    What saves time is no reason to put a change into a set: then the smaller set comes first.
    """
    legal = _legal(planned)
    totals = {name: sum(parts.values()) for name, parts in planned.instants.items()}
    saved = {
        change.key: {
            name: totals[name] - sum(changed.instants.get(name, {}).values()) for name in totals
        }
        for change, changed in legal
    }
    ratio = {change.key: _pace(changed.job) / pace for change, changed in legal}
    room = planned.allocated_bytes * planned.job.gpu.capacity_bytes / planned.device_bytes  # type: ignore[union-attr]
    useful = [change for change, _ in legal if max(saved[change.key].values(), default=0) > 0]
    found = []
    for size in range(1, MOST_CHANGES + 1):
        for changes in combinations(useful, size):
            left = max(n - sum(saved[c.key][name] for c in changes) for name, n in totals.items())
            if left <= 1.1 * room and not _clash(changes):
                kind = max(KINDS.index(change.kind) // 2 for change in changes)
                time = prod(ratio[change.key] for change in changes)
                cost = round(prod(max(1, ratio[change.key]) for change in changes), 2)
                found.append((kind, cost, size, time, changes))
    found.sort(key=lambda entry: entry[:4])
    return [entry[-1] for entry in found[:MOST_TRIED]]


def _clash(changes: tuple[Change, ...]) -> bool:
    """Whether two changes set the same key."""
    keys = [key for change in changes for key in (*change.recipe, *change.cluster)]
    return len(keys) > len(set(keys))


def _chain(planned: Plan, changes: tuple[Change, ...], pace: float) -> list[Advice]:
    """Each change on top of those before it."""
    steps, before = [], planned
    for count in range(1, len(changes) + 1):
        after = _applied(planned.job, changes[:count]) or before
        steps.append(_advice(changes[count - 1], after, before.device_bytes, pace))
        before, pace = after, _pace(after.job)
    return steps

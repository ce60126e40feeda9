"""What to change: every single change that saves memory, and the least set that fits.

What a change saves is a second plan; what it costs is the step time after over before, by
`step_time` and its assumptions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import combinations
from operator import sub
from typing import Final, NamedTuple

from unfrozen.errors import PlanError
from unfrozen.hardware.gpus import find
from unfrozen.job import Job
from unfrozen.plan.changes import Change, Patch, candidates, nobody_has, patched
from unfrozen.plan.fit import DEFAULT_GPU, Plan, plan_job
from unfrozen.plan.step_time import step_time, step_tokens
from unfrozen.units import gib

FREE: Final = 0.01
"""Changes that cost less time than this share rank alike, by what they save."""
MOST_CHANGES: Final = 3  # in a set that fits
MOST_TRIED: Final = 80  # sets looked at closely
_HOPE: Final = 1.2  # changes may save more together than one by one


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
            return _chain(planned, _needed(planned.job, changes), pace)
    return None


def _legal(planned: Plan) -> list[tuple[Change, Plan]]:
    """Changes the job allows, each with its plan."""
    found = ((change, _applied(planned.job, (change,))) for change in candidates(planned.job))
    return [(change, changed) for change, changed in found if changed is not None]


def _applied(job: Job, changes: tuple[Change, ...]) -> Plan | None:
    """The plan after changes, or None where they are not legal together or nobody has them."""
    recipe = {key: value for change in changes for key, value in change.recipe.items()}
    cluster = {key: value for change in changes for key, value in change.cluster.items()}
    try:
        changed = patched(job, {"recipe": recipe, "cluster": cluster})
        return None if nobody_has(changed.recipe) else plan_job(changed)
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


class _Single(NamedTuple):
    """A change, what it saves at each instant, and step time after over before."""

    change: Change
    saved: list[int]
    ratio: float
    keys: frozenset[str]


class _Set(NamedTuple):
    """Changes together: what they are estimated to leave at each instant, and to cost in time."""

    changes: tuple[Change, ...]
    left: list[int]
    cost: float  # of those that cost time
    time: float  # of all
    keys: frozenset[str]
    last: int  # place of the last change

    def rank(self) -> tuple[bool, float, int, bool, float]:
        """The order of trying: what saves time is no reason to put a change into a set, and bf16
        moments come before those of 8 bits, whose optimizers seldom round at random.
        """
        less = any(change.kind == "less" for change in self.changes)
        coarse = any(change.recipe.get("moments") == "int8" for change in self.changes)
        return less, round(self.cost, 2), len(self.changes), coarse, self.time


def _promising(planned: Plan, pace: float) -> list[tuple[Change, ...]]:
    """Sets that may fit, by adding up what single changes save; the least time first."""
    totals = {name: sum(parts.values()) for name, parts in planned.instants.items()}
    single = []
    for change, changed in _legal(planned):
        saved = [n - sum(changed.instants.get(name, {}).values()) for name, n in totals.items()]
        if max(saved) > 0:
            keys = frozenset((*change.recipe, *change.cluster))
            single.append(_Single(change, saved, _pace(changed.job) / pace, keys))
    gpu = planned.job.gpu or find(DEFAULT_GPU)
    room = _HOPE * planned.allocated_bytes * gpu.capacity_bytes / planned.device_bytes
    sets = [_Set((), list(totals.values()), 1.0, 1.0, frozenset(), -1)]
    found: list[_Set] = []
    for _ in range(MOST_CHANGES):
        sets = [grown for one in sets for grown in _grown(one, single)]
        found += [one for one in sets if max(one.left) <= room]
    found.sort(key=_Set.rank)
    return [one.changes for one in found[:MOST_TRIED]]


def _grown(one: _Set, single: list[_Single]) -> Iterator[_Set]:
    """A set with each change that stands further down and sets other keys."""
    for place in range(one.last + 1, len(single)):
        change, saved, ratio, keys = single[place]
        if one.keys.isdisjoint(keys):
            left = list(map(sub, one.left, saved))
            cost, time = one.cost * max(1.0, ratio), one.time * ratio
            yield _Set((*one.changes, change), left, cost, time, one.keys | keys, place)


def _needed(job: Job, changes: tuple[Change, ...]) -> tuple[Change, ...]:
    """The changes without those that the job fits without."""
    for size in range(1, len(changes)):
        for fewer in combinations(changes, size):
            result = _applied(job, fewer)
            if result is not None and result.fits:
                return fewer
    return changes


def _chain(planned: Plan, changes: tuple[Change, ...], pace: float) -> list[Advice]:
    """Each change on top of those before it."""
    steps, before = [], planned
    for count in range(1, len(changes) + 1):
        after = _applied(planned.job, changes[:count]) or before
        steps.append(_advice(changes[count - 1], after, before.device_bytes, pace))
        before, pace = after, _pace(after.job)
    return steps

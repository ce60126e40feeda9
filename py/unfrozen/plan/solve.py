"""Inverse questions: how many GPUs, how large a batch, how long a sequence.

Memory never falls when tokens are added and never rises when sharded GPUs are, so every answer is
exact: it fits, and the next one does not. A guess from the terms that change finds it in one to
three plans; where it is off, growing steps and bisection do.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from operator import add
from typing import Any, Final

from unfrozen.errors import PlanError
from unfrozen.hardware import find
from unfrozen.job import Job
from unfrozen.plan import DEFAULT_GPU, Plan, plan_job

MOST_GPUS: Final = 4096
MOST: Final = {"micro_batch": 65_536, "seq_len": 16_777_216}
"""What can be solved on one GPU, and the bounds a recipe sets."""

_REFINEMENTS: Final = 4  # of a guess; more are never needed, fewer are usual
_SHARDED: Final = (  # components that each ZeRO stage spreads
    (),
    ("master", "moments"),
    ("master", "moments", "grads"),
    ("master", "moments", "grads", "params", "reference", "quant_constants"),
)
_KEPT: Final = ("activations", "logits_loss")  # no fewer bytes on more GPUs


def min_gpus(planned: Plan) -> int:
    """Return the least number of GPUs on which the job fits under ZeRO-3; 0 where there is none.

    Counts GPUs of the job's kind, or 80 GB GPUs where it names none. What else they shard
    stays as it is, so that the answer is a multiple of the GPUs of one replica.
    """
    job = planned.job
    capacity = (job.gpu or find(DEFAULT_GPU)).capacity_bytes
    over_all = replace(job.cluster, shard_size=None)
    unit = over_all.unit
    known = {job.cluster: planned}

    def at(replicas: int) -> Plan:
        cluster = replace(over_all, gpus=replicas * unit)
        cluster = replace(cluster, sharding="zero3" if cluster.alike > 1 else "none")
        if cluster not in known:
            known[cluster] = plan_job(Job(job.model, job.recipe, cluster, job.gpu))
        return known[cluster]

    def lacks(replicas: int) -> bool:
        return at(replicas).safe_bytes > capacity

    kept = [sum(parts.get(name, 0) for name in _KEPT) for parts in planned.instants.values()]
    states = [spread for spread, _ in _terms(planned)]
    if max(map(add, kept, states)) <= capacity and not lacks(1):
        return unit
    most = 1 if job.gpu and job.gpu.device == "mps" else MOST_GPUS // unit
    if most < 2 or (max(kept) > capacity and not _autocast(planned)):
        return 0
    guess = _replicas(planned, capacity - _gathered_bytes(planned), most)
    for _ in range(_REFINEMENTS):
        better = _replicas(at(guess), capacity, most)
        if better == guess:
            break
        guess = better
    if lacks(guess):
        last = _last(lacks, guess, most)
        return 0 if last == most else (last + 1) * unit
    if guess == 2 or _at_least_bytes(at(guess), guess - 1) > capacity:
        return guess * unit  # one less is too few without planning it
    return (_last(lacks, guess - 1, most) + 1) * unit


def largest(planned: Plan, key: str) -> int:
    """Return the largest `micro_batch` or `seq_len` that fits the job's GPU; 0 where there is none.

    A model with learned positions takes no longer sequence than it has of them. Raises PlanError
    for another key and for a job that names no GPU.
    """
    if key not in MOST:
        raise PlanError("solve", key, f"solvable are {', '.join(MOST)}", "choose one")
    job = planned.job
    if job.gpu is None:
        raise PlanError(
            "gpu", "nothing", "only a GPU sets a limit to solve for", "name one: --gpu H100"
        )
    capacity, now = job.gpu.capacity_bytes, getattr(job.recipe, key)

    def safe_bytes(value: int) -> float:
        change: dict[str, Any] = {key: value}
        try:
            return plan_job(replace(job, recipe=replace(job.recipe, **change))).safe_bytes
        except PlanError:  # more than the model takes
            return math.inf

    slope = safe_bytes(now + 1) - planned.safe_bytes
    room = capacity - planned.safe_bytes
    guess = now + math.floor(room / slope) if 0 < slope < math.inf else now
    positions = job.model.architecture.positions
    most = min(MOST[key], positions) if key == "seq_len" and positions else MOST[key]
    return _last(lambda value: safe_bytes(value) <= capacity, guess, most)


def _autocast(planned: Plan) -> bool:
    """Return whether fp32 weights are cast in each layer, which sharded ones are not."""
    return planned.job.recipe.params != planned.job.recipe.compute


def _terms(near: Plan) -> list[tuple[int, int]]:
    """Return, at each instant, the bytes that ZeRO-3 divides and those on every GPU."""
    cluster = near.job.cluster
    now, then = _SHARDED[cluster.stage], _SHARDED[-1]
    found, shards = [], cluster.shards
    for parts in near.instants.values():
        spread = rest = 0
        for name, size in parts.items():
            whole = size * shards if name in now else size
            if name in then:
                spread += whole
            else:
                rest += whole
        found.append((spread, rest))
    return found


def _gathered_bytes(planned: Plan) -> int:
    """Return roughly what ZeRO-3 gathers for compute, where the plan does not count it yet."""
    if any("gathered" in parts for parts in planned.instants.values()):
        return 0
    model = planned.job.model
    return 2 * (model.outer_parameters + 2 * model.num_parameters // model.architecture.layers)


def _at_least_bytes(near: Plan, replicas: int) -> float:
    """Return a lower bound of a GPU's memory with these replicas, from a plan with more."""
    shards = replicas * near.job.cluster.context_parallel
    overhead = near.beside_bytes
    return overhead + max(spread / shards + rest for spread, rest in _terms(near))


def _replicas(near: Plan, capacity: int, most: int) -> int:
    """Return how many replicas must shard the states to fit, from a plan nearby."""
    overhead = near.beside_bytes
    room = (capacity - overhead) * near.allocated_bytes / max(1, near.safe_bytes - overhead)
    wanted = max(
        spread / (room - rest) if room > rest else math.inf for spread, rest in _terms(near)
    )
    return max(2, math.ceil(min(wanted / near.job.cluster.context_parallel, most)))


def _last(holds: Callable[[int], bool], guess: int, most: int) -> int:
    """Return the largest value in 1 … most for which `holds` is true; 0 where it fails at 1.

    Once it is false it stays false. Two calls where `guess` is right.
    """
    low, high = 0, most + 1  # holds at low, fails at high
    probe, step = min(max(guess, 1), most), 1
    while high - low > 1:
        if holds(probe):
            low = probe
        else:
            high = probe
        if high > most:
            probe = min(low + step, most)
        elif low == 0:
            probe = max(high - step, 1)
        else:
            probe = (low + high) // 2
        step *= 4
    return low

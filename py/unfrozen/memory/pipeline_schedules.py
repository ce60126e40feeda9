"""The micro-batches in flight on a pipeline rank, stage by stage, for each schedule.

Between its forward pass F and its backward pass B a micro-batch keeps its activations. A schedule
may cut B in two, I for the gradient of the input, which the stage before waits for, and W for those
of the weights, which can be late; between I and W it keeps what the matmuls of W need.

    gpipe        F of all, then B of all: m (Huang et al., arXiv 1811.06965)
    1f1b         p − 1 − r warm up, then F and B in turn: min(m, p − r)
    interleaved  the same with v stages per rank, micro-batches in rounds of p: of 1/v of the rank's
                 layers (v − 1)p + 2(p − r) − 1 (Narayanan et al., arXiv 2104.04473, section 2.2;
                 Megatron-LM `megatron/core/pipeline_parallel/schedules.py`,
                 `get_pp_rank_microbatches`)
    zero_bubble  ZB-H1: as 1f1b, W of rank r late by r: p on every rank (Qi et al., arXiv
                 2401.10241, section 2.2); several stages per rank as in PyTorch's
                 InterleavedZeroBubble

p ranks, r this one from 0, m micro-batches. The orders are those of PyTorch's schedules
(`torch/distributed/pipelining/schedules.py`), with which the tests compare them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final, NamedTuple

from unfrozen.job.cluster import Cluster

Action = tuple[str, int]
"""F, B, I or W, and the stage among those that the rank holds."""

Counts = tuple[int, ...]

SOURCES: Final = {
    "gpipe": "Huang et al., arXiv 1811.06965, section 2.3",
    "1f1b": "Narayanan et al., arXiv 2104.04473, section 2.2.1",
    "interleaved": "Narayanan et al., arXiv 2104.04473, section 2.2.2",
    "zero_bubble": "Qi et al., arXiv 2401.10241, section 2.2",
}
"""Where each schedule was published."""

_ROUNDS: Final = 4  # after so many nothing new comes


class RankMoment(NamedTuple):
    """The stage at work on a rank, and how many other micro-batches are in flight, by stage.

    `whole` are those between F and B or I, `late` those between I and W.
    """

    stage: int
    whole: Counts
    late: Counts


@lru_cache(maxsize=4096)
def rank_moments(cluster: Cluster, micro_batches: int, rank: int) -> tuple[RankMoment, ...]:
    """Return the distinct moments of a step at which a pipeline rank works."""
    if cluster.pipeline_parallel == 1:
        return (RankMoment(0, (0,), (0,)),)
    if cluster.pipeline_schedule == "gpipe":
        return (RankMoment(0, (micro_batches - 1,), (0,)),)
    whole, late = [0] * cluster.chunks, [0] * cluster.chunks
    found: dict[RankMoment, None] = {}
    for kind, stage in order(cluster, _enough(cluster, micro_batches), rank):
        if kind in "BI":
            whole[stage] -= 1
        elif kind == "W":
            late[stage] -= 1
        if kind != "W":
            found[RankMoment(stage, tuple(whole), tuple(late))] = None
        if kind == "F":
            whole[stage] += 1
        elif kind == "I":
            late[stage] += 1
    return tuple(found)


def order(cluster: Cluster, micro_batches: int, rank: int) -> Iterator[Action]:
    """Yield the actions of a rank in one step, in order."""
    if cluster.pipeline_schedule == "gpipe":
        yield from [("F", 0)] * micro_batches + [("B", 0)] * micro_batches
    else:
        yield from _one_by_one(cluster, micro_batches, rank)


def _enough(cluster: Cluster, micro_batches: int) -> int:
    """Return a number of micro-batches that shows every moment: a few rounds of them."""
    ranks = cluster.pipeline_parallel
    rounds = max(1, micro_batches // ranks)
    if cluster.pipeline_schedule in ("interleaved", "zero_bubble"):
        return micro_batches // rounds * min(rounds, _ROUNDS)
    return min(micro_batches, _ROUNDS * ranks)


def _one_by_one(cluster: Cluster, micro_batches: int, rank: int) -> Iterator[Action]:
    """Yield some forward passes, then forward and backward in turn, then the rest."""
    stages, after = cluster.chunks, cluster.pipeline_parallel - 1 - rank
    in_round = micro_batches // max(1, micro_batches // cluster.pipeline_parallel)
    splits = cluster.pipeline_schedule == "zero_bubble"
    twice = cluster.pipeline_schedule == "interleaved"
    total = stages * micro_batches
    warm = min(total, (stages - 1) * in_round + (2 if twice else 1) * after)
    late: list[int] = []
    for step in range(warm + total):
        if step < total:
            yield "F", step // in_round % stages
        if step < warm:
            continue
        stage = stages - 1 - (step - warm) // in_round % stages
        yield ("I" if splits else "B"), stage
        late += [stage] if splits else []
        if splits and step - warm >= rank:
            yield "W", late.pop(0)
    yield from (("W", stage) for stage in late)

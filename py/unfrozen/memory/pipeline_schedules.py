"""The micro-batches in flight on a pipeline rank, stage by stage, for each schedule.

Between its forward pass F and its backward pass B a micro-batch keeps its activations.

    1f1b         p − 1 − r warm up, then F and B in turn: min(m, p − r)
    interleaved  the same with v stages per rank, micro-batches in rounds of p: of 1/v of the rank's
                 layers (v − 1)p + 2(p − r) − 1 (Narayanan et al., arXiv 2104.04473, section 2.2;
                 Megatron-LM `megatron/core/pipeline_parallel/schedules.py`,
                 `get_pp_rank_microbatches`)

p ranks, r this one from 0, m micro-batches. The orders are those of PyTorch's schedules
(`torch/distributed/pipelining/schedules.py`), with which the tests compare them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final, NamedTuple

from unfrozen.job.cluster import Cluster

Action = tuple[str, int]
"""F or B, and the stage among those that the rank holds."""

Counts = tuple[int, ...]

SOURCE: Final = "Narayanan et al., arXiv 2104.04473, section 2.2"
"""Where the schedules were published."""

_ROUNDS: Final = 4  # after so many nothing new comes


class RankMoment(NamedTuple):
    """The stage at work on a rank, and how many other micro-batches are in flight, by stage."""

    stage: int
    held: Counts


@lru_cache(maxsize=4096)
def rank_moments(cluster: Cluster, micro_batches: int, rank: int) -> tuple[RankMoment, ...]:
    """Return the distinct moments of a step at which a pipeline rank works."""
    if cluster.pipeline_parallel == 1:
        return (RankMoment(0, (0,)),)
    held = [0] * cluster.chunks
    found: dict[RankMoment, None] = {}
    for kind, stage in order(cluster, _enough(cluster, micro_batches), rank):
        held[stage] -= kind == "B"
        found[RankMoment(stage, tuple(held))] = None
        held[stage] += kind == "F"
    return tuple(found)


def _enough(cluster: Cluster, micro_batches: int) -> int:
    """Return a number of micro-batches that shows every moment: a few rounds of them."""
    ranks = cluster.pipeline_parallel
    rounds = max(1, micro_batches // ranks)
    if cluster.chunks > 1:
        return micro_batches // rounds * min(rounds, _ROUNDS)
    return min(micro_batches, _ROUNDS * ranks)


def order(cluster: Cluster, micro_batches: int, rank: int) -> Iterator[Action]:
    """Yield the actions of a rank in one step, in order: some forward passes, then forward and
    backward in turn, then the rest.
    """
    stages, after = cluster.chunks, cluster.pipeline_parallel - 1 - rank
    in_round = micro_batches // max(1, micro_batches // cluster.pipeline_parallel)
    total = stages * micro_batches
    warm = min(total, (stages - 1) * in_round + (2 if stages > 1 else 1) * after)
    for step in range(warm + total):
        if step < total:
            yield "F", step // in_round % stages
        if step >= warm:
            yield "B", stages - 1 - (step - warm) // in_round % stages

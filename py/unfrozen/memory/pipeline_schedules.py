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
    zb_h2        2(p − r) − 1 before the first B, W late by 2r: 2p − 1 (ibidem, section 2.3)
    zb_v         two stages per rank, first and last on rank 0: 2p of half the size on every rank
                 (Qi et al., arXiv 2405.15362, section 4)
    dualpipe_v   the same stages, F and B at one time: 2p + 1 of half the size
    dualpipe     every stage twice, micro-batches from both ends: p + 1 (DeepSeek-V3, arXiv
                 2412.19437, section 3.2.1 and table 2; `dualpipe/dualpipe.py`)

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
    "zb_h2": "Qi et al., arXiv 2401.10241, section 2.3",
    "zb_v": "Qi et al., arXiv 2405.15362, section 4",
    "dualpipe_v": "deepseek-ai/DualPipe, dualpipe/dualpipev.py",
    "dualpipe": "DeepSeek-V3, arXiv 2412.19437, section 3.2.1",
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
    ranks, schedule = cluster.pipeline_parallel, cluster.pipeline_schedule
    if schedule == "gpipe":
        yield from [("F", 0)] * micro_batches + [("B", 0)] * micro_batches
    elif schedule == "zb_v":
        yield from _zb_v(ranks, micro_batches, rank)
    elif schedule == "dualpipe_v":
        yield from _dualpipe(ranks, micro_batches, rank)
    elif schedule == "dualpipe":
        yield from _dualpipe(ranks // 2, micro_batches // 2, min(rank, ranks - 1 - rank))
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
    splits = cluster.pipeline_schedule in ("zero_bubble", "zb_h2")
    twice = cluster.pipeline_schedule in ("interleaved", "zb_h2")
    behind = {"zero_bubble": rank, "zb_h2": 2 * rank}.get(cluster.pipeline_schedule, 0)
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
        if splits and step - warm >= behind:
            yield "W", late.pop(0)
    yield from (("W", stage) for stage in late)


def _zb_v(ranks: int, micro_batches: int, rank: int) -> Iterator[Action]:
    """Yield the actions of ZB-V, which works on two stages from both ends."""
    after, least = ranks - rank, max(2 * ranks - 1, micro_batches)
    done = {("F", 0): 0, ("F", 1): 0, ("I", 0): 0, ("I", 1): 0, ("W", 0): 0, ("W", 1): 0}
    plan: list[Action] = [("F", 0)] * (2 * after - 1) + [("F", 1), ("F", 0)] * rank
    plan += [("F", 1), ("I", 1), ("W", 1)] * after
    forward = 2 * after - 1 + rank
    for _ in range(least - rank - after):
        plan += [("F", 0)] if forward < least else []
        forward += 1
        plan += [("I", 0), ("W", 0), ("F", 1), ("I", 1), ("W", 1)]
    plan += [("I", 0), ("I", 1)] * rank + [("I", 0), ("W", 0)] * after
    plan += [("W", 1)] * rank + [("W", 0)] * rank
    for action in plan:
        done[action] += 1
        if done[action] <= micro_batches:
            yield action


def _dualpipe(ranks: int, micro_batches: int, rank: int) -> Iterator[Action]:
    """Yield the actions of DualPipe, in eight parts: forward beside backward."""
    after = ranks - rank - 1
    yield from [("F", 0)] * (2 * after) + [("F", 0), ("F", 1)] * (rank + 1)
    yield from [("I", 1), ("W", 1), ("F", 1)] * after
    yield from [("F", 0), ("B", 1), ("F", 1), ("B", 0)] * (micro_batches - 2 * ranks + rank + 1)
    yield from [("B", 1), ("F", 1), ("B", 0)] * after
    late: list[Action] = []
    for number in range(2 * (rank + 1)):
        stage = 1 - number % 2
        apart = number >= (rank + 1) // 2 * 2 + (rank + 1) % 2
        yield ("I" if apart else "B"), stage
        late += [("W", stage)] if apart else []
    for _ in range(after):
        if late:
            yield late.pop(0)
        yield "I", 0
        late.append(("W", 0))
    yield from late

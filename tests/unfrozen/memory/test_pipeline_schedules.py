"""Micro-batches in flight, by schedule; the orders are those of PyTorch's own schedules."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch.distributed.pipelining.schedules as theirs

from unfrozen.job.cluster import SCHEDULES, Cluster
from unfrozen.memory.pipeline_schedules import Action, RankMoment, order, rank_moments

KINDS = {
    theirs.FORWARD: "F",
    theirs.FULL_BACKWARD: "B",
}
CLASSES = {
    "interleaved": theirs.ScheduleInterleaved1F1B,
}


def pipeline(schedule: str, ranks: int = 4, chunks: int | None = None) -> Cluster:
    return Cluster(
        ranks, pipeline_parallel=ranks, pipeline_schedule=schedule, pipeline_chunks=chunks
    )


def most(schedule: str, rank: int, micro_batches: int = 32, **given: Any) -> int:
    """Micro-batches, of the size of a stage, that a rank keeps at most, that at work among them."""
    found = rank_moments(pipeline(schedule, **given), micro_batches, rank)
    return 1 + max(sum(moment.held) for moment in found)


def pytorchs(schedule: str, ranks: int, chunks: int, micro_batches: int, rank: int) -> list[Action]:
    """PyTorch's order for one rank, without the gaps; no process group is needed to compute it."""
    made: Any = object.__new__(CLASSES[schedule])
    made.pp_group_size, made._n_microbatches, made.n_local_stages = ranks, micro_batches, chunks
    made.num_stages = made._num_stages = ranks * chunks
    made.number_of_rounds = max(1, micro_batches // ranks)
    made.microbatches_per_round = micro_batches // made.number_of_rounds
    steps = [one for one in made._calculate_single_rank_operations(rank) if one is not None]
    single = [part for one in steps for part in (one.sub_actions or (one,))]
    return [(KINDS[one.computation_type], one.stage_index // ranks) for one in single]


def test_one_forward_one_backward_keeps_as_many_as_ranks_follow() -> None:
    assert [most("1f1b", rank) for rank in range(4)] == [4, 3, 2, 1]
    assert [most("1f1b", rank, 2) for rank in range(4)] == [2, 2, 2, 1]


def test_interleaving_keeps_more_of_smaller_stages() -> None:
    assert [most("interleaved", rank) for rank in range(4)] == [4 + 2 * 4 - 1, 9, 7, 5]
    # of a rank's layers 11/8 as many as 1F1B: 1 + (p − 1)/(p · v), Narayanan et al., section 2.2
    assert most("interleaved", 0) / 2 == 4 * (1 + 3 / 8)
    assert most("interleaved", 0, 4) == 8  # all there are
    assert most("interleaved", 0, 5, ranks=8) == 10
    # 45 of eight ranks go in five rounds of nine: nine through the first stage, then two a rank
    assert most("interleaved", 0, 45, ranks=8) == 9 + 2 * 7 + 1


@pytest.mark.parametrize("schedule", CLASSES)
@pytest.mark.parametrize("ranks", [2, 3, 4, 6])
def test_the_order_is_pytorchs(schedule: str, ranks: int) -> None:
    for count in (2, 3):
        for micro_batches in (2 * ranks, 3 * ranks, 5 * ranks):
            for rank in range(ranks):
                ours = order(pipeline(schedule, ranks, count), micro_batches, rank)
                assert list(ours) == pytorchs(schedule, ranks, count, micro_batches, rank)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_micro_batch_goes_through_every_stage_and_back(schedule: str) -> None:
    cluster = pipeline(schedule)
    for rank in range(4):
        found = Counter(order(cluster, 8, rank))
        for stage in range(cluster.chunks):
            assert found["F", stage] == found["B", stage] == 8


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_more_micro_batches_keep_no_more_once_the_pipeline_is_full(schedule: str) -> None:
    cluster = pipeline(schedule)
    for rank in range(4):
        assert set(rank_moments(cluster, 16, rank)) <= set(rank_moments(cluster, 4096, rank))
        assert most(schedule, rank, 16) == most(schedule, rank, 4096)


def test_without_a_pipeline_nothing_else_is_in_flight() -> None:
    assert rank_moments(Cluster(), 8, 0) == (RankMoment(0, (0,)),)

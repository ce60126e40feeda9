"""Clusters: ZeRO stages, tensor and context parallelism, offload."""

from __future__ import annotations

from typing import Any

import pytest

from unfrozen.errors import PlanError
from unfrozen.job.cluster import Cluster


def test_the_default_is_one_gpu_that_shares_nothing() -> None:
    cluster = Cluster.read({})
    assert (cluster.gpus, cluster.stage) == (1, 0)
    assert Cluster.read({"gpus": 8, "sharding": "zero3", "tensor_parallel": 1}).stage == 3


@pytest.mark.parametrize(
    ("given", "key"),
    [
        (8, "cluster"),
        ({"nodes": 2}, "cluster.nodes"),
        ({"gpus": 0}, "cluster.gpus"),
        ({"gpus": True}, "cluster.gpus"),
        ({"gpus": 1e30}, "cluster.gpus"),
        ({"gpus": 10**30}, "cluster.gpus"),
        ({"sharding": "zero4"}, "cluster.sharding"),
        ({"tensor_parallel": 2}, "cluster.gpus"),
        ({"gpus": 12, "tensor_parallel": 4, "context_parallel": 2}, "cluster.gpus"),
        ({"tensor_parallel": True}, "cluster.tensor_parallel"),
        ({"sequence_parallel": 1}, "cluster.sequence_parallel"),
        ({"context_parallel": 0}, "cluster.context_parallel"),
        ({"offload": "disk"}, "cluster.offload"),
        ({"offload": "params"}, "cluster.offload"),
    ],
)
def test_a_cluster_that_cannot_be_planned_is_refused_by_name(given: Any, key: str) -> None:
    with pytest.raises(PlanError) as caught:
        Cluster.read(given)
    assert caught.value.key == key


def test_states_are_spread_over_all_gpus_that_hold_the_same_part_of_a_layer() -> None:
    cluster = Cluster.read({"gpus": 16, "tensor_parallel": 2, "context_parallel": 4})
    assert (cluster.shards, cluster.replicas) == (8, 2)

"""What GPUs gather and scatter; tests/gpu_runner/plan/test_predict.py measures whole steps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from unfrozen.job.cluster import Cluster
from unfrozen.job.recipe import Recipe
from unfrozen.memory.gathering import ShardTraffic
from unfrozen.memory.instants import Step
from unfrozen.model.catalogue import CATALOGUE

LLAMA = CATALOGUE["meta-llama/Llama-2-7b-hf"].model
VOCAB, LAYER = 32000 * 4096, 202_383_360
ROOT = 2 * VOCAB + 4096
EXACT = Recipe.read({"params": "fp32", "compute": "bf16"})
AGAIN: dict[str, Any] = {"reentrant": True, "checkpointing": "full"}


def traffic(**cluster: Any) -> ShardTraffic:
    return ShardTraffic(LLAMA, EXACT, Cluster(8, **{"sharding": "zero3", **cluster}))


def test_only_stage_three_gathers_weights() -> None:
    assert "gathered" not in traffic(sharding="zero2").at_loss(0, forward=True)
    assert traffic().at_loss(0, forward=True)["gathered"] == 2 * (ROOT + 2 * LAYER)


def test_with_reentrant_checkpoints_no_layer_is_gathered_before_its_turn() -> None:
    found = ShardTraffic(LLAMA, replace(EXACT, **AGAIN), Cluster(8, "zero3"))
    assert found.at_loss(0, forward=True)["gathered"] == 2 * ROOT
    assert found.in_layer(0, first=True, last=False)["gathered"] == 2 * (ROOT + LAYER)
    assert not found.watches_inputs  # but those of layers that are frozen


def test_a_root_keeps_the_gradient_of_the_head_until_that_of_the_embedding_is_there() -> None:
    found = traffic()
    assert found.late == VOCAB
    inside = found.in_layer(0, first=True, last=False)
    assert inside["unreduced"] == 2 * VOCAB
    assert found.at_end() == {"unreduced": (2 + 4) * ROOT}


def test_apart_embedding_and_head_are_not_in_the_way_of_the_layers() -> None:
    found = traffic(outer_apart=True)
    assert found.late == 0
    assert found.at_norm()["gathered"] == 2 * (4096 + 2 * LAYER)
    assert found.at_end() == {"unreduced": (2 + 4) * VOCAB}
    tied = CATALOGUE["meta-llama/Llama-3.2-1B"].model
    cluster = Cluster(8, "zero3", outer_apart=True)
    assert ShardTraffic(tied, EXACT, cluster).late == 128256 * 2048  # one matrix, with the root


def test_gradients_wait_in_a_buffer_as_wide_as_they_are_summed() -> None:
    narrow = Recipe.read({"master": None, "grads": "bf16"})
    found = ShardTraffic(LLAMA, narrow, Cluster(8, "zero3"))
    assert found.at_end() == {"unreduced": (2 + 2) * ROOT}
    found = ShardTraffic(LLAMA, narrow, Cluster.of_runner(8))
    assert found.at_end() == {"unreduced": (2 + 4) * VOCAB}


def test_the_runner_needs_less_than_one_that_gathers_the_ends_with_the_root() -> None:
    given = {"params": "fp32", "checkpointing": "full", "loss": "linear", "attention": "flash"}
    peaks = [
        max(
            sum(parts.values())
            for parts in Step(LLAMA, Recipe.read(given), one).instants().values()
        )
        for one in (Cluster(64, "zero3"), Cluster.of_runner(64))
    ]
    assert peaks[1] < 0.85 * peaks[0]

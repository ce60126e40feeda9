"""What GPUs gather and scatter; tests/gpu_runner/plan/test_predict.py measures whole steps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from unfrozen.job.cluster import Cluster
from unfrozen.job.recipe import Recipe
from unfrozen.memory.gathering import ShardTraffic
from unfrozen.memory.instants import Step
from unfrozen.model import ModelConfig
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


def shard_traffic(cluster: Cluster, **recipe: Any) -> ShardTraffic:
    return ShardTraffic(LLAMA, Recipe.read({"attention": "flash"} | recipe), cluster)


def at(gathered: int, unreduced: int) -> dict[str, int]:
    return {"gathered": 2 * gathered, "unreduced": unreduced}


def test_a_root_with_embedding_and_head_by_hand() -> None:
    found = shard_traffic(Cluster(8, "zero3"))
    assert (found.largest, found.late, found.last) == (ROOT, VOCAB, ROOT)
    assert found.most_gathered == 2 * (ROOT + 2 * LAYER)
    assert found.most_summed == 2 * ROOT
    assert found.at_loss(0, forward=True) == at(ROOT + 2 * LAYER, 0)
    assert found.at_loss(VOCAB, forward=True) == at(ROOT + 2 * LAYER, 2 * VOCAB)
    assert found.at_head(VOCAB) == at(ROOT + 2 * LAYER, 2 * VOCAB)
    assert found.at_norm() == at(ROOT + 2 * LAYER, 2 * VOCAB)
    last_layer = found.in_layer(1000, first=True, last=False)
    assert last_layer == at(ROOT + 2 * LAYER, 2 * 1000 + 2 * VOCAB)
    inside = found.in_layer(1000, first=False, last=False)
    assert inside == at(ROOT + 2 * LAYER, 2 * 1000 + 2 * LAYER + 2 * VOCAB)
    first_layer = found.in_layer(1000, first=False, last=True)
    assert first_layer == at(ROOT + LAYER, 2 * 1000 + 2 * LAYER + 2 * VOCAB)
    assert found.at_embedding() == at(ROOT, 2 * VOCAB + 2 * LAYER + 2 * VOCAB)
    assert found.at_end() == {"unreduced": (2 + 2) * ROOT}
    assert found.after_head() == found.at_head_update() == {}
    assert found.at_layer_update() == at(ROOT + LAYER, 2 * LAYER + 2 * VOCAB)
    assert found.sharded_count(VOCAB + 7, VOCAB) == 7
    assert found.sharded_count(7, VOCAB) == 0


def test_units_of_embedding_and_head_by_hand() -> None:
    """As torchtitan's, whose gradients are reduced in fp32: the root is the last norm alone."""
    found = shard_traffic(Cluster(8, "zero3", outer_apart=True), params="fp32")
    assert (found.largest, found.late, found.last) == (LAYER, 0, VOCAB)
    assert found.at_loss(0, forward=True) == at(4096 + 2 * VOCAB, 0)
    assert found.at_loss(VOCAB, forward=False) == at(4096 + VOCAB + LAYER, 2 * VOCAB)
    assert found.at_norm() == at(4096 + 2 * LAYER, 4 * VOCAB)
    first, last = (found.in_layer(1000, first=one, last=not one) for one in (True, False))
    assert first == at(4096 + 2 * LAYER, 2 * 1000 + 4 * VOCAB)
    assert last == at(4096 + VOCAB + LAYER, 2 * 1000 + 4 * LAYER)
    assert found.at_embedding() == at(4096 + VOCAB, 2 * VOCAB + 4 * LAYER)
    assert found.at_end() == {"unreduced": (2 + 4) * VOCAB}
    assert found.after_head() == at(4096 + LAYER, (2 + 4) * VOCAB)
    assert found.at_head_update() == at(4096 + LAYER, 4 * VOCAB)
    assert found.at_layer_update() == at(4096 + LAYER, 4 * LAYER)
    assert found.at_update() == {"unreduced": 4 * LAYER}


def test_gradients_alone_are_cut_below_zero_3() -> None:
    found = shard_traffic(Cluster(8, "zero2"), params="fp32")
    assert (found.largest, found.late, found.most_gathered, found.grad_width) == (0, 0, 0, None)
    assert found.at_loss(VOCAB, forward=True) == {"unreduced": 0}
    assert found.at_head(VOCAB)["unreduced"] == (2 + 4) * VOCAB
    assert found.in_layer(1000, first=True, last=False) == {"unreduced": (2 + 4) * LAYER}
    assert found.at_norm() == {"unreduced": 0}
    assert found.sharded_count(7, 3) == 7
    narrow = shard_traffic(Cluster(8, "zero2"))  # which are summed as they are
    assert narrow.in_layer(1000, first=True, last=False) == {"unreduced": 2 * LAYER}
    assert shard_traffic(Cluster(8, "zero1")).in_layer(7, first=True, last=True) == {"unreduced": 0}


def test_reentrant_checkpoints_gather_no_layer_ahead_and_a_whole_embedding_has_all_ranks() -> None:
    reenters = {"checkpointing": "full", "reentrant": True, "params": "fp32"}
    found = shard_traffic(Cluster(8, "zero3"), **reenters)
    assert found.at_loss(0, forward=True)["gathered"] == 2 * ROOT
    assert found.in_layer(0, first=False, last=False)["gathered"] == 2 * (ROOT + LAYER)
    resharded = shard_traffic(Cluster(8, "zero3", root_resharded=True))
    assert resharded.at_loss(0, forward=True) == {"unreduced": 0}
    assert resharded.at_head(VOCAB) == {"unreduced": 2 * VOCAB}
    ranks = {"tensor_parallel": 4, "whole_embedding": True}
    local = shard_traffic(Cluster(8, "zero3", **ranks))
    assert local.most_gathered == 2 * (ROOT + 3 * VOCAB + 2 * LAYER)


def test_beside_adapters_no_gradient_of_a_layer_waits_and_4_bits_are_gathered_as_they_are() -> None:
    lora = {"method": "qlora", "base": "nf4", "params": "bf16"}
    found = shard_traffic(Cluster(8, "zero3"), **lora)
    assert found.in_layer(1000, first=False, last=False)["unreduced"] == 0
    norms = 2 * 4096  # which stay in 16 bits
    half_a_byte = found.most_gathered - 2 * ROOT
    assert half_a_byte == pytest.approx(2 * (LAYER - norms) / 2, rel=1e-4)
    targets = {"targets": ["q_proj", "embed_tokens", "lm_head"]}
    whole = shard_traffic(Cluster(8, "zero2"), method="lora", lora=targets, params="bf16")
    assert whole.at_end() == {"unreduced": 2 * 2 * VOCAB}


def test_a_model_without_a_vocabulary_has_no_end_that_waits() -> None:
    masked = CATALOGUE["google-bert/bert-base-uncased"].config
    bert = ModelConfig.from_hf(masked | {"architectures": ["BertForSequenceClassification"]})
    assert bert.architecture.labels == 2
    found = ShardTraffic(bert, EXACT, Cluster(8, "zero3"))
    assert found.late == 0

"""What checkpoints keep, and that nothing of it is counted again when a layer is made again.

Whole steps are measured in tests/gpu_runner/plan/test_predict.py.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from unfrozen.job.cluster import Cluster
from unfrozen.job.recipe import Recipe
from unfrozen.memory.activations import layer_bytes, overlap_bytes, selective_layer_bytes
from unfrozen.memory.instants import Step
from unfrozen.memory.layer_setup import LayerSetup
from unfrozen.model import ModelConfig
from unfrozen.model.catalogue import CATALOGUE

H, Q, K, F, A, S = 64, 64, 32, 176, 4, 35
LLAMA = ModelConfig.from_hf(
    {
        "model_type": "llama",
        "hidden_size": H,
        "intermediate_size": F,
        "num_hidden_layers": 2,
        "num_attention_heads": A,
        "num_key_value_heads": 2,
        "vocab_size": 96,
    }
)


def setup(**given: Any) -> LayerSetup:
    return LayerSetup.of(LLAMA, Recipe.read({"attention": "flash", "seq_len": S, **given}))


def test_selective_checkpointing_recomputes_scores_or_every_second_product() -> None:
    eager = setup(attention="eager")
    scores = 2 * A * S + 4 * A * S
    whole = layer_bytes(LLAMA.architecture, eager)
    assert selective_layer_bytes(LLAMA.architecture, eager) == whole - scores
    kept = 2 * H + 2 * (Q + K + F) + 2 * Q + 4 * A + 2 * H
    assert selective_layer_bytes(LLAMA.architecture, setup()) == kept


def test_where_only_the_scores_are_made_again_everything_else_is_there_once() -> None:
    eager = setup(attention="eager")
    kept = selective_layer_bytes(LLAMA.architecture, eager)
    assert overlap_bytes(LLAMA.architecture, eager, "selective") == kept


def test_products_that_were_kept_are_not_made_a_second_time() -> None:
    """v, the gate and the attention's output are the same tensors; q is gone, rotated."""
    shared = overlap_bytes(LLAMA.architecture, setup(), "selective")
    assert shared == 2 * (Q + K + F) + 2 * Q + 4 * A
    exact = setup(params="fp32", compute="fp32")
    shared = overlap_bytes(LLAMA.architecture, exact, "selective")
    assert shared == 4 * H + 4 * (Q + K + F) + 4 * Q + 4 * A


def test_the_input_of_a_layer_is_there_once_where_its_norm_reads_it_as_it_is() -> None:
    a = LLAMA.architecture
    assert overlap_bytes(a, setup(), "full") == 0  # the norm keeps a copy in fp32
    assert overlap_bytes(a, setup(params="fp32", compute="bf16"), "full") == 4 * H
    assert overlap_bytes(a, setup(kernels="fused_block"), "full") == 2 * H


def test_a_layer_made_again_stands_beside_what_was_kept_of_all_of_them() -> None:
    given = {"attention": "flash", "checkpointing": "selective", "params": "fp32"}
    part = Step(LLAMA, Recipe.read(given), Cluster()).micro_batch
    inside = [point for point in part.layer_points() if "recomputed" in point]
    shared = overlap_bytes(LLAMA.architecture, part.setup, "selective")
    assert {point["recomputed"] for point in inside} == {part.layer - part.tokens * shared}
    assert inside[0]["layers"] == 2 * part.kept


T = 2 * S
ADAPTERS = {"method": "lora", "params": "bf16", "checkpointing": "full", "micro_batch": 2}


def highest_layers(cluster: Cluster, **recipe: Any) -> int:
    """The most that layers hold of their inputs, outputs and gradients inside one of them."""
    given = {"attention": "flash", "seq_len": S, **ADAPTERS, **recipe}
    part = Step(DEEP, Recipe.read(given), cluster).micro_batch
    return max(point["layers"] for point in part.layer_points() if "recomputed" in point)


DEEP = ModelConfig.from_hf(
    {
        "model_type": "llama",
        "hidden_size": H,
        "intermediate_size": F,
        "num_hidden_layers": 10,
        "num_attention_heads": A,
        "num_key_value_heads": 2,
        "vocab_size": 96,
    }
)


def test_a_reentrant_checkpoint_holds_the_output_it_recomputed() -> None:
    inputs = 10 * 2 * T * H
    assert highest_layers(Cluster()) == inputs
    assert highest_layers(Cluster(), reentrant=True) == inputs + 2 * T * H


def test_fsdp1_holds_inputs_and_gradients_of_frozen_checkpoints_to_the_end() -> None:
    inputs, each = 10 * 2 * T * H, 2 * T * H
    sharded = Cluster(2, "zero3")
    assert highest_layers(sharded, reentrant=True) == inputs + 10 * each
    trained = {"method": "full", "master": None, "reentrant": True}
    assert highest_layers(sharded, **trained) == inputs + each
    assert highest_layers(sharded) == inputs


def test_fused_projections_are_kept_as_one_and_read_as_one() -> None:
    """Phi-3: q, k and v are one matmul and gate and up another, the first of every two."""
    a = CATALOGUE["microsoft/Phi-3-mini-4k-instruct"].model.architecture
    q, k, f = a.q_width, a.kv_width, a.ffn
    kept = selective_layer_bytes(a, setup())
    assert kept == 2 * (q + 2 * k + 2 * f + q) + 4 * a.heads + 2 * a.hidden
    assert overlap_bytes(a, setup(), "selective") == 2 * (q + 2 * k + 2 * f + q) + 4 * a.heads
    gpt = CATALOGUE["openai-community/gpt2"].model.architecture  # whose MLP has no gate
    h, whole = 768, 4 * 768 + 3072
    assert selective_layer_bytes(gpt, setup()) == 2 * whole + 4 * 12 + 2 * h
    assert overlap_bytes(gpt, setup(), "selective") == 2 * h + 2 * whole + 4 * 12


@pytest.mark.parametrize(
    ("name", "routed"),
    [("Qwen/Qwen3-30B-A3B", 128), ("Qwen/Qwen1.5-MoE-A2.7B", 5632 + 2048 + 1)],
)
def test_of_a_sparse_layer_q_v_the_output_and_what_the_router_computes_are_kept(
    name: str, routed: int
) -> None:
    """A shared expert is of every second matmul its gate, its last one, and the gate of it all."""
    a = CATALOGUE[name].model.architecture
    kept = 2 * (a.q_width + a.kv_width + a.q_width + routed) + 4 * a.heads
    assert selective_layer_bytes(a, setup(), sparse=True) == kept + 2 * 2048
    assert overlap_bytes(a, setup(), "selective", sparse=True) == kept


def test_copies_for_every_head_are_not_what_a_checkpoint_kept() -> None:
    shared = overlap_bytes(LLAMA.architecture, setup(attention="sdpa"), "selective")
    assert shared == 2 * (Q + F) + 2 * Q + 4 * A
    alike = replace(LLAMA.architecture, kv_heads=4)  # which need none
    assert overlap_bytes(alike, setup(attention="sdpa"), "selective") == 2 * (3 * Q + F) + 4 * A

"""Layers: their products hold all weights, and the bytes of kernels follow from their tensors."""

from __future__ import annotations

import pytest

from unfrozen.job.recipe import Recipe
from unfrozen.memory.flow import Flow
from unfrozen.model import ModelConfig
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan.flops import layer_matrices
from unfrozen.plan.timing.layers import layer_moved, layer_products
from unfrozen.plan.timing.passes import layer_kinds

ROUGH = ("google-t5/t5-base",)  # of its decoder's layers the second attention is left out
NAMES = ("meta-llama/Llama-3.1-8B", "google/gemma-2-9b", "microsoft/Phi-3-mini-4k-instruct")


def model(name: str) -> ModelConfig:
    return ModelConfig.from_hf(CATALOGUE[name].config)


@pytest.mark.parametrize("name", [name for name in CATALOGUE if name not in ROUGH])
def test_products_of_all_layers_hold_the_matrices_that_act_on_a_token(name: str) -> None:
    """Matrices are counted by their tensors, products by the sizes of each kind of layer."""
    a = model(name).architecture
    held = sum(
        count * p.weights * (p.share if p.groups > 1 else 1)
        for kind, sparse, count in layer_kinds(a)
        for p in layer_products(kind, sparse)
    )
    assert held == pytest.approx(layer_matrices(a), rel=0.01)


def test_experts_see_their_share_of_the_tokens_and_more_where_they_are_shared_out() -> None:
    a = model("Qwen/Qwen3-30B-A3B").architecture
    gate = layer_products(a, sparse=True)[-2]
    assert (gate.groups, gate.share) == (128, 8 / 128)
    shared = layer_products(a, sparse=True, expert_ranks=8)[-2]
    assert (shared.groups, shared.share) == (16, 8 / 16)
    done = {p.groups * p.share for p in (gate, shared)}
    assert done == {8}, "every token meets eight experts either way"


def test_every_place_of_an_expert_is_computed_the_empty_ones_too() -> None:
    a = model("Qwen/Qwen3-30B-A3B").architecture
    even, padded = (layer_products(a, sparse=True, places=n)[-1] for n in (1.0, 16.0))
    assert (padded.groups, padded.share) == (even.groups, 16 * even.share)


def test_bytes_of_a_fused_layer_by_hand() -> None:
    found = model(NAMES[0])
    flow = Flow.of(found, Recipe(kernels="fused"))
    a = found.architecture
    stream = (
        2 * (2 * 2 + 2 * 2) * a.hidden
    )  # twice: x and what is added read; x and its norm written
    rotary = 4 * (a.q_width + a.kv_width)
    inner = 6 * a.ffn  # gate and up read, their product written
    assert layer_moved(a, flow).forward == stream + rotary + inner


def test_eager_kernels_move_more_and_launch_more_than_fused_ones() -> None:
    found = model(NAMES[0])
    eager, block, fused = (
        layer_moved(found.architecture, Flow.of(found, Recipe(kernels=kind)))
        for kind in ("eager", "fused_block", "fused")
    )
    for part in range(4):
        assert eager[part] > block[part] >= 0.9 * fused[part]


def test_sequence_parallel_ranks_share_norms_and_additions() -> None:
    found = model(NAMES[0])
    flow = Flow.of(found, Recipe())
    whole = layer_moved(found.architecture, flow)
    assert layer_moved(found.architecture, flow, whole_ranks=4).forward < whole.forward

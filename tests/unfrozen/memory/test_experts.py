"""Experts by hand: what routing saves, their tensors, and the backward pass of one layer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from unfrozen.job.recipe import Recipe
from unfrozen.memory.experts import (
    dispatched_bytes,
    expert_saved_tensors,
    expert_workspace,
    folded_bytes,
)
from unfrozen.memory.layer_setup import LayerSetup
from unfrozen.model.catalogue import CATALOGUE

MIXTRAL, QWEN = "mistralai/Mixtral-8x7B-v0.1", "Qwen/Qwen3-30B-A3B"
H, F, T = 4096, 14336, 2  # of Mixtral, whose tokens go to two of eight experts


def saved(name: str, **recipe: Any) -> dict[str, int]:
    model = CATALOGUE[name].model
    setup = LayerSetup.of(model, Recipe.read({"attention": "flash"} | recipe))
    return {item.label: item.size for item in expert_saved_tensors(model.architecture, setup)}


@pytest.mark.parametrize(
    ("name", "params", "size"),
    [
        # fp32 scores; indices and places; weights, which Mixtral keeps in fp32; their sum
        (MIXTRAL, "bf16", 4 * 8 + 32 * 2 + 4 * 2 + (4 * 2 + 4)),
        (MIXTRAL, "fp32", 4 * 8 + 32 * 2 + 4 * 2 + (4 * 2 + 4)),
        (QWEN, "bf16", 4 * 128 + 32 * 8 + 2 * 8),  # weights that are no shares
        ("Qwen/Qwen1.5-MoE-A2.7B", "bf16", 4 * 60 + 32 * 4 + 2 * 4),
        ("openai/gpt-oss-20b", "bf16", 40 * 4 + 2 * 2 * 4),  # of the chosen alone
        # the input in fp32, and a mask of the scores; groups and those at the top
        ("deepseek-ai/DeepSeek-V3", "bf16", 4 * 7168 + 5 * 256 + 40 * 8 + 16 * 8 + 8 * 4 + 4),
        ("deepseek-ai/DeepSeek-V3", "fp32", 5 * 256 + 40 * 8 + 16 * 8 + 8 * 4 + 4),
        ("deepseek-ai/DeepSeek-V2-Lite", "bf16", 4 * 2048 + 4 * 64 + 40 * 6),
    ],
)
def test_a_router_saves_scores_indices_and_weights(name: str, params: str, size: int) -> None:
    assert saved(name, params=params, compute=params)["routing"] == size


def test_minimaxs_router_reads_its_input_as_it_is() -> None:
    model = CATALOGUE["deepseek-ai/DeepSeek-V3"].model
    setup = LayerSetup.of(model, Recipe.read({"attention": "flash"}))
    minimax = replace(model.architecture, model_type="minimax_m2")
    routing, *_ = expert_saved_tensors(minimax, setup)
    assert routing.size == 5 * 256 + 40 * 8 + 16 * 8 + 8 * 4 + 4  # no copy of it in fp32


@pytest.mark.parametrize(
    ("name", "kernels", "inner", "ffn", "chosen"),
    [
        (MIXTRAL, "eager", 4, F, 2),  # gate, up, the function's output, the product
        (MIXTRAL, "fused", 3, F, 2),  # the function's output is made again
        ("openai/gpt-oss-20b", "eager", 7, 2880, 4),  # with its bounds, written out
        ("openai/gpt-oss-20b", "fused", 3, 2880, 4),
    ],
)
def test_experts_save_tensors_as_wide_as_they_are(
    name: str, kernels: str, inner: int, ffn: int, chosen: int
) -> None:
    found = saved(name, kernels=kernels)
    assert found["experts"] == inner * 2 * chosen * ffn
    width = CATALOGUE[name].model.architecture.hidden
    assert found["copies for the experts, in and out"] == (1 + 1) * 2 * chosen * width


def test_experts_without_a_gate_save_what_the_function_reads_and_writes() -> None:
    model = CATALOGUE[MIXTRAL].model
    a = model.architecture
    assert a.experts
    plain = replace(a, experts=replace(a.experts, gated=False))
    setup = LayerSetup.of(model, Recipe.read({"attention": "flash"}))
    sizes = {item.label: item.size for item in expert_saved_tensors(plain, setup)}
    assert sizes["experts"] == 2 * 2 * T * F


def test_a_shared_expert_saves_an_mlp_and_its_gate() -> None:
    found = saved("Qwen/Qwen1.5-MoE-A2.7B")
    assert found["shared expert"] == 4 * 2 * 5632
    assert found["gate of the shared expert"] == 2 * (2048 + 1)
    assert saved("deepseek-ai/DeepSeek-V3")["gate of the shared expert"] == 0
    model = CATALOGUE["Qwen/Qwen1.5-MoE-A2.7B"].model
    setup = LayerSetup.of(model, Recipe.read({"method": "lora"}))  # experts are frozen
    formulas = [i.formula for i in expert_saved_tensors(model.architecture, setup)]
    assert formulas[-2:] == ["4·2·f_shared", "2·(h + 1)"]


def points(name: str = MIXTRAL, ranks: int = 1, **recipe: Any) -> tuple[tuple[int, ...], ...]:
    model = CATALOGUE[name].model
    setup = LayerSetup.of(model, Recipe.read({"attention": "flash"} | recipe))
    return expert_workspace(model.architecture, setup, ranks)


def test_the_backward_pass_of_experts_by_hand() -> None:
    last = 8 * F * H  # all last matrices; gate and up are twice as many
    assert points() == (
        (0, 3 * 4 * T * H + 2 * H, 0, 0),  # the weighted sum, which Mixtral takes in fp32
        (2 * T * (F + H) + 12 * T, 3 * 2 * T * F + 2 * H, last, 0),
        (2 * T * (4 * F + H), 2 * T * (2 * F + H) + 2 * H, 3 * last, 0),
    )
    fused = points(kernels="fused", ranks=4)
    assert fused[2] == (
        2 * T * (3 * F + H // 4),
        2 * T * (2 * F + H // 4) + 2 * H // 4,
        3 * last,
        0,
    )
    assert points(QWEN)[0] == (0, 3 * 2 * 8 * 2048 + 2 * 2048, 0, 0)


def test_experts_that_are_cast_cast_their_weights_again() -> None:
    last = 8 * F * H
    *_, third, fourth = points(params="fp32", experts_cast=True)
    assert third[3] == 2 * 2 * last
    assert fourth == (0, 2 * T * (H + F) + 4 * H, last, 2 * last)
    narrow, wide = (
        points(name, params="fp32", experts_cast=True)[0][1]
        for name in (QWEN, "deepseek-ai/DeepSeek-V2-Lite")
    )
    assert narrow == 3 * 2 * 8 * 2048 + 4 * 2048
    assert wide == 3 * 4 * 6 * 2048 + 4 * 2048  # its shares are fp32 under autocast


def test_stacks_with_adapters_are_added_up_one_product_at_a_time() -> None:
    lora = {"targets": ["experts"], "library": "peft"}
    model = CATALOGUE[QWEN].model
    setup = LayerSetup.of(model, Recipe.read({"method": "lora", "lora": lora}))
    down = 2 * 128 * 768 * 2048
    assert folded_bytes(model.architecture, setup) == (2 * down, down)
    plain = LayerSetup.of(model, Recipe.read({}))
    assert folded_bytes(model.architecture, plain) == (0, 0)
    llama = CATALOGUE["meta-llama/Llama-3.1-8B"].model
    assert folded_bytes(llama.architecture, setup) == (0, 0)


def test_a_stack_with_adapters_is_there_for_its_own_matmul_alone() -> None:
    lora = {"targets": ["experts"], "library": "peft"}
    found, t, h, f = points(QWEN, method="lora", lora=lora), 8, 2048, 768
    down = 2 * 128 * 768 * 2048
    assert [fixed for *_, fixed in found] == [0, -down, 2 * down - down, down]
    assert found[3] == (2 * t * h + 12 * t, 2 * t * (f + h) + 2 * h, 0, down)


def test_tokens_on_their_way_to_other_gpus_are_as_wide_as_the_stream() -> None:
    model = CATALOGUE[MIXTRAL].model
    setup = LayerSetup.of(model, Recipe.read({}))
    assert dispatched_bytes(model.architecture, setup, 100) == 2 * 100 * T * H
    llama = CATALOGUE["meta-llama/Llama-3.1-8B"].model
    assert dispatched_bytes(llama.architecture, setup, 100) == 0

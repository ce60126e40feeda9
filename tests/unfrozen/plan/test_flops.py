"""FLOPs: six for each parameter that acts on a token, and attention."""

from __future__ import annotations

from typing import Any

import pytest

from unfrozen.job import Job
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan.flops import adapter_parameters, flops, layer_matrices

LLAMA_7B = CATALOGUE["meta-llama/Llama-2-7b-hf"].config
DENSE = [name for name, found in CATALOGUE.items() if found.model.architecture.experts is None]


def job(recipe: dict[str, Any] | None = None, name: str = "meta-llama/Llama-2-7b-hf") -> Job:
    return Job.read({"model": CATALOGUE[name].config, "recipe": recipe or {}})


def test_matrices_that_act_on_a_token_are_all_but_the_embeddings() -> None:
    for name in DENSE:
        model = CATALOGUE[name].model
        layers = range(model.architecture.layers)
        inside = (tensor for index in layers for tensor in model.layer_tensors(index))
        matrices = sum(tensor.size for tensor in inside if len(tensor.shape) == 2)
        assert layer_matrices(model.architecture) == matrices, name


def test_a_mixture_counts_the_experts_that_see_a_token() -> None:
    a = CATALOGUE["mistralai/Mixtral-8x7B-v0.1"].model.architecture
    active = layer_matrices(a) + 2 * a.vocab * a.hidden
    assert active / 1e9 == pytest.approx(12.9, abs=0.05), "published: 12.9 B of 46.7 B"
    qwen = CATALOGUE["Qwen/Qwen3-30B-A3B"].model.architecture
    assert (layer_matrices(qwen) + 2 * qwen.vocab * qwen.hidden) / 1e9 == pytest.approx(3.3, 0.02)
    small = CATALOGUE["Qwen/Qwen1.5-MoE-A2.7B"].model.architecture
    assert (layer_matrices(small) + 2 * small.vocab * small.hidden) / 1e9 == pytest.approx(
        2.7, 0.02
    )


def test_training_costs_six_flops_a_parameter_and_causal_attention() -> None:
    found, a = flops(job({"attention": "flash"})), job().model.architecture
    matrices = layer_matrices(a) + a.vocab * a.hidden
    attention = 2 * 2049 * 4096 * 32
    assert found.forward == 2 * matrices + attention
    assert found.backward == 2 * found.forward
    assert found.model == found.total == 3 * found.forward
    assert found.recompute == 0


def test_kernels_that_take_a_mask_compute_what_it_hides() -> None:
    flash, masked = flops(job({"attention": "flash"})), flops(job({"attention": "sdpa"}))
    assert masked.model == flash.model
    assert masked.total > flash.total


def test_full_checkpointing_repeats_the_forward_pass_of_the_layers() -> None:
    found, a = flops(job({"checkpointing": "full"})), job().model.architecture
    assert found.recompute == found.forward - 2 * a.vocab * a.hidden
    assert found.model == flops(job()).model, "utilisation counts nothing twice"


def test_frozen_weights_cost_four_flops_a_parameter_and_adapters_six() -> None:
    lora = job({"method": "lora", "lora": {"rank": 16}, "attention": "flash"})
    full = job({"attention": "flash"})
    assert adapter_parameters(full) == 0
    assert adapter_parameters(lora) == 39_976_960
    a = lora.model.architecture
    frozen = layer_matrices(a) + a.vocab * a.hidden
    assert flops(lora).model == flops(full).model - 2 * frozen + 6 * adapter_parameters(lora)

"""Layers: their matmuls hold all weights, and the bytes of kernels follow from their tensors."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from decoder_configs import decoders
from unfrozen.errors import ModelError
from unfrozen.job import Job
from unfrozen.job.recipe import Recipe
from unfrozen.memory.layer_setup import LayerSetup
from unfrozen.model import Architecture, ModelConfig
from unfrozen.model.architecture import Absent, Convolution, Delta, Dual, Latent, Selective
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan.flops import layer_matrices
from unfrozen.plan.step_time import step_time
from unfrozen.plan.timing.layers import (
    layer_matmuls,
    layer_moved,
    mixer_matmuls,
    mixer_moved,
    places_of_token,
    scan_flops,
)
from unfrozen.plan.timing.passes import layer_kinds

LEFT_OUT = {"zamba2"}  # of its shared blocks, the plan says, all is estimated
ROUGH = ("google-t5/t5-base",)  # of its decoder's layers the second attention is left out
LATENT = Latent(heads=128, q_rank=1536, kv_rank=512, nope=128, rope=64, value=128)
NAMES = ("meta-llama/Llama-3.1-8B", "google/gemma-2-9b", "microsoft/Phi-3-mini-4k-instruct")


def model(name: str) -> ModelConfig:
    return ModelConfig.from_hf(CATALOGUE[name].config)


def held(a: Architecture) -> float:
    """Weights of the matmuls of all layers that act on one token."""
    return sum(
        count * p.weights * (p.share if p.groups > 1 else 1)
        for kind, sparse, count in layer_kinds(a)
        for p in layer_matmuls(kind, sparse)
    )


def test_matmuls_of_all_layers_hold_the_matrices_that_act_on_a_token() -> None:
    """Matrices are counted by their tensors, matmuls by the sizes of each kind of layer."""
    for name in CATALOGUE.keys() - ROUGH:
        a = model(name).architecture
        assert held(a) == pytest.approx(layer_matrices(a), rel=0.01), name


@pytest.mark.slow
def test_so_do_those_of_every_decoder_of_transformers_that_is_read() -> None:
    off, met = {}, 0
    for model_type, _, given in decoders():
        with suppress(ModelError):
            a = ModelConfig.from_hf(given).architecture
            if "by the shapes of their tensors" in a.guesses:
                continue  # what such layers compute is estimated, and the plan says so
            met += 1
            if abs(ratio := held(a) / layer_matrices(a) - 1) > 0.015:
                off[model_type] = ratio
    assert off.keys() == LEFT_OUT, off
    assert met > 75


def test_experts_see_their_share_of_the_tokens_and_more_where_they_are_shared_out() -> None:
    a = model("Qwen/Qwen3-30B-A3B").architecture
    gate = layer_matmuls(a, sparse=True)[-2]
    assert (gate.groups, gate.share) == (128, 8 / 128)
    shared = layer_matmuls(a, sparse=True, expert_ranks=8)[-2]
    assert (shared.groups, shared.share) == (16, 8 / 16)
    done = {p.groups * p.share for p in (gate, shared)}
    assert done == {8}, "every token meets eight experts either way"


def test_every_place_of_an_expert_is_computed_the_empty_ones_too() -> None:
    a = model("Qwen/Qwen3-30B-A3B").architecture
    even, padded = (layer_matmuls(a, sparse=True, places=n)[-1] for n in (1.0, 16.0))
    assert (padded.groups, padded.share) == (even.groups, 16 * even.share)


def test_bytes_of_a_fused_layer_by_hand() -> None:
    found = model(NAMES[0])
    setup = LayerSetup.of(found, Recipe(kernels="fused"))
    a = found.architecture
    stream = (
        2 * (2 * 2 + 2 * 2) * a.hidden
    )  # twice: x and what is added read; x and its norm written
    rotary = 4 * (a.q_width + a.kv_width)
    inner = 6 * a.ffn  # gate and up read, their product written
    assert layer_moved(a, setup).forward == stream + rotary + inner


def test_eager_kernels_move_more_and_launch_more_than_fused_ones() -> None:
    found = model(NAMES[0])
    eager, block, fused = (
        layer_moved(found.architecture, LayerSetup.of(found, Recipe(kernels=kind)))
        for kind in ("eager", "fused_block", "fused")
    )
    for part in range(4):
        assert eager[part] > block[part] >= 0.9 * fused[part]


def test_a_token_is_read_once_a_gpu_and_written_once_an_expert_where_kernels_sort_it() -> None:
    """Four of eight experts stand on 2 · (1 − 1/2⁴) of two GPUs in the mean."""
    assert places_of_token(2, 4) == pytest.approx(1.875)
    assert places_of_token(1, 4) == 1
    found = model("Qwen/Qwen3-30B-A3B")
    setup = LayerSetup.of(found, Recipe(kernels="fused"))
    a, width = found.architecture, 2 * found.architecture.hidden
    copied, sorted_there = (layer_moved(a, setup, True, 1, places) for places in (None, 4.0))
    assert copied.forward - sorted_there.forward == (6 * 8 - 2 * (8 + 4)) * width
    assert sorted_there.kernels < copied.kernels


def test_sequence_parallel_ranks_share_norms_and_additions() -> None:
    found = model(NAMES[0])
    setup = LayerSetup.of(found, Recipe())
    whole = layer_moved(found.architecture, setup)
    assert layer_moved(found.architecture, setup, whole_ranks=4).forward < whole.forward


def weights(mixer: Any, width: int) -> int:
    return sum(p.weights for p in mixer_matmuls(mixer, width))


def seconds(config: dict[str, Any], **recipe: Any) -> float:
    given = {"attention": "flash", "kernels": "fused", "micro_batch": 1} | recipe
    job = {"model": config, "recipe": given, "gpu": "H100 SXM"}
    return step_time(Job.read(job)).seconds


def test_latent_attention_goes_through_narrow_products() -> None:
    queries = 5120 * 1536 + 1536 * 128 * 192
    keys = 5120 * (512 + 64) + 512 * 128 * (128 + 128)
    assert weights(LATENT, 5120) == queries + keys + 128 * 128 * 5120
    whole = LATENT._replace(q_rank=0)
    assert weights(whole, 5120) == 5120 * 128 * 192 + keys + 128 * 128 * 5120


def test_latent_attention_scores_by_wider_heads_than_it_weighs() -> None:
    a = ModelConfig.from_hf(CATALOGUE["deepseek-ai/DeepSeek-V3"].config).architecture
    assert a.score_widths == (128 * 192, 128 * 128)


@pytest.mark.parametrize(
    ("mixer", "flops"),
    [
        (Dual(heads=8, head_dim=64, state=128, groups=1, conv=4, chunk=256), 589_824),
        (Delta(key_heads=4, value_heads=8, key_dim=64, value_dim=64, conv=4), 524_288),
        (Selective(inner=512, state=16, rank=16, conv=4), 0),
        (Convolution(width=512, conv=3), 0),
        (LATENT, 0),
        (None, 0),
    ],
)
def test_scans_in_chunks_are_products_within_them_and_between(mixer: Any, flops: float) -> None:
    """2·256·(128 + 512) + 4·128·512, and 8·(64·(6·64 + 4·64) + 6·64·64)."""
    assert scan_flops(mixer) == flops


def test_what_is_not_there_computes_and_moves_nothing() -> None:
    setup = LayerSetup.of(ModelConfig.from_hf(CATALOGUE["openai-community/gpt2"].config), Recipe())
    assert mixer_matmuls(Absent(), 512) == ()
    assert set(mixer_moved(Absent(), setup)) == {0}


def test_a_state_space_is_as_fast_a_token_however_long_the_sequence() -> None:
    config = CATALOGUE["state-spaces/mamba-2.8b-hf"].config
    short = seconds(config, seq_len=2048, micro_batch=16)
    long = seconds(config, seq_len=32_768, micro_batch=1)
    assert long == pytest.approx(short, rel=0.01)


def test_a_hybrid_scores_in_its_layers_of_attention_alone() -> None:
    """Each layer of a kind has that kind's time: more positions cost a hybrid less than Llama."""

    def longer(name: str) -> float:
        config = CATALOGUE[name].config
        short = seconds(config, seq_len=2048, micro_batch=16)
        return seconds(config, seq_len=32_768, micro_batch=1) / short

    assert 1.0 < longer("ai21labs/Jamba-v0.1") < longer("meta-llama/Llama-3.1-8B")

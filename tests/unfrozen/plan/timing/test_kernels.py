"""What the kernels of a layer move and how many they are, one by one; a matmul by its tiles."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from unfrozen.job.recipe import Recipe
from unfrozen.memory.layer_setup import LayerSetup
from unfrozen.model.architecture import Convolution, Delta, Dual, Latent, Selective
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan.timing.layers import (
    Matmul,
    Moved,
    Rates,
    layer_moved,
    matmul_seconds,
    mixer_matmuls,
    mixer_moved,
)

LLAMA, QWEN = "meta-llama/Llama-3.1-8B", "Qwen/Qwen3-30B-A3B"
GPT, GEMMA = "openai-community/gpt2", "google/gemma-2-9b"
D, Q, KV, F = 4096, 4096, 1024, 14336  # of Llama-3.1-8B
ADDED = 2 * 3  # two additions: two numbers read, one written
NORM = (2 + 4) + (4 + 4) + 4 + (4 + 4) + (4 + 2) + (2 + 2)
"""Bytes a number of RMSNorm in bf16: to fp32, square, mean, scale, back, times its weight."""
NORM_32 = (4 + 4) + 4 + (4 + 4) + (4 + 4)


def moved(name: str, sparse: bool = False, places: float | None = None, **recipe: Any) -> Moved:
    model = CATALOGUE[name].model
    setup = LayerSetup.of(model, Recipe.read({"attention": "flash"} | recipe))
    return layer_moved(model.architecture, setup, sparse, 1, places)


def test_an_eager_layer_moves_what_each_of_its_kernels_reads_and_writes() -> None:
    turned = 10 * 2 * (Q + KV)  # half turned and joined, two products, a sum: of q and of k
    assert moved(LLAMA) == Moved(
        2 * NORM * D + ADDED * 2 * D + turned + 5 * 2 * F,
        2 * 2 * NORM * D + ADDED * 2 * D + turned + 9 * 2 * F,
        2 * 6 + 2 + 10 + 2,
        2 * 12 + 2 + 10 + 3,
    )


def test_in_fp32_nothing_is_cast() -> None:
    turned = 10 * 4 * (Q + KV)
    found = moved(LLAMA, params="fp32", compute="fp32")
    forward = 2 * NORM_32 * D + ADDED * 4 * D + turned + 5 * 4 * F
    assert found.forward == forward
    assert found.backward == forward + 2 * NORM_32 * D + 4 * 4 * F


def test_under_autocast_inputs_of_linear_layers_are_cast_and_their_gradients_back() -> None:
    found = moved(LLAMA, params="fp32")
    casts = (4 + 2) * 5 * D  # read by q, k, v, gate and up
    turned = 10 * 2 * (Q + KV)
    assert found == Moved(
        2 * NORM_32 * D + ADDED * 4 * D + turned + 5 * 2 * F + casts,
        4 * NORM_32 * D + ADDED * 4 * D + turned + 9 * 2 * F + casts,
        26 + 2 * 7,
        39 + 2 * 7,
    )
    d, f = 768, 3072  # GPT-2's q, k and v are one layer, and so is its MLP's first
    dense = moved(GPT, params="fp32", dropout=0.0)
    wide = 2 * 2 * 4 * d + ADDED * 4 * d + 2 * 7 * 2 * f + (4 + 2) * 2 * d
    assert (dense.forward, dense.kernels) == (wide, 2 + 2 + 7 + 2 * 4)


def test_a_fused_block_has_one_kernel_a_norm_and_one_for_the_product() -> None:
    turned = 10 * 2 * (Q + KV)
    assert moved(LLAMA, kernels="fused_block") == Moved(
        2 * 2 * 2 * D + ADDED * 2 * D + turned + 3 * 2 * F,
        2 * 5 * 2 * D + ADDED * 2 * D + turned + 5 * 2 * F,
        2 * 1 + 2 + 10 + 1,
        2 * 2 + 2 + 10 + 2,
    )


def test_a_fused_layer_reads_each_number_once_and_writes_it_once() -> None:
    assert moved(LLAMA, kernels="fused") == Moved(
        2 * (2 * 2 + 2 * 2) * D + 2 * 2 * (Q + KV) + 3 * 2 * F,
        2 * (3 * 2 + 2 * 2) * D + 2 * 2 * (Q + KV) + 5 * 2 * F,
        2 + 3,
        4 + 4,
    )
    d, f = 768, 3072
    plain = moved(GPT, kernels="fused")  # no positions to turn, no gate
    assert plain == Moved(16 * d + 2 * 2 * f, 20 * d + 3 * 2 * f, 2 + 3, 4 + 4)


def test_gpts_layer_norm_is_one_kernel_and_its_function_seven() -> None:
    d, f = 768, 3072
    found = moved(GPT, dropout=0.1)
    dropped = 2 * (2 + 2 + 1) * d  # read, written, and a byte of the mask
    assert found == Moved(
        2 * (2 + 2) * d + ADDED * 2 * d + dropped + 2 * 7 * 2 * f,
        2 * 5 * 2 * d + ADDED * 2 * d + dropped + 3 * 7 * 2 * f,
        2 + 2 + 2 + 7,
        4 + 2 + 2 + 7,
    )


def test_gemma_norms_what_enters_and_what_leaves() -> None:
    a = CATALOGUE[GEMMA].model.architecture
    turned = 10 * 2 * (a.q_width + a.kv_width)
    found = moved(GEMMA)
    assert found.forward == (4 * NORM + ADDED * 2) * a.hidden + turned + 5 * 2 * a.ffn
    assert found.kernels == 4 * 6 + 2 + 10 + 2


def test_experts_scores_are_fp32_and_tokens_are_copied_sorted_and_summed() -> None:
    d, turned, inner = 2048, 4096 + 512, 8 * 768
    outside = (2 * NORM + ADDED * 2) * d + (10 * 2 + NORM) * turned  # norms of q and k
    copies = 6 * 2 * 8 * d + 12 * 128
    back = (4 * NORM + ADDED * 2) * d + (10 * 2 + 2 * NORM) * turned
    assert moved(QWEN, True) == Moved(
        outside + copies + 5 * 2 * inner,
        back + 2 * copies + 9 * 2 * inner,
        26 + 6 + 14,
        39 + 12 + 24,
    )
    fused = 2 * (2 * 2 + 2 * 2) * d + 2 * 2 * turned
    sent = 2 * 2 * d * (8 + 4) + 12 * 128  # to four GPUs, written for eight experts there
    assert moved(QWEN, True, 4.0, kernels="fused") == Moved(
        fused + sent + 3 * 2 * inner, fused + 2 * 2 * d + sent + 5 * 2 * inner, 5 + 8, 8 + 10
    )


@pytest.mark.parametrize(
    ("mixer", "matmuls", "numbers", "kernels"),
    [
        (
            Latent(4, 24, 16, 8, 2, 6),
            [(24, 64, 1), (40, 24, 1), (18, 64, 1), (56, 16, 1), (64, 24, 1)],
            2 * (24 + 16) + 4 * 40,  # two norms; q and k put together with their positions
            8,
        ),
        (
            Latent(4, 0, 16, 8, 2, 6),
            [(40, 64, 1), (18, 64, 1), (56, 16, 1), (64, 24, 1)],
            2 * 16 + 4 * 40,
            8,
        ),
        (
            Delta(2, 4, 8, 16, 4),  # q, k, v and z; two gates a head
            [(16 + 16 + 64 + 64, 64, 1), (8, 64, 1), (64, 64, 1)],
            3 * (16 + 16 + 64) + 4 * 16 + 4 * 64,
            10,
        ),
        (
            Dual(4, 8, 16, 2, 4, 32),  # z; x, B and C; steps
            [(32 + 96 + 4, 64, 1), (64, 32, 1)],
            3 * 96 + 5 * 32,
            7,
        ),
        (
            Selective(32, 8, 3, 4),  # x and z; what steps come from, B and C; steps
            [(64, 64, 1), (3 + 16, 32, 1), (32, 3, 1), (64, 32, 1)],
            6 * 32 + 2 * 8,
            4,
        ),
        (Convolution(48, 3), [(3 * 48, 64, 1), (64, 48, 1)], 8 * 48, 4),
    ],
    ids=["latent", "latent queries", "delta", "dual", "selective", "convolution"],
)
def test_a_mixer_multiplies_and_moves(
    mixer: Any, matmuls: list[tuple[int, int, int]], numbers: int, kernels: int
) -> None:
    assert mixer_matmuls(mixer, 64) == tuple(Matmul(*sizes) for sizes in matmuls)
    setup = LayerSetup.of(CATALOGUE[LLAMA].model, Recipe())
    moves = mixer_moved(mixer, setup)
    assert moves == Moved(2 * numbers, 4 * numbers, kernels, 2 * kernels)


@pytest.mark.parametrize(
    ("m", "n", "waves", "area"),
    [
        (512, 128, 1, 256 * 128),  # two tiles of 256 x 128, where four of 128 x 128 take two waves
        (128, 512, 1, 128 * 256),
        (128, 128, 1, 128 * 128),
        (256, 128, 1, 128 * 128),
        (513, 128, 3, 128 * 128),  # a fifth tile, and a wave of its own
    ],
)
def test_a_matmul_takes_whole_waves_of_its_best_tiles(
    m: int, n: int, waves: int, area: int
) -> None:
    rates = Rates(flops=2e12, multiprocessors=2, memory=1e18)
    tile = 2 * 1000 * area / 1e12 + 1e-6  # 2·k operations a number, at one processor's rate
    assert matmul_seconds(m, n, 1000, rates) == pytest.approx(waves * tile, rel=1e-9)


def test_a_matmul_of_few_operations_takes_as_long_as_its_numbers_through_memory() -> None:
    rates = Rates(flops=1e18, multiprocessors=100, memory=1e6)
    read, written = 64 * 32 + 32 * 16, 64 * 16
    assert matmul_seconds(64, 16, 32, rates) == (2 * read + 2 * written) / 1e6
    assert matmul_seconds(64, 16, 32, rates, 1, 4, 3) == 3 * (read + 4 * written) / 1e6
    assert matmul_seconds(64, 0, 32, rates) == 0


@pytest.mark.parametrize(
    ("kernels", "gated", "ahead", "back"),
    [("eager", True, 5, 9), ("fused", True, 3, 5), ("eager", False, 2, 3), ("fused", False, 2, 3)],
)
def test_two_experts_move_twice_what_one_mlp_does(
    kernels: str, gated: bool, ahead: int, back: int
) -> None:
    model = CATALOGUE["mistralai/Mixtral-8x7B-v0.1"].model
    a = replace(model.architecture, gated=gated)
    setup = LayerSetup.of(model, Recipe.read({"attention": "flash", "kernels": kernels}))
    dense, sparse = (layer_moved(a, setup, way) for way in (False, True))
    copies = 6 * 2 * 2 * 4096 + 12 * 8
    assert sparse.forward - dense.forward == copies + ahead * 2 * 14336
    assert sparse.backward - dense.backward == 2 * copies + back * 2 * 14336


def test_a_layer_without_an_mlp_and_one_without_attention_have_one_norm_each() -> None:
    a = CATALOGUE["state-spaces/mamba-130m-hf"].model.architecture
    assert not a.feeds
    setup = LayerSetup.of(CATALOGUE["state-spaces/mamba-130m-hf"].model, Recipe())
    inner = 2 * (6 * a.mixer.inner + 2 * a.mixer.state)  # type: ignore[union-attr]
    assert layer_moved(a, setup) == Moved(
        (NORM + 3 * 2) * a.hidden + inner, (2 * NORM + 3 * 2) * a.hidden + 2 * inner, *(13, 24)
    )
    fused = layer_moved(a, setup._replace(kernels="fused"))
    assert fused == Moved(8 * a.hidden + inner, 10 * a.hidden + 2 * inner, 1 + 3 + 4, 2 + 4 + 8)


def test_a_function_of_one_kernel_moves_a_seventh_of_gpt_2s() -> None:
    model, f = CATALOGUE[GPT].model, 3072
    setup = LayerSetup.of(model, Recipe.read({"attention": "flash"}))
    many = layer_moved(model.architecture, setup)
    one = layer_moved(replace(model.architecture, activation="gelu"), setup)
    less = (many.forward - one.forward, many.backward - one.backward, many.kernels - one.kernels)
    assert less == (2 * 6 * 2 * f, 3 * 6 * 2 * f, 6)

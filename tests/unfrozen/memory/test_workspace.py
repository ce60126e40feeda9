"""What a layer's backward pass holds for a moment, by hand: gradients, casts, scores."""

from __future__ import annotations

from typing import Any

import pytest

from unfrozen.job.recipe import Recipe
from unfrozen.memory.layer_setup import LayerSetup
from unfrozen.memory.workspace import feed_forward_size, low_casts, workspace_points
from unfrozen.model import ModelConfig
from unfrozen.model.catalogue import CATALOGUE

LLAMA, GPT, GEMMA = (
    CATALOGUE[name].model
    for name in ("meta-llama/Llama-3.1-8B", "openai-community/gpt2", "google/gemma-2-9b")
)
H, F, Q, KV, S = 4096, 14336, 4096, 1024, 2048


def points(model: ModelConfig = LLAMA, **recipe: Any) -> list[tuple[object, ...]]:
    setup = LayerSetup.of(model, Recipe.read({"attention": "flash", "seq_len": S} | recipe))
    return [
        tuple(point) for point in workspace_points(model, setup, 1, model.architecture.layers - 1)
    ]


def test_at_the_last_matmul_of_an_mlp_both_factors_have_gradients() -> None:
    assert points() == [("feed_forward", 0, 2 * (H + 2 * F), H * F, 0)]
    h, f = 768, 3072
    wide = 2 * f  # GPT-2's function is written out: what 1 + tanh is multiplied by, too
    assert points(GPT, dropout=0.0) == [("feed_forward", 0, 2 * (h + wide), h * f, 0)]
    plain = ModelConfig.from_hf(CATALOGUE["EleutherAI/pythia-160m"].config)
    assert points(plain) == [("feed_forward", 0, 2 * (h + f), h * f, 0)]


def test_a_norm_after_the_mlp_is_differentiated_first() -> None:
    h, f = 3584, 14336
    norm = 8 * h + 4  # the fp32 input, the values, which are fp32 too, and the root of a row
    assert points(GEMMA) == [
        ("feed_forward", norm, 2 * (h + 2 * f), h * f, 0),
        ("norm", 0, (16 + 2) * h, 0, 0),
    ]


@pytest.mark.parametrize(
    ("params", "compute", "bytes_a_number"),
    [("bf16", "bf16", 4 + 2 + 2), ("fp32", "bf16", 4 + 2 + 2 + 4), ("fp32", "fp32", 4 + 4)],
)
def test_a_fused_block_has_all_gradients_of_its_weights_and_its_inputs_in_fp32(
    params: str, compute: str, bytes_a_number: int
) -> None:
    (found,) = points(kernels="fused_block", params=params, compute=compute, attention="sdpa")
    assert found[1] == 0
    width = 2 if compute == "bf16" else 4
    assert found[2:4] == (bytes_a_number * H + width * 2 * F, 3 * H * F)


@pytest.mark.parametrize(("compute", "narrow"), [("bf16", True), ("fp32", False)])
def test_scores_of_eager_attention_and_their_gradients_are_there_at_once(
    compute: str, narrow: bool
) -> None:
    c, scores = (2 if narrow else 4), 32 * S
    _, found = points(attention="eager", params=compute, compute=compute)
    norm = (4 + c) * H + 4
    mlp = (4 * c * F + norm) + c * H  # freed by then, with its norm and its input
    freed = 2 * c * Q + (c * scores if narrow else 0) + mlp
    left = LLAMA.layer_parameters(0) - H * (Q + 2 * KV)
    assert found == ("scores", freed, 2 * 4 * scores + 2 * c * H, left, 0)
    _, block = points(attention="eager", params=compute, compute=compute, kernels="fused_block")
    gate_up_and_norm = 2 * c * F + c * H + 4
    assert freed - block[1] == mlp - gate_up_and_norm


@pytest.mark.parametrize(
    ("compute", "width"),
    [("fp8", 1), ("int8", 1), ("mxfp8", 1 + 1 / 32), ("nvfp4", 1 / 2 + 1 / 16), ("bf16", 0)],
)
def test_casts_to_few_bits_are_of_the_gradient_and_the_weight_or_the_input(
    compute: str, width: float
) -> None:
    few, many = 100, 100_000
    assert low_casts(LLAMA, compute, few) == round(width * H * (few + F))
    assert low_casts(LLAMA, compute, many) == round(width * many * (H + F))
    mixtral = CATALOGUE["mistralai/Mixtral-8x7B-v0.1"].model
    assert low_casts(mixtral, compute, few) == round(width * H * (few + 2 * F))


def test_an_mlp_has_three_matrices_with_a_gate_and_two_without() -> None:
    assert feed_forward_size(LLAMA) == 3 * H * F
    assert feed_forward_size(GPT) == 2 * 768 * 3072


def adapted(targets: list[str], **lora: Any) -> list[tuple[object, ...]]:
    given = {"library": "peft", "dtype": "fp32", "dropout": 0.1, "targets": targets} | lora
    return points(method="lora", params="bf16", lora=given)


def test_adapters_in_fp32_hold_both_terms_of_a_matmul_and_their_sum() -> None:
    waits = 2 * 2 + 2  # the stream, and in fp32 for its norm
    down = waits + 4 + 2  # the scaled gradient, narrowed for the frozen matmul
    dense, up, last, after = adapted(["up_proj", "down_proj"])
    assert dense[0] == "feed_forward"
    assert up[1:] == ((4 + 1) * F, (2 + 4 + 4) * F + down * H, 0, 0)  # and a byte of the mask
    assert last[1:] == (0, 2 * F + (down + 2) * H, 0, 0)
    assert after[1:] == (0, 4 * F + (2 + 2) * H, 0, 0)
    frozen, alone = adapted(["up_proj"])
    assert frozen[2] == 2 * (H + 2 * F) + 2 * F  # no product is saved whose place one takes
    assert alone[1:] == (0, (2 + 4 + 4) * F + waits * H, 0, 0)


def test_under_autocast_their_weights_are_cast_and_terms_are_narrow() -> None:
    dense, up, last, after = adapted(["up_proj", "down_proj"], autocast=True)
    waits = 2 * 2 + 2 + 2  # what is read is in 16 bits: nothing is narrowed
    assert up[1:] == ((2 + 1) * F, (2 + 2) * F + waits * H, 0, 0)
    assert last[1:] == (0, (2 + 4) * F + (waits + 2) * H, 0, 0)
    assert after[1:] == (0, 2 * F + (2 + 2) * H, 0, 0)
    assert dense


def test_a_stream_in_fp32_waits_as_it_is() -> None:
    given = {"library": "peft", "dtype": "fp32", "dropout": 0.0, "targets": ["up_proj"]}
    setup = LayerSetup.of(LLAMA, Recipe.read({"method": "lora", "params": "fp32", "lora": given}))
    assert setup.adapters
    terms = 2 + 2 + (0 if setup.adapters.cast else 2)
    (_, adapter) = workspace_points(LLAMA, setup, 1, 0)
    assert adapter.added == terms * F + 2 * 4 * H

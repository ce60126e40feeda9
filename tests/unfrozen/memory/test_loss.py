"""Logits and cross-entropy: bytes a logit, by how the loss is computed."""

from __future__ import annotations

import pytest

from unfrozen.job.cluster import Cluster
from unfrozen.job.recipe import Recipe
from unfrozen.memory.instants import Step
from unfrozen.memory.loss import (
    alive_output_bytes,
    loss_memory,
    with_weight_sum,
)
from unfrozen.model.catalogue import CATALOGUE

TOKENS, HIDDEN, VOCAB = 1000, 64, 5000
LOGITS = TOKENS * VOCAB


def test_a_soft_cap_keeps_one_more_copy_of_the_logits() -> None:
    plain, capped = (
        loss_memory("logits_fp32", False, 2, TOKENS, HIDDEN, VOCAB, capped=c).at_loss
        for c in (False, True)
    )
    assert capped - plain == 2 * LOGITS


def test_a_loss_fused_with_the_head_holds_one_chunk_and_the_inputs_gradient() -> None:
    found = loss_memory("fused_linear", True, 2, 4096, 2048, 128256)
    chunk = 128  # 4096 tokens in 63 parts are 66 each, rounded up to a power of two
    assert found.at_loss == 6 * chunk * 128256 + 2 * 4096 * 2048
    assert found.early
    more = loss_memory("fused_linear", True, 2, 17 * 63, 2048, 128256)  # 17, rounded up to 32
    assert more.at_loss == 6 * 32 * 128256 + 2 * 17 * 63 * 2048


@pytest.mark.parametrize(("width", "chunk", "bytes_a_logit"), [(4, 256, 4), (2, 1024, 4 + 2)])
def test_a_linear_loss_holds_a_chunk_by_its_width(
    width: int, chunk: int, bytes_a_logit: int
) -> None:
    found = loss_memory("linear", False, width, 4096, 64, VOCAB)
    assert found.at_loss == bytes_a_logit * chunk * VOCAB + width * 4096 * 64


@pytest.mark.parametrize(("hidden", "product"), [(64, 0), (4096, (2 * 4096 - 4 * 1024) * VOCAB)])
def test_a_linear_loss_sums_the_gradient_of_its_weight_in_fp32(hidden: int, product: int) -> None:
    """A product of 16 bits is where the fp32 logits of its chunk were, and may be larger."""
    weights = hidden * VOCAB
    plain = loss_memory("linear", False, 2, 4096, hidden, VOCAB)
    for narrow, beside in ((False, 0), (True, 2 * weights)):
        found = with_weight_sum(plain, 2, 4096, VOCAB, weights, narrow=narrow)
        assert found.at_loss - plain.at_loss == product + beside
    wide = loss_memory("linear", False, 4, 4096, hidden, VOCAB)
    assert with_weight_sum(wide, 4, 4096, VOCAB, weights, narrow=False) == wide


@pytest.mark.parametrize(
    ("sharding", "params", "bytes_a_logit"),
    [("zero1", "bf16", 6), ("zero3", "bf16", 6), ("zero1", "fp32", 6), ("zero3", "fp32", 16)],
)
def test_megatron_splits_the_loss_in_place_and_pytorch_does_not(
    sharding: str, params: str, bytes_a_logit: int
) -> None:
    given = {"loss": "vocab_parallel", "params": params, "kernels": "fused", "seq_len": 4096}
    recipe = Recipe.read(given)
    cluster = Cluster(8, sharding, tensor_parallel=4)
    part = Step(CATALOGUE["meta-llama/Llama-3.1-8B"].model, recipe, cluster).micro_batch
    assert part.vocab == 128256 // 4 + 64  # padded to a multiple of 128
    assert part.loss.at_loss == bytes_a_logit * 4096 * part.vocab


@pytest.mark.parametrize("c", [2, 4])
def test_each_loss_at_its_two_instants_and_its_gradients_of_the_head(c: int) -> None:
    inputs = c * TOKENS * HIDDEN
    chunk, left = 125 * VOCAB, c * 875 * VOCAB  # an eighth of the tokens, and the others
    narrow = 2 if c == 2 else 0  # fp32 needs no copy in 16 bits
    linear = TOKENS if c == 2 else 256  # of 1,024
    expected = {
        ("chunked", False): (left + (4 + 4 if c == 2 else 4) * chunk, left + inputs, 2, True),
        ("chunked", True): (c * LOGITS, c * LOGITS + inputs, 1, False),
        # 1,000 tokens in ceil(5000 / 64) = 79 parts: 13, rounded up to a power of two
        ("fused_linear", True): ((4 + c) * 16 * VOCAB + inputs, inputs, 0, True),
        ("linear", False): ((4 + narrow) * linear * VOCAB + inputs, inputs, 0, True),
        ("fused_vocab", True): ((20 + c) * TOKENS * 2048 + inputs, inputs, 0, True),
        ("logits_fp32", False): (3 * 4 * LOGITS, c * LOGITS + inputs, 0, False),
        ("logits_fp32", True): (2 * 4 * LOGITS, c * LOGITS + inputs, 0, False),
        ("logits_bf16", False): (3 * c * LOGITS, c * LOGITS + inputs, 0, False),
        ("logits_bf16", True): (2 * c * LOGITS, c * LOGITS + inputs, 0, False),
        ("vocab_parallel", True): ((4 + c) * LOGITS, c * LOGITS + inputs, 0, False),
        ("loss_parallel", True): (16 * LOGITS, c * LOGITS + inputs, 0, False),
        ("classification", False): (0, 0, 0, False),
    }
    for (kind, compiled), memory in expected.items():
        assert loss_memory(kind, compiled, c, TOKENS, HIDDEN, VOCAB) == memory, kind


def test_an_output_that_is_kept_alive_is_as_wide_as_its_loss_leaves_it() -> None:
    fp32, bf16 = ("logits_fp32", "loss_parallel"), ("logits_bf16", "chunked", "vocab_parallel")
    assert [alive_output_bytes(kind, 2) for kind in fp32] == [4, 4]
    assert [alive_output_bytes(kind, 2) for kind in bf16] == [2, 2, 2]
    assert alive_output_bytes("linear", 2) == alive_output_bytes("fused_vocab", 2) == 0

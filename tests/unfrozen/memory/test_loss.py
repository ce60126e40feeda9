"""Logits and cross-entropy: bytes a logit, by how the loss is computed."""

from __future__ import annotations

import pytest

from unfrozen.job.cluster import Cluster
from unfrozen.job.recipe import Recipe
from unfrozen.memory.instants import Step
from unfrozen.memory.loss import loss_memory
from unfrozen.model.catalogue import CATALOGUE

TOKENS, HIDDEN, VOCAB = 1000, 64, 5000
LOGITS = TOKENS * VOCAB


@pytest.mark.parametrize(
    ("kind", "compiled", "bytes_a_logit"),
    [
        ("logits_fp32", False, 12),
        ("logits_fp32", True, 8),
        ("logits_bf16", False, 6),
        ("logits_bf16", True, 4),
        ("chunked", True, 2),
        ("chunked", False, 2 * 7 / 8 + 1),
        ("vocab_parallel", True, 6),
        ("loss_parallel", True, 16),
        ("classification", False, 0),
    ],
)
def test_a_loss_holds_so_many_bytes_a_logit(
    kind: str, compiled: bool, bytes_a_logit: float
) -> None:
    found = loss_memory(kind, compiled, 2, TOKENS, HIDDEN, VOCAB)
    assert found.at_loss == bytes_a_logit * LOGITS


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


def test_a_chunked_loss_has_two_gradients_of_the_head_at_once() -> None:
    found = loss_memory("chunked", True, 2, TOKENS, HIDDEN, VOCAB)
    assert (found.weight_gradients, found.at_head) == (1, 2 * LOGITS + 2 * TOKENS * HIDDEN)


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

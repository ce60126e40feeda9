"""From tensors to the GPU: rounding, freed logits, other streams."""

from __future__ import annotations

import pytest

from unfrozen.job.cluster import Cluster
from unfrozen.job.recipe import Recipe
from unfrozen.memory.instants import Step
from unfrozen.memory.overhead import ROUNDING, reserved_bytes
from unfrozen.model.catalogue import CATALOGUE

MODEL = CATALOGUE["meta-llama/Llama-3.1-8B"].model
GIVEN = 100 * 2**30


def reserved(instant: str, cluster: Cluster | None = None, grads: int = 0, **recipe: object) -> int:
    step = Step(MODEL, Recipe.read(recipe), cluster)
    return reserved_bytes(step, instant, {"params": GIVEN - grads, "grads": grads}) - GIVEN


def test_blocks_are_a_little_too_large() -> None:
    assert reserved("backward") == round(ROUNDING * GIVEN)


def test_the_block_of_the_16_bit_logits_cannot_hold_fp32_ones() -> None:
    freed = 2 * 32768 * 128256
    assert reserved("end_of_forward", seq_len=32768) == freed > ROUNDING * GIVEN
    assert reserved("end_of_forward", seq_len=32768, loss="logits_bf16") < freed
    assert reserved("end_of_forward", seq_len=32768, params="fp32", compute="fp32") < freed


SHARDS = -(-4 * MODEL.num_parameters // 8)


@pytest.mark.parametrize("counted", [0, SHARDS // 3, SHARDS])
def test_gradients_of_fsdp_come_from_a_stream_that_shares_no_blocks(counted: int) -> None:
    sharded = reserved("backward", Cluster(8, "zero3"), counted, params="fp32")
    buffer = 4 * 128256 * 4096  # in which the head's gradient is reduced
    assert sharded == round(ROUNDING * GIVEN) + buffer + SHARDS - counted
    assert reserved("backward", Cluster(8, "zero2"), params="fp32") == round(ROUNDING * GIVEN)

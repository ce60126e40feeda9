"""Outside the layers: logits by their loss, rows looked up, bytes of an update."""

from __future__ import annotations

from typing import Any

import pytest

from unfrozen.job import Job
from unfrozen.job.recipe import Recipe
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan.timing.passes import (
    embedding_bytes,
    head_bytes,
    logit_bytes,
    moment_width,
    trained,
    update_bytes,
)

CONFIG = CATALOGUE["meta-llama/Llama-3.1-8B"].config


def job(recipe: dict[str, Any]) -> Job:
    return Job.read({"model": CONFIG, "recipe": recipe})


def test_a_compiled_loss_moves_less_and_none_where_there_is_no_head() -> None:
    assert logit_bytes(Recipe(kernels="fused")) < logit_bytes(Recipe())
    classifier = job({"loss": "classification"})
    assert head_bytes(classifier, classifier.model.architecture) == 0


def test_a_linear_loss_adds_its_gradient_up_chunk_by_chunk() -> None:
    a = job({}).model.architecture
    weights = a.vocab * a.hidden
    both = (
        {"loss": "linear"},
        {"loss": "linear", "params": "fp32", "compute": "fp32", "master": None},
    )
    narrow, wide = map(job, both)
    assert head_bytes(narrow, a) == 14 * a.vocab + (8 + 4) * weights / 1024
    assert head_bytes(wide, a) == 14 * a.vocab + 8 * weights / 256


def test_a_frozen_embedding_has_no_gradient_to_zero() -> None:
    found, frozen = job({}), job({"method": "lora"})
    a = found.model.architecture
    assert embedding_bytes(found, a) - embedding_bytes(frozen, a) == 2 * a.vocab * a.hidden
    for beside, same in (("embed_tokens", found), ("lm_head", frozen)):
        trains = job({"method": "lora", "lora": {"targets": ["q_proj", beside]}})
        assert embedding_bytes(trains, a) == embedding_bytes(same, a)


@pytest.mark.parametrize(
    ("recipe", "width"),
    [
        ({}, 8),
        ({"optimizer": "sgd_momentum", "moments": "int8"}, 1),
        ({"moments": "int8"}, 2),
        ({"optimizer": "lion"}, 4),
        ({"optimizer": "sgd"}, 0),
    ],
)
def test_moments_by_their_width(recipe: dict[str, Any], width: float) -> None:
    assert moment_width(job(recipe).recipe) == width


def test_the_classic_update_by_hand() -> None:
    # weights 2, master 4, moments 8: read and written; gradient 2, read, and thrice to clip it
    assert update_bytes(job({}).recipe) == 2 * 14 + 4 * 2


def test_adapters_are_what_trains() -> None:
    assert trained(job({"method": "lora"})) < 0.01 * trained(job({}))


# of one logit: its cast to fp32, the log-softmax, then the gradient of the chosen entries, of the
# log-softmax, and the cast back
EAGER_FP32 = (2 + 4) + (4 + 4) + 4 + (8 + 4) + (4 + 2)
COMPILED = 2 + 2 + 2 + 2 + 4 + 4  # 16-bit logits and their gradient, and the softmax once in fp32


@pytest.mark.parametrize(
    ("loss", "eager", "compiled"),
    [
        ("logits_fp32", EAGER_FP32, COMPILED),
        ("chunked", EAGER_FP32, COMPILED),
        ("loss_parallel", EAGER_FP32, COMPILED),
        ("vocab_parallel", EAGER_FP32 - 6, COMPILED),  # in place: no second fp32 gradient to write
        ("logits_bf16", (2 + 2) + 2 + (4 + 2) + 2, 2 + 2 + 2 + 2),
        ("linear", 14, 14),
        ("fused_linear", 10, 10),
        ("fused_vocab", 10, 10),
        ("classification", 0, 0),
    ],
)
def test_a_logit_moves_what_its_kernels_read_and_write(
    loss: str, eager: int, compiled: int
) -> None:
    assert logit_bytes(Recipe(loss=loss, compiled_loss=False)) == eager
    assert logit_bytes(Recipe(loss=loss, compiled_loss=True)) == compiled


def test_rows_of_the_embedding_are_read_written_and_added_up() -> None:
    found = job({"micro_batch": 2, "seq_len": 512})
    a = found.model.architecture
    assert embedding_bytes(found, a) == 6 * 2 * 1024 * 4096 + 2 * a.vocab * 4096


@pytest.mark.parametrize(
    ("recipe", "moved"),
    [
        ({"step": "foreach"}, 2 * 14 + 52 + 4 * 2),  # 80 − 28 bytes loose in fp32
        ({"step": "foreach", "master": None}, 2 * (2 + 4) + 26 + 4 * 2),  # half of it in bf16
        ({"ema": True}, 2 * 14 + (2 * 4 + 2) + 4 * 2),  # the average read and written, weights read
        ({"master": None, "rounding": "kahan"}, 2 * (2 + 4 + 2) + 4 * 2),
        ({"moments": "int8"}, 2 * (2 + 4 + 2) + 4 * 2),
    ],
)
def test_other_updates_by_hand(recipe: dict[str, Any], moved: int) -> None:
    assert update_bytes(job(recipe).recipe) == moved

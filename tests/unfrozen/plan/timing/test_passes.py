"""One micro-batch: matmuls at the rate that lasts, recomputation, accumulation, casts."""

from __future__ import annotations

from typing import Any

import pytest

from unfrozen.hardware import find
from unfrozen.job import Job
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan.timing.passes import WEIGHT_GRADIENT, BatchTime, Machine, Seconds

LLAMA = CATALOGUE["meta-llama/Llama-3.1-8B"].config


def part(recipe: dict[str, Any] | None = None, gpu: str = "H100", **cluster: Any) -> BatchTime:
    given = {"attention": "flash", "micro_batch": 4, "seq_len": 4096} | (recipe or {})
    job = Job.read({"model": LLAMA, "recipe": given, "cluster": cluster, "gpu": gpu})
    return BatchTime(job, Machine.of(find(gpu), job.recipe.compute))


def test_matmuls_of_a_layer_take_their_operations_at_the_rate_that_lasts() -> None:
    found = part().layer(sparse=False)
    weights = 4096 * (2 * 4096 + 2 * 1024 + 3 * 14336)
    by_hand = 2 * 16384 * weights / 720e12
    assert by_hand < found.forward.matmuls < 1.1 * by_hand
    back = found.backward.matmuls / found.forward.matmuls
    assert back == pytest.approx(1 + WEIGHT_GRADIENT, rel=0.05)


def test_full_checkpointing_repeats_all_but_the_last_product() -> None:
    plain, again = part().layer(False), part({"checkpointing": "full"}).layer(False)
    repeated = again.backward.matmuls - plain.backward.matmuls
    last = 14336 / (2 * 4096 + 2 * 1024 + 3 * 14336)
    assert repeated == pytest.approx((1 - last) * plain.forward.matmuls, rel=0.02)
    assert again.backward.attention == plain.backward.attention + plain.forward.attention


def test_megatron_repeats_all_of_it() -> None:
    megatron = {"params": "bf16", "grads": "fp32"}
    plain, again = (
        part(megatron).layer(False),
        part(megatron | {"checkpointing": "full"}).layer(False),
    )
    repeated = again.backward.matmuls - plain.backward.matmuls
    assert repeated == pytest.approx(plain.forward.matmuls)


def test_reentrant_checkpoints_repeat_all_of_it() -> None:
    plain = part().layer(False)
    again = part({"checkpointing": "full", "reentrant": True}).layer(False)
    repeated = again.backward.matmuls - plain.backward.matmuls
    assert repeated == pytest.approx(plain.forward.matmuls)


def test_frozen_weights_need_no_gradient() -> None:
    trained, frozen = part().layer(False), part({"method": "lora"}).layer(False)
    assert frozen.backward.matmuls < 0.6 * trained.backward.matmuls


def test_fp8_products_are_faster_and_cast_and_the_head_stays_in_16_bits() -> None:
    half, eighth = part(), part({"compute": "fp8"})
    assert eighth.layer(False).forward.matmuls < 0.65 * half.layer(False).forward.matmuls
    assert eighth.layer(False).forward.memory > half.layer(False).forward.memory
    assert eighth.layer(False).forward.attention == half.layer(False).forward.attention
    assert eighth.outside().forward.matmuls == half.outside().forward.matmuls


def test_micro_batches_that_add_up_read_and_write_whole_gradients() -> None:
    one, more = part().layer(False), part({"grad_accum": 8}).layer(False)
    assert more.backward.memory > one.backward.memory
    sharded = {"gpus": 8, "sharding": "zero3"}
    alike = part({}, **sharded).layer(False), part({"grad_accum": 8}, **sharded).layer(False)
    assert alike[0].backward.memory == alike[1].backward.memory


def test_a_classifier_has_no_head_of_words() -> None:
    assert part({"loss": "classification"}).outside().forward.matmuls == 0


def test_seconds_add_up_by_cause() -> None:
    assert Seconds(1, 2, 3, 4).plus(Seconds(1, 1, 1, 1), 2) == Seconds(3, 4, 5, 6)
    assert Seconds(1, 2, 3, 4).busy == 6


def test_experts_that_take_no_part_in_autocast_go_at_the_rate_of_fp32() -> None:
    def matmuls(recipe: dict[str, Any], **cluster: Any) -> float:
        config = CATALOGUE["Qwen/Qwen3-30B-A3B"].config
        given = {"model": config, "recipe": recipe, "cluster": cluster, "gpu": "H100"}
        job = Job.read(given)
        found = BatchTime(job, Machine.of(find("H100"), job.recipe.compute))
        return found.layer(sparse=True).forward.matmuls

    wide = {"params": "fp32"}
    narrow = matmuls(wide | {"experts_cast": True})
    assert narrow == matmuls({}) == matmuls(wide, gpus=8, sharding="zero3")
    assert 3 < matmuls(wide) / narrow < 15  # 67 TFLOP/s on the sheet, not 990


def test_experts_go_one_by_one_where_no_kernel_takes_them_together() -> None:
    """A loop over 128 experts launches three matmuls and six kernels each, and 256 tokens of one
    expert fill few multiprocessors.
    """
    model = CATALOGUE["Qwen/Qwen3-30B-A3B"].config

    def run(gpu: str, framework: str = "trl") -> BatchTime:
        recipe = {"attention": "flash", "micro_batch": 1, "seq_len": 4096, "compute": "bf16"}
        given = {"model": model, "recipe": recipe | {"params": "bf16"}, "gpu": gpu}
        return BatchTime(Job.read(given | {"framework": framework}), Machine.of(find(gpu), "bf16"))

    assert not run("H100").loops
    assert not run("A100 80GB SXM", "torchtitan").loops
    found = run("A100 80GB SXM")
    alone = found.layer(sparse=True).forward
    found.loops = False
    together = found.layer(sparse=True).forward
    assert alone.kernels - together.kernels == 3 * 127 + 6 * 128
    assert alone.matmuls > 1.5 * together.matmuls


def test_a_4_bit_layer_unpacks_its_experts_too() -> None:
    found = part({"method": "qlora"}), part({"method": "lora"})
    more = found[0].layer(False).forward.memory - found[1].layer(False).forward.memory
    weights = 4096 * (2 * 4096 + 2 * 1024 + 3 * 14336)
    assert more == pytest.approx(4.5 * weights / (0.75 * 3350e9), rel=0.2)

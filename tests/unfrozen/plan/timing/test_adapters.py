"""Adapters: what they move beside a frozen layer, kernel by kernel, and their thin matmuls."""

from __future__ import annotations

from typing import Any

import pytest

from unfrozen.hardware import find
from unfrozen.job import Job
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan.timing.adapters import AdapterTime, adapter_seconds
from unfrozen.plan.timing.layers import Rates
from unfrozen.plan.timing.passes import BatchTime, Machine

MODEL = CATALOGUE["meta-llama/Llama-3.1-8B"].config
TOKENS, WIDE, RANK = 4096, 4096, 16
MEMORY = 0.75 * 3350e9  # bytes a second of an H100's memory-bound kernels
PEFT = {"rank": RANK, "targets": ["q_proj"], "library": "peft", "dropout": 0.1, "dtype": "fp32"}


def adapters(lora: dict[str, Any], **recipe: Any) -> tuple[AdapterTime, AdapterTime]:
    """Both directions of the adapter of q_proj, which is square, over 4,096 tokens."""
    plain = {"method": "lora", "attention": "flash", "micro_batch": 1, "seq_len": TOKENS}
    given = {"model": MODEL, "recipe": plain | {"lora": PEFT | lora} | recipe, "gpu": "H100"}
    job = Job.read(given)
    machine = Machine.of(find("H100"), job.recipe.compute)
    part = BatchTime(job, machine)
    return adapter_seconds(job, part.setup, part.tokens, machine.wide, machine.widest)


def at_rates(flops: float, memory: float, **recipe: Any) -> tuple[AdapterTime, AdapterTime]:
    """The same on a GPU of these rates, 16 bits and fp32 alike but for its FLOP/s."""
    given = {"method": "lora", "attention": "flash", "micro_batch": 1, "seq_len": TOKENS}
    job = Job.read({"model": MODEL, "recipe": given | recipe, "gpu": "H100"})
    part = BatchTime(job, Machine.of(find("H100"), job.recipe.compute))
    wide, widest = Rates(flops, 100, memory), Rates(flops / 10, 100, memory)
    return adapter_seconds(job, part.setup, part.tokens, wide, widest)


def bytes_a_number(found: AdapterTime) -> float:
    return found.memory * MEMORY / TOKENS / WIDE


def test_peft_casts_drops_scales_and_adds_in_fp32_by_hand() -> None:
    ahead, back = adapters({})
    read = (2 + 4) + (4 + 4 + 1)
    written = (4 + 4) + (2 + 4 + 4) + (4 + 2)
    assert bytes_a_number(ahead) == pytest.approx(read + written)
    assert bytes_a_number(back) == pytest.approx(read + 3 * 2 + (4 + 4) + 2 * (4 + 2))
    assert ahead.kernels == 1 + 1 + 2 + 1 + 1 + 1


def test_under_autocast_they_are_cast_twice_but_not_beside_a_quantized_layer() -> None:
    dense, _ = adapters({"autocast": True})
    assert bytes_a_number(dense) == (2 + 4) + (4 + 4 + 1) + (4 + 2) + (2 + 2) + 3 * 2
    beside_nf4, _ = adapters({"autocast": True}, method="qlora")
    assert bytes_a_number(beside_nf4) == (2 + 2 + 1) + (2 + 2) + 3 * 2


def test_fused_kernels_add_in_place_unless_peft_drops() -> None:
    fused, back = adapters({"dropout": 0.0, "dtype": "bf16"}, kernels="fused")
    assert bytes_a_number(fused) == bytes_a_number(back) == 2
    dropped, _ = adapters({}, kernels="fused")
    assert dropped == adapters({})[0]


@pytest.mark.parametrize(
    ("dtype", "columns", "rate"), [("bf16", 64, 720e12), ("fp32", 32, 61.6e12)]
)
def test_a_thin_matmul_reads_its_input_or_computes_a_whole_tile(
    dtype: str, columns: int, rate: float
) -> None:
    ahead, back = adapters({"dtype": dtype})
    width = {"bf16": 2, "fp32": 4}[dtype]
    read, computed = width * TOKENS * WIDE / MEMORY, 2 * columns * TOKENS * WIDE / rate
    assert ahead.matmuls == pytest.approx(2 * max(read, computed), rel=0.01)
    assert back.matmuls == pytest.approx(2 * ahead.matmuls)


def test_more_targets_cost_more_and_no_adapter_nothing() -> None:
    one, many = adapters({})[0], adapters({"targets": ["all-linear"]})[0]
    assert many.memory > 7 * one.memory
    assert many.kernels == 7 * one.kernels
    full = Job.read({"model": MODEL, "recipe": {}, "gpu": "H100"})
    machine = Machine.of(find("H100"), "bf16")
    part = BatchTime(full, machine)
    assert part.adapters == (AdapterTime(), AdapterTime())


@pytest.mark.parametrize(
    ("dtype", "rank", "columns", "flops"),
    [("bf16", 16, 64, 1e12), ("bf16", 128, 128, 1e12), ("fp32", 16, 32, 1e11)],
)
def test_where_operations_are_slow_a_thin_matmul_computes_its_narrowest_tile(
    dtype: str, rank: int, columns: int, flops: float
) -> None:
    lora = PEFT | {"dtype": dtype, "rank": rank, "dropout": 0.0}
    ahead, back = at_rates(1e12, 1e18, lora=lora)
    by_hand = 2 * (2 * columns * TOKENS * WIDE / flops)  # A and B
    assert ahead.matmuls == pytest.approx(by_hand)
    assert back.matmuls == pytest.approx(2 * by_hand)
    slow, _ = at_rates(1e18, 1e9, lora=lora)
    width = {"bf16": 2, "fp32": 4}[dtype]
    assert slow.matmuls == pytest.approx(2 * width * TOKENS * WIDE / 1e9)


def test_kernels_of_an_adapter_are_counted_one_by_one() -> None:
    ahead, back = adapters({})  # cast, drop; A and B; scale, add; the sum back to 16 bits
    assert (ahead.kernels, back.kernels) == (1 + 1 + 2 + 2 + 1, 1 + 1 + 2 + 2 + 1 + 2 + 1)
    plain, plain_back = adapters({"dtype": "bf16", "dropout": 0.0})
    assert (plain.kernels, plain_back.kernels) == (2 + 2, 2 + 2 + 2)
    twice, _ = adapters({"autocast": True})  # both of its weights are cast for the product
    assert twice.kernels == 1 + 1 + 1 + 2 * 1 + 2 + 2


def test_fused_kernels_with_dropout_read_and_write_the_input_and_a_mask() -> None:
    lora = {"rank": RANK, "targets": ["q_proj"], "dropout": 0.1, "library": "litgpt"}
    ahead, back = at_rates(1e18, 1e12, lora=lora, kernels="fused")
    numbers = TOKENS * WIDE / 1e12
    assert ahead.memory == pytest.approx((2 * 2 + 1 + 2) * numbers)
    assert back.memory == pytest.approx((2 * 2 + 1 + 2) * numbers)
    assert (ahead.kernels, back.kernels) == (2, 6)


def test_litgpt_reads_the_input_of_q_k_and_v_once() -> None:
    lora = {"rank": RANK, "dropout": 0.0, "library": "litgpt"}
    one, _ = at_rates(1e18, 1e12, lora=lora | {"targets": ["q_proj"]})
    all_, _ = at_rates(1e18, 1e12, lora=lora | {"targets": ["q_proj", "k_proj", "v_proj"]})
    assert all_.matmuls - one.matmuls == pytest.approx(2 * 2 * 1024 * TOKENS / 1e12)


def test_adapters_of_stacked_experts_are_added_to_them_and_taken_apart_again() -> None:
    config = CATALOGUE["Qwen/Qwen3-30B-A3B"].config
    lora = {"rank": 8, "targets": ["experts"], "library": "peft"}
    given = {"method": "lora", "attention": "flash", "micro_batch": 1, "seq_len": TOKENS}
    job = Job.read({"model": config, "recipe": given | {"lora": lora}, "gpu": "H100"})
    part = BatchTime(job, Machine.of(find("H100"), "bf16"))
    rates = Rates(1e12, 100, 1e12)
    ahead, back = adapter_seconds(job, part.setup, part.tokens, rates, rates)
    stacks = 3 * 128 * 768 * 2048
    assert ahead == AdapterTime(0.0, pytest.approx(2 * 2 * stacks / 1e12), 2 * 2)
    active = 8 / 128 * stacks  # of each token eight experts' gradients
    assert back.matmuls == pytest.approx(2 * TOKENS * active / 1e12)
    assert (back.memory, back.kernels) == (pytest.approx(3 * 2 * stacks / 1e12), 4 * 2)

"""Adapters: what they move beside a frozen layer, kernel by kernel, and their thin matmuls."""

from __future__ import annotations

from typing import Any

import pytest

from unfrozen.hardware import find
from unfrozen.job import Job
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan.timing.adapters import AdapterTime, adapter_seconds
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

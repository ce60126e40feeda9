"""Plans: counters from the inside out, and the verdict."""

from __future__ import annotations

from dataclasses import replace

import pytest

from unfrozen.hardware import find
from unfrozen.memory.overhead import COMMUNICATION_BYTES
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan import DEFAULT_GPU, SURE, VERDICTS, Plan, format_gpu, plan
from unfrozen.units import GIB

LLAMA_7B = CATALOGUE["meta-llama/Llama-2-7b-hf"].config
LLAMA_1B = CATALOGUE["meta-llama/Llama-3.2-1B"].config


def test_the_peak_is_the_largest_sum_of_components() -> None:
    planned = plan({"model": LLAMA_7B})
    totals = {name: sum(parts.values()) for name, parts in planned.instants.items()}
    assert planned.allocated_bytes == max(totals.values()) == totals[planned.peak_instant]


def test_seven_billion_parameters_do_not_fit_one_80_gb_gpu() -> None:
    planned = plan({"model": LLAMA_7B, "gpu": "A100-80GB", "recipe": {"seq_len": 512}})
    assert planned.fits is False
    assert format_gpu(planned.job.gpu) == "A100 80GB SXM (79.1 GiB)"  # type: ignore[arg-type]


def test_a_small_model_fits_one_consumer_gpu() -> None:
    config = CATALOGUE["HuggingFaceTB/SmolLM2-360M"].config
    assert plan({"model": config, "gpu": "RTX 4090", "recipe": {"seq_len": 512}}).fits is True


def test_without_a_gpu_there_is_no_verdict() -> None:
    assert plan({"model": LLAMA_1B}).fits is None


def test_the_gpu_also_holds_its_own_context_and_communication_buffers() -> None:
    one = plan({"model": LLAMA_1B, "gpu": "T4", "recipe": {"params": "fp16"}})
    two = plan({"model": LLAMA_1B, "cluster": {"gpus": 2}})
    assert one.roomy_bytes - one.reserved_bytes == find("T4").context_bytes
    beside = find(DEFAULT_GPU).context_bytes + COMMUNICATION_BYTES
    assert two.device_bytes - two.reserved_bytes == beside
    assert one.band_gib[0] < one.allocated_bytes / GIB + 0.138


def test_blocks_that_a_full_gpu_gives_back_are_not_reported_as_reserved() -> None:
    recipe = {"seq_len": 8192, "micro_batch": 4, "checkpointing": "full"}
    roomy = plan({"model": LLAMA_1B, "recipe": recipe, "gpu": "H200"})
    size = (roomy.allocated_bytes + roomy.roomy_reserved_bytes) / 2 / GIB
    gpu = {"name": "H200", "nominal_gb": 141, "usable_gib": size + 0.5, "context_gib": 0.5}
    gpu |= {"bandwidth_gb_s": 4800, "bf16_tflops": 989}
    full = plan({"model": LLAMA_1B, "recipe": recipe, "gpu": gpu})
    assert full.chance
    assert full.allocated_bytes < full.reserved_bytes < roomy.reserved_bytes
    assert full.device_bytes == pytest.approx((size + 0.5) * GIB, rel=1e-6)
    assert full.reserved_bytes + full.beside_bytes == full.device_bytes
    assert roomy.reserved_bytes == roomy.roomy_reserved_bytes


def test_the_band_holds_the_prediction() -> None:
    low, high = plan({"model": LLAMA_7B}).band_gib
    assert low < plan({"model": LLAMA_7B}).device_bytes / GIB < high
    assert low == pytest.approx(high, rel=0.3)


LENGTHS = range(128, 1793, 128)


def llama(seq_len: int) -> Plan:
    recipe = {"method": "lora", "seq_len": seq_len, "attention": "flash"}
    return plan({"model": LLAMA_7B, "gpu": "RTX 4090", "recipe": recipe})


def test_a_chance_falls_with_the_length_and_has_a_word() -> None:
    plans = [llama(length) for length in LENGTHS]
    chances = [planned.chance or 0.0 for planned in plans]
    assert chances == sorted(chances, reverse=True)
    assert (chances[0], chances[-1]) == (1.0, 0.0)
    for planned, chance in zip(plans, chances, strict=True):
        word = "fits" if chance >= SURE else "tight" if chance > 1 - SURE else "does not fit"
        assert planned.verdict == word
        assert planned.fits == (word == "fits")
    assert {planned.verdict for planned in plans} == set(VERDICTS)


def test_what_is_safe_has_the_margin() -> None:
    planned = llama(1024)
    assert planned.job.gpu is not None
    edge = replace(planned.job.gpu, usable_gib=planned.safe_bytes / GIB)
    at_the_edge = replace(planned, job=replace(planned.job, gpu=edge))
    assert at_the_edge.chance == pytest.approx(SURE, abs=1e-6)


def test_a_gpu_shows_no_more_than_it_has() -> None:
    room = llama(128).job.gpu
    assert room is not None
    shown = [planned.device_bytes for planned in map(llama, LENGTHS) if planned.chance]
    assert max(shown) <= room.capacity_bytes
    assert llama(LENGTHS[-1]).device_bytes > room.capacity_bytes

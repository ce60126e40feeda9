"""Plans: counters from the inside out, and the verdict."""

from __future__ import annotations

import pytest

from unfrozen.memory.overhead import CONTEXT_BYTES
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan import format_gpu, plan
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


def test_the_gpu_also_holds_the_drivers_context_and_communication_buffers() -> None:
    one = plan({"model": LLAMA_1B})
    two = plan({"model": LLAMA_1B, "cluster": {"gpus": 2}})
    assert one.device_bytes - one.reserved_bytes == CONTEXT_BYTES
    assert two.device_bytes - two.reserved_bytes == CONTEXT_BYTES + GIB
    assert two.band_gib[0] > one.band_gib[0]


def test_the_band_holds_the_prediction() -> None:
    low, high = plan({"model": LLAMA_7B}).band_gib
    assert low < plan({"model": LLAMA_7B}).device_bytes / GIB < high
    assert low == pytest.approx(high, rel=0.3)

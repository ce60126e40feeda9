"""Rates of GPUs: below their data sheets, never faster than the best matmul."""

from __future__ import annotations

import pytest

from unfrozen.hardware import (
    GPUS,
    Gpu,
    best_matmul_tflops,
    find,
    memory_bytes_per_second,
    peak_tflops,
    slowest_factor,
    sustained_tflops,
)

EACH = pytest.mark.parametrize("gpu", GPUS, ids=lambda gpu: gpu.name)


@EACH
def test_sustained_rates_are_below_the_sheet_and_the_best_matmul(gpu: Gpu) -> None:
    half = "bf16" if gpu.bf16 else "fp16"
    best = best_matmul_tflops(gpu)
    least = 0.35 if gpu.power_watts <= 70 else 0.4  # which holds a T4 far below its sheet
    assert least * peak_tflops(gpu, half) < sustained_tflops(gpu, half) <= best * 1.001
    assert sustained_tflops(gpu, "fp32") < gpu.fp32_tflops
    assert memory_bytes_per_second(gpu) < 1e9 * gpu.bandwidth_gb_s


@EACH
def test_fewer_bits_are_faster_where_the_gpu_has_them_and_never_above_the_sheet(gpu: Gpu) -> None:
    half = sustained_tflops(gpu, "bf16")
    eighth = sustained_tflops(gpu, "fp8")
    assert eighth <= peak_tflops(gpu, "fp8")
    assert (eighth > half) == gpu.fp8
    assert sustained_tflops(gpu, "nvfp4") >= eighth if gpu.fp4 else True


def test_published_rates_are_used_as_published() -> None:
    assert sustained_tflops(find("H100"), "bf16") == 720  # SemiAnalysis, December 2024
    assert sustained_tflops(find("H200"), "fp8") == 1280
    assert sustained_tflops(find("MI300X"), "bf16") == 620
    assert sustained_tflops(find("T4"), "fp16") == 24
    assert sustained_tflops(find("B200"), "bf16") == pytest.approx(0.488 * 2250, rel=0.001)
    assert sustained_tflops(find("A100 80GB PCIe"), "bf16") == pytest.approx(0.745 * 312, rel=0.01)


def test_a_blackwell_gpu_that_may_draw_more_multiplies_more() -> None:
    for name in ("GB200", "B300", "GB300"):
        gpu = find(name)
        scaled = gpu.power_watts / 1000 * 1098
        assert sustained_tflops(gpu, "bf16") == pytest.approx(scaled)
        assert sustained_tflops(gpu, "fp8") == pytest.approx(2 * scaled)


def test_the_slowest_of_many_gpus_sets_the_pace() -> None:
    assert slowest_factor(1) == 1
    assert 1 < slowest_factor(2) < slowest_factor(8) < slowest_factor(1024) < 1.04


def test_the_peak_depends_on_the_precision_of_the_matmuls() -> None:
    assert peak_tflops(find("H100"), "bf16") == 989
    assert peak_tflops(find("H100"), "fp8") == 2 * 989
    assert peak_tflops(find("H100"), "fp32") == 67
    assert peak_tflops(find("A100-80GB"), "fp8") == 312, "it has no fp8"
    assert peak_tflops(find("T4"), "fp16") == 65

"""Products: by hand where the tiles divide, and beside microbenchmarks that others published."""

from __future__ import annotations

import statistics

import pytest

from unfrozen.hardware import find, memory_bytes_per_second, sustained_tflops
from unfrozen.plan.timing.layers import FILL_SECONDS, Rates, matmul_seconds

RATES = Rates(100e12, 100, 1e12)
PEAK = 312  # TFLOP/s of an A100
# MooreThreads/SimuMax configs/system/a100_pcie.json @4dcaae5: m, k, n, share of the peak; every
# third of its forward products of 4,096 tokens, and a gradient of weights
MEASURED = (
    (4096, 5120, 1536, 0.788),
    (4096, 1536, 24576, 0.697),
    (4096, 5120, 576, 0.497),
    (4096, 512, 32768, 0.618),
    (4096, 16384, 5120, 0.749),
    (4096, 5120, 24576, 0.750),
    (4096, 12288, 5120, 0.772),
    (4096, 5120, 6144, 0.699),
    (4096, 3072, 5120, 0.718),
    (24640, 5120, 3072, 0.741),
    (4096, 24576, 5120, 0.784),
    (4096, 5120, 16384, 0.761),
)


def test_tiles_that_fill_their_waves_cost_their_operations_and_a_fill_each() -> None:
    # 256 x 128 tiles: 10 · 10 of them, one a multiprocessor
    seconds = matmul_seconds(2560, 1280, 4096, RATES)
    by_hand = 2 * 2560 * 1280 * 4096 / 100e12 + FILL_SECONDS
    assert seconds == pytest.approx(by_hand)


def test_one_tile_more_costs_a_wave_more() -> None:
    one = matmul_seconds(2560, 1280, 4096, RATES)
    assert matmul_seconds(2561, 1280, 4096, RATES) > 1.5 * one


def test_a_thin_product_takes_as_long_as_its_operands_are_read() -> None:
    seconds = matmul_seconds(4096, 4096, 1, Rates(1e18, 100, 1e12))
    assert seconds == pytest.approx(2 * 4096 * 4096 / 1e12, rel=0.1)


def test_matmuls_of_one_kernel_share_its_waves() -> None:
    rates = RATES._replace(memory=1e15)
    single = matmul_seconds(128, 128, 1024, rates)
    assert matmul_seconds(128, 128, 1024, rates, groups=100) == pytest.approx(single)
    assert matmul_seconds(128, 128, 1024, rates, groups=101) == pytest.approx(2 * single)


def test_nothing_to_multiply_takes_no_time() -> None:
    assert matmul_seconds(0, 128, 128, RATES) == 0


def test_more_of_anything_is_never_slower() -> None:
    sizes = (5000, 3000, 7000)
    slow = matmul_seconds(*sizes, RATES)
    assert matmul_seconds(*sizes, RATES._replace(flops=2e14)) <= slow
    assert matmul_seconds(*sizes, RATES._replace(memory=2e12)) <= slow
    assert matmul_seconds(*sizes, RATES._replace(multiprocessors=200, flops=2e14)) <= slow


def test_measured_products_of_an_h20_are_met_within_a_twentieth() -> None:
    found = find("H20 96GB")
    rates = Rates(1e12 * sustained_tflops(found, "bf16"), 78, memory_bytes_per_second(found))
    for size, measured in ((4096, 133.4), (8192, 138.6), (10240, 142.25)):
        rate = 2 * size**3 / matmul_seconds(size, size, size, rates) / 1e12
        assert rate == pytest.approx(measured, rel=0.05)


def test_measured_products_of_an_a100_are_met_within_a_tenth() -> None:
    gpu = find("A100 80GB PCIe")
    units = gpu.multiprocessors
    rates = Rates(1e12 * sustained_tflops(gpu, "bf16"), units, memory_bytes_per_second(gpu))
    ratios = []
    for m, k, n, share in MEASURED:
        seconds = 2 * m * n * k / (share * PEAK * 1e12)
        ratios.append(matmul_seconds(m, n, k, rates) / seconds)
    assert 0.9 < statistics.median(ratios) < 1.1
    assert not [ratio for ratio in ratios if not 0.75 < ratio < 1.25]

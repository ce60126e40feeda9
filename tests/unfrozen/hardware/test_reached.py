"""What cards reach: below their sheets, with a source, and never faster than their best product."""

from __future__ import annotations

import pytest

from unfrozen.hardware.boards import board, peak_tflops
from unfrozen.hardware.gpus import GPUS, Gpu, find
from unfrozen.hardware.reached import (
    REACHED,
    SOURCES,
    best_tflops,
    memory_bytes_per_second,
    product_tflops,
    reached,
    reached_sources,
    slowest,
)

CARDS = pytest.mark.parametrize("gpu", GPUS, ids=lambda gpu: gpu.name)


@CARDS
def test_every_card_has_its_multiprocessors_and_a_source(gpu: Gpu) -> None:
    assert gpu.name in REACHED
    assert reached(gpu).multiprocessors >= 40
    assert all(key in SOURCES for key in reached(gpu).sources)
    assert reached_sources(gpu)


@CARDS
def test_what_lasts_is_below_the_sheet_and_the_best_product(gpu: Gpu) -> None:
    half = "bf16" if gpu.bf16 else "fp16"
    assert 0.4 * peak_tflops(gpu, half) < product_tflops(gpu, half) <= best_tflops(gpu) * 1.001
    assert product_tflops(gpu, "fp32") < board(gpu).fp32_tflops
    assert memory_bytes_per_second(gpu) < 1e9 * gpu.bandwidth_gb_s


@CARDS
def test_fewer_bits_are_faster_where_the_card_has_them_and_never_above_the_sheet(gpu: Gpu) -> None:
    half = product_tflops(gpu, "bf16")
    eighth = product_tflops(gpu, "fp8")
    assert eighth <= peak_tflops(gpu, "fp8")
    assert (eighth > half) == board(gpu).fp8
    assert product_tflops(gpu, "nvfp4") >= eighth if board(gpu).fp4 else True


def test_published_figures_are_kept_as_they_were_published() -> None:
    assert product_tflops(find("H100"), "bf16") == 720  # SemiAnalysis, December 2024
    assert product_tflops(find("H200"), "fp8") == 1280
    assert product_tflops(find("MI300X"), "bf16") == 620
    assert product_tflops(find("B200"), "bf16") == pytest.approx(0.488 * 2250, rel=0.001)
    assert product_tflops(find("A100 80GB PCIe"), "bf16") == pytest.approx(0.745 * 312, rel=0.01)


def test_a_card_that_may_draw_more_multiplies_more_where_power_binds() -> None:
    assert product_tflops(find("GB200"), "bf16") == pytest.approx(1.2 * 1098)


def test_the_slowest_of_many_cards_sets_the_pace() -> None:
    assert slowest(1) == 1
    assert 1 < slowest(2) < slowest(8) < slowest(1024) < 1.04

"""What a processor does is measured for real; how long, a clock says that is passed in."""

from __future__ import annotations

import torch

from gpu_runner.machine import speeds

CPU = torch.device("cpu")


def test_products_of_a_processor_are_measured_by_precision() -> None:
    found = speeds.products(CPU, seconds=0.05)
    assert set(found) == {"fp32", "bf16"}
    assert all(1e-4 < rate < 1e3 for rate in found.values())


def test_memory_is_read_and_written_at_a_rate_that_a_machine_can_have() -> None:
    assert 0.1 < speeds.memory_gb_s(CPU, seconds=0.05) < 1e4


def test_an_operation_takes_microseconds() -> None:
    assert 0.1 < speeds.launch_us(CPU, seconds=0.05) < 1e4


def test_the_second_half_counts_for_its_clock_is_the_one_that_lasts() -> None:
    times = iter([0.0, 1.0, 2.0, 12.0, 22.0])  # two calls of a second, two of ten
    assert speeds._each(lambda: None, CPU, 22.0, lambda: next(times)) == 10.0

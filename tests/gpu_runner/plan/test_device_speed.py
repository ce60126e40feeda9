"""The speed of this CPU, measured in milliseconds, and the timer on a clock of the test's own."""

import itertools

import torch

from gpu_runner.plan import device_speed

CPU = torch.device("cpu")


def test_matmuls_and_bandwidth_are_those_that_a_machine_can_have() -> None:
    assert 1e8 < device_speed.best_matmul_flops(CPU, "fp32") < 1e14
    assert 0.1 < device_speed.measure_bandwidth(CPU, seconds=0.05) < 1e4


def test_a_processor_on_which_products_take_seconds_gets_smaller_ones() -> None:
    taken = device_speed.time_matmuls(CPU, "bf16", 0.2, itertools.count().__next__)
    assert [2 * 128**3 * each for each in taken] == [1.0, 1.0]


def test_measuring_leaves_the_random_numbers_of_a_run_alone() -> None:
    torch.manual_seed(5)
    wanted = torch.rand(1)
    torch.manual_seed(5)
    device_speed.best_matmul_flops(CPU, "fp32")
    assert torch.equal(torch.rand(1), wanted)


def test_the_sustained_time_is_the_mean_of_the_second_half() -> None:
    times = iter([0.0, 1.0, 2.0, 12.0, 22.0])  # two calls of a second, two of ten
    taken = device_speed.time_calls(lambda: None, CPU, 22.0, lambda: next(times))
    assert device_speed.sustained(taken) == 10.0

"""The classic figures of chapter 2, to the digits the article prints."""

import pytest

from unfrozen.errors import PlanError
from unfrozen.memory.classic import activation_bytes, classic, min_gpus, states_bytes
from unfrozen.units import GB


def test_mixed_precision_adamw_takes_sixteen_bytes_a_parameter() -> None:
    states = states_bytes(7e9)
    assert states == {"params": 14 * GB, "grads": 14 * GB, "master": 28 * GB, "moments": 56 * GB}
    assert sum(states.values()) == 112 * GB
    assert sum(states_bytes(350e6).values()) == 5_600_000_000


@pytest.mark.parametrize(
    ("parameters", "hidden", "layers", "expected"),
    [
        (7e9, 4096, 32, ("112.0", "3.2", "115.2", 2)),
        (13e9, 5120, 40, ("208.0", "5.0", "213.0", 3)),
        (70e9, 8192, 80, ("1120.0", "16.1", "1136.1", 15)),
    ],
)
def test_the_articles_table_is_reproduced(
    parameters: float, hidden: int, layers: int, expected: tuple[str, str, str, int]
) -> None:
    row = classic(parameters, hidden, layers)
    sizes = (row.states_bytes, row.activation_bytes, row.total_bytes)
    assert (*(f"{size / GB:.1f}" for size in sizes), row.min_gpus) == expected


def test_batch_eight_adds_about_twenty_two_gigabytes_to_the_7b_model() -> None:
    added = activation_bytes(2048, 8, 4096, 32) - activation_bytes(2048, 1, 4096, 32)
    assert added / GB == pytest.approx(22.5, abs=0.1)


def test_a_gpu_that_just_fits_is_one_gpu() -> None:
    assert min_gpus(80 * GB) == 1
    assert min_gpus(80 * GB + 1) == 2
    assert min_gpus(1) == 1


@pytest.mark.parametrize("bad", [0, -1, float("nan"), float("inf"), 1e30, "7e9", True])
def test_sizes_that_are_not_positive_numbers_are_refused(bad: float) -> None:
    for call in (states_bytes, min_gpus, lambda n: classic(7e9, 4096, 32, batch=n)):
        with pytest.raises(PlanError, match="above 0"):
            call(bad)


def test_the_largest_size_is_below_a_quintillion_and_defaults_are_the_articles() -> None:
    assert min_gpus(0.99e18, 1e17) == 10
    with pytest.raises(PlanError, match="below 1e18"):
        min_gpus(1e18)
    row = classic(7e9, 4096, 32)
    assert row == classic(7e9, 4096, 32, seq_len=2048, batch=1, factor=12, gpu_bytes=80 * GB)
    assert row.activation_bytes == 2048 * 4096 * 32 * 12

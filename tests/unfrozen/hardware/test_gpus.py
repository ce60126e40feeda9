"""Cards: names people write, and what a card really holds."""

import pytest

from unfrozen.errors import PlanError
from unfrozen.hardware.gpus import GPUS, SOURCES, find
from unfrozen.units import GB, gib


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("A100-80GB", "A100 80GB SXM"),
        ("a100 80gb pcie", "A100 80GB PCIe"),
        ("NVIDIA H100", "H100 SXM"),
        ("H200", "H200"),
        ("RTX 4090", "RTX 4090"),
        ("L4", "L4"),
    ],
)
def test_a_card_is_found_by_the_name_people_write(written: str, name: str) -> None:
    assert find(written).name == name


@pytest.mark.parametrize("name", ["", "!!", "H1000", "TPU v5"])
def test_an_unknown_card_is_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(PlanError, match="RTX 3090, RTX 4090"):
        find(name)


def test_an_80_gb_card_does_not_hold_80_gb_to_the_last_byte() -> None:
    assert gib(find("A100-80GB").capacity_bytes) == pytest.approx(79.15)
    assert find("B200").capacity_bytes == 180 * GB


def test_every_card_is_plausible_and_named_once() -> None:
    assert len({gpu.name for gpu in GPUS}) == len(GPUS)
    assert {gpu.name for gpu in GPUS if not gpu.bf16} == {"T4", "V100 SXM 32GB", "V100 SXM 16GB"}
    for gpu in GPUS:
        assert 0.9 * gpu.nominal_gb <= gib(gpu.capacity_bytes) <= gpu.nominal_gb
        assert gpu.bf16 == (gpu.bf16_tflops is not None)
        assert 300 <= gpu.bandwidth_gb_s <= 8000
    assert SOURCES

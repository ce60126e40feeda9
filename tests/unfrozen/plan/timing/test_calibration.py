"""A calibration: read back as written, refused by name, and told in a sentence."""

from __future__ import annotations

from typing import Any

import pytest

from unfrozen.errors import PlanError
from unfrozen.plan.timing.calibration import Calibration

GIVEN: dict[str, Any] = {
    "device": "NVIDIA GeForce RTX 3090",
    "card": "RTX 3090",
    "day": "2026-11-27",
    "products": {"bf16": 63.0, "fp32": 24.0},
    "memory_gb_s": 840.0,
    "launch_us": 6.5,
    "step_ratio": 1.2,
    "step_share": None,
    "steps": 40,
}


def test_it_is_read_back_as_it_was_written() -> None:
    found = Calibration.read(GIVEN)
    assert found.as_json() == GIVEN
    assert Calibration.read(found.as_json()) == found
    assert hash(found)


def test_it_says_what_it_replaces() -> None:
    told = Calibration.read(GIVEN).sentence()
    assert "NVIDIA GeForce RTX 3090 (2026-11-27)" in told
    assert "63 TFLOP/s in bf16" in told
    assert "40 steps took 1.20 of the estimate" in told


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"memory_gb_s": -1}, "calibration.memory_gb_s"),
        ({"launch_us": float("nan")}, "calibration.launch_us"),
        ({"products": {"bf17": 1.0}}, "calibration.products"),
        ({"products": {"bf16": "fast"}}, "calibration.products.bf16"),
        ({"speed": 1}, "calibration.speed"),
        ({"steps": -3}, "calibration.steps"),
        ({"device": 3}, "calibration.device"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(change: dict[str, Any], key: str) -> None:
    with pytest.raises(PlanError) as caught:
        Calibration.read(GIVEN | change)
    assert caught.value.key == key
    assert "unfrozen calibrate" in caught.value.remedy


def test_no_object_is_no_calibration() -> None:
    with pytest.raises(PlanError):
        Calibration.read([1])

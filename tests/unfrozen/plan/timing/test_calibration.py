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


@pytest.mark.parametrize(
    ("key", "low", "high"),
    [
        ("memory_gb_s", 1e-3, 1e5),
        ("launch_us", 1e-3, 1e5),
        ("step_ratio", 0.03, 30.0),
        ("step_share", 1e-3, 1.25),
        ("products", 1e-6, 1e5),
    ],
)
def test_each_rate_has_its_bounds(key: str, low: float, high: float) -> None:
    def read(value: float) -> Calibration:
        return Calibration.read(GIVEN | {key: {"bf16": value} if key == "products" else value})

    assert read(low) != read(high)
    for outside in (low / 1.01, high * 1.01):
        with pytest.raises(PlanError, match=f"from {low:g} to {high:g}"):
            read(outside)


def test_a_device_without_steps_has_none_and_a_text_has_a_length() -> None:
    assert Calibration.read({"device": "x" * 200}).steps == 0
    assert Calibration.read(GIVEN | {"steps": 0}).steps == 0
    with pytest.raises(PlanError, match="short text"):
        Calibration.read({"device": "x" * 201})

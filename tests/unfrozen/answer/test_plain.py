"""Answers: fixed keys, whatever the job."""

from __future__ import annotations

import json
from typing import Any

import pytest

from unfrozen.answer import answer, on_all_gpus
from unfrozen.hardware import GPUS
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan import plan
from unfrozen.units import GIB

LLAMA_7B = CATALOGUE["meta-llama/Llama-2-7b-hf"].config
KEYS = [
    "allocated_gib",
    "reserved_gib",
    "device_gib",
    "peak_instant",
    "instants",
    "fits",
    "chance",
    "verdict",
    "min_gpus",
    "band",
    "family",
    "advice",
]


def test_an_answer_has_the_fixed_keys_and_its_components_add_up() -> None:
    found: dict[str, Any] = answer(plan({"model": LLAMA_7B}))
    assert list(found) == KEYS
    components = found["instants"][found["peak_instant"]]
    assert sum(components.values()) / GIB == pytest.approx(found["allocated_gib"], rel=1e-12)
    assert (found["fits"], found["family"]) == (None, "exact")
    low, high = found["band"]
    assert low <= found["device_gib"] <= high


def test_advice_is_plain_data_with_its_keys() -> None:
    found: dict[str, Any] = answer(plan({"model": LLAMA_7B, "gpu": "H100"}))
    assert found["advice"]
    for entry in found["advice"]:
        wanted = {"label", "patch", "saved_gib", "device_gib", "time_ratio", "fits"}
        assert wanted <= set(entry)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_advice_can_be_left_out() -> None:
    found = answer(plan({"model": LLAMA_7B}), with_advice=False)
    assert list(found) == KEYS
    assert found["advice"] == []


def test_every_gpu_answers_and_says_what_it_lacks() -> None:
    rows = on_all_gpus(plan({"model": LLAMA_7B}))
    assert [row["gpu"] for row in rows] == [gpu.name for gpu in GPUS]
    by_name = {row["gpu"]: row for row in rows}
    assert by_name["T4"]["fits"] is False
    assert by_name["T4"]["lacks"] == "the T4 has no bf16"
    assert by_name["B200"]["fits"] is True
    for row in rows:
        if row["lacks"] is None:
            assert row["fits"] is (row["headroom_gib"] >= 0)
            assert (row["min_gpus"] == 1) == row["fits"]

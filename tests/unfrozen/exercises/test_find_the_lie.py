"""Lies by the hundred: one part fits the gap, and every other one on offer is told off truly."""

import re
from functools import cache
from typing import Any

import pytest

from unfrozen.exercises.find_the_lie import as_json, lie
from unfrozen.units import GB

SIZE = re.compile(r"(\d[\d,]*(?:\.\d+)?) (GB|MB)")
PARTS = {
    "The weights.": "params",
    "The master copy.": "master",
    "The optimizer's moments.": "moments",
    "The activations.": "activations",
    "The logits and their loss.": "logits_loss",
}


@pytest.fixture(scope="module")
def seeds(share: int) -> range:
    return range(1, 1 + 500 // share)


@cache
def shown(seed: int) -> Any:
    """What the page shows of a lie."""
    return as_json(seed)


def sizes(text: str) -> list[float]:
    """The sizes a text names, in bytes."""
    scale = {"GB": GB, "MB": 10**6}
    return [
        float(number.replace(",", "")) * scale[unit]
        for number, unit in SIZE.findall(text.replace("\u00a0", " "))
    ]


def test_the_calculator_answers_the_peak_without_the_missing_part(seeds: range) -> None:
    for seed in seeds:
        found = lie(seed)
        told, peak = sizes(shown(seed)["story"])
        assert abs(peak / found.plan.allocated_bytes - 1) < 0.005, seed
        assert abs(told / (found.plan.allocated_bytes - found.gap_bytes) - 1) < 0.005, seed


def test_one_part_is_right_and_it_is_as_large_as_the_gap(seeds: range) -> None:
    for seed in seeds:
        right = [option for option in shown(seed)["options"] if option["right"]]
        assert len(right) == 1
        assert PARTS[right[0]["text"]] == lie(seed).missing
        assert any(abs(s / lie(seed).gap_bytes - 1) < 0.005 for s in sizes(right[0]["why"]))


def test_no_wrong_part_could_be_taken_for_the_gap(seeds: range) -> None:
    for seed in seeds:
        gap = lie(seed).gap_bytes
        for option in shown(seed)["options"]:
            if not option["right"]:
                size = sizes(option["why"])[0]
                assert max(size / gap, gap / size) >= 1.29, (seed, option)


def test_what_is_reported_of_a_part_that_is_there_is_its_size(seeds: range) -> None:
    for seed in seeds:
        for option in shown(seed)["options"]:
            part = PARTS.get(option["text"])
            if part and not option["right"]:
                there, missing = sizes(option["why"])
                assert abs(there / lie(seed).parts[part] - 1) < 0.005
                assert abs(missing / lie(seed).gap_bytes - 1) < 0.005


def test_no_gradient_is_there_when_gradients_are_said_to_be_absent(seeds: range) -> None:
    offered = [seed for seed in seeds if "grads" in lie(seed).offered]
    assert offered
    for seed in offered:
        assert "grads" not in lie(seed).parts


def test_four_parts_are_offered_and_the_right_one_stands_anywhere(seeds: range) -> None:
    places = set()
    for seed in seeds:
        options = shown(seed)["options"]
        assert len({option["text"] for option in options}) == len(options) == 4
        assert not [
            option for option in options if not re.fullmatch(r"#[a-z0-9-]+", option["see"][0])
        ]
        places.add([option["right"] for option in options].index(True))
    assert places == {0, 1, 2, 3}


def test_a_seed_is_the_same_lie_every_time() -> None:
    before = as_json(12)
    lie.cache_clear()
    assert as_json(12) == before
    assert before["next"] == 13

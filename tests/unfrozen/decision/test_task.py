"""What the reader says of a task: read, bounded, carried by an address, refused in words."""

import pytest

from unfrozen.decision.task import (
    DEFAULTS,
    GPU_NAMES,
    MODELS,
    STOPS,
    as_query,
    as_state,
    read_task,
)
from unfrozen.errors import PlanError
from unfrozen.hardware import find
from unfrozen.hardware.flavors import PRICES
from unfrozen.model.catalogue import CATALOGUE

GIVEN = {"model": "Qwen/Qwen3-4B", "gpus": "12", "tokens": "66,400,000", "price": "2.5"}


def test_what_is_left_out_is_as_in_the_default() -> None:
    task = read_task({})
    assert as_state(task) == {}
    assert {key: str(getattr(task, key)) for key in DEFAULTS} == DEFAULTS
    assert task.price is None


def test_an_address_carries_a_choice_and_gives_it_back() -> None:
    task = read_task(GIVEN)
    assert (task.gpus, task.tokens, task.price) == (12, 66_400_000, 2.5)
    assert read_task(as_query(task)) == task
    assert as_query(task) == "model=Qwen/Qwen3-4B&gpus=12&tokens=66400000&price=2.5"


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("gpus", "0", "1 … 64"),
        ("gpus", "two", "whole number"),
        ("tasks", "1.5", "whole number"),
        ("tokens", "999", "1,000"),
        ("requests", "-1", "whole number"),
        ("price", "cheap", "a number"),
        ("price", "nan", "0 … 10,000"),
        ("model", "gpt-5", "not tested"),
        ("gpu", "T4", "not tested"),
        ("learn", "poetry", "not tested"),
        ("colour", "red", "no control"),
    ],
)
def test_what_cannot_be_decided_on_is_refused_with_its_bound(
    key: str, value: str, words: str
) -> None:
    with pytest.raises(PlanError) as refusal:
        read_task({key: value})
    assert refusal.value.key == key
    assert words in refusal.value.bound
    assert refusal.value.remedy


def test_everything_offered_is_known_and_computes_in_bf16() -> None:
    sizes = [CATALOGUE[name].num_parameters for name in MODELS]
    assert sizes == sorted(sizes)
    assert not [gpu for gpu in GPU_NAMES if not (find(gpu).bf16 and find(gpu).bandwidth_gb_s)]
    assert set(PRICES) <= set(GPU_NAMES)
    assert not [stops for stops in STOPS.values() if list(stops) != sorted(stops)]

"""What would flip a decision really flips it, and a change one step smaller does not."""

import random
from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from conftest import matrix
from unfrozen.decision.options import KEYS
from unfrozen.decision.ranking import INPUTS, Flip, count_at, flips, place, winner
from unfrozen.decision.sentences import flip_text
from unfrozen.decision.task import BOUNDS, GPU_NAMES, LEARN, MODELS, STOPS, WANT, Task, read_task

HARDWARE = list(product(MODELS, GPU_NAMES, STOPS["gpus"]))


def one_step_less(flip: Flip, task: Task) -> list[Task]:
    """The task with the change, but one step nearer to where it is; for names, each name that
    is nearer.
    """
    now, value = getattr(task, flip.key), flip.value
    if isinstance(value, int):
        up = value > now
        nearer = count_at(flip.key, place(flip.key, value) + (-1 if up else 1))
        nearer = max(now, nearer) if up else min(now, nearer)
        return [replace(task, **{flip.key: nearer})]
    offered: Any = {"gpu": GPU_NAMES, "model": MODELS}.get(flip.key, ())
    if not offered:
        return []
    low, high = sorted((offered.index(now), offered.index(value)))
    between = offered[low:high] if flip.key == "gpu" else offered[low + 1 : high + 1]
    return [replace(task, **{flip.key: name}) for name in between]


def check_flips(task: Task) -> int:
    """Every flip of every method; how many there are."""
    count = 0
    for key in KEYS:
        found = flips(task, key)
        assert not found or winner(task) != key
        for flip in found:
            assert winner(flip.apply(task)) == key, (task, flip)
            for nearer in one_step_less(flip, task):
                assert winner(nearer) != key, (task, flip, nearer)
            count += 1
    return count


def drawn(model: str, gpu: str, gpus: int, seed: int) -> Task:
    """A task on this hardware, drawn; half of its numbers lie between the stops of a slider."""
    dice = random.Random(f"{model} {gpu} {gpus} {seed}")
    counts = {
        key: dice.choice(stops) if dice.random() < 0.5 else round(dice.uniform(1, 3) * stops[3])
        for key, stops in STOPS.items()
        if key != "gpus"
    }
    words = {"learn": dice.choice(list(LEARN)), "want": dice.choice(list(WANT))}
    given: dict[str, Any] = counts | words
    return Task(model, gpu, gpus, **given)


@pytest.mark.parametrize("place_of", matrix(range(0, len(HARDWARE), 71), 355))
def test_every_flip_flips_and_one_step_less_does_not(place_of: int) -> None:
    check_flips(drawn(*HARDWARE[place_of], seed=0))


@pytest.mark.slow
@pytest.mark.parametrize("model", matrix(MODELS, "Qwen/Qwen3-0.6B"))
def test_every_flip_flips_on_every_gpu_in_every_number(model: str) -> None:
    kinds = [each for each in HARDWARE if each[0] == model]
    assert sum(check_flips(drawn(*each, seed=1)) for each in kinds) > len(kinds) / 2


def test_what_is_first_needs_no_flip() -> None:
    assert winner(read_task({})) == "full"
    assert flips(read_task({}), "full") == []


@pytest.mark.slow
def test_a_decision_can_be_flipped_by_each_input() -> None:
    given = (
        "",
        "model=meta-llama/Llama-3.1-70B&gpu=H100 SXM",
        "model=meta-llama/Llama-3.1-8B&gpu=RTX 4090&learn=knowledge",
        "tasks=5",
        "requests=1000",
    )
    found = {flip.key for query in given for key in KEYS for flip in flips(read_task(query), key)}
    assert found == set(INPUTS)


@pytest.mark.parametrize("key", ["tokens", "requests"])
def test_counts_of_three_digits_stand_in_a_row_without_gap_or_double(key: str) -> None:
    counts = [count_at(key, index) for index in range(1, 6000)]
    assert counts == sorted(set(counts))
    assert not [
        (index, count) for index, count in enumerate(counts, 1) if place(key, count) != index
    ]
    assert not [count for count in counts if str(count).rstrip("0") != str(count)[:3].rstrip("0")]
    assert place(key, 123_456, up=True) + 1 == place(key, 123_456, up=False)
    assert count_at("tasks", 951) == 951


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("gpus", 3, "with 2 more GPUs"),
        ("gpus", 2, "with 1 more GPU"),
        ("tasks", 4, "from 4 tasks on"),
        ("tokens", 5_000_000, "up to 5,000,000 tokens"),
        ("requests", 1, "up to 1 request"),
        ("gpu", "H200", "on H200"),
        ("model", "Qwen/Qwen3-0.6B", "with Qwen3-0.6B"),
        ("learn", "knowledge", "for new knowledge"),
        ("want", "most", "to learn as much as it can"),
        ("want", "keep", "to forget as little as possible"),
    ],
)
def test_a_change_is_reported_as_a_person_would(key: str, value: int | str, words: str) -> None:
    assert flip_text(Flip("lora", key, value), read_task({"gpus": "1"})) == words


def test_fewer_gpus_and_less_to_learn_are_said_too() -> None:
    task = read_task({"gpus": "4", "learn": "knowledge", "want": "most"})
    assert flip_text(Flip("full", "gpus", 1), task) == "with 3 fewer GPUs"
    assert flip_text(Flip("full", "learn", "style"), task) == "for style and format only"
    assert flip_text(Flip("full", "want", "enough"), task) == "if good enough will do"


def test_every_flip_stays_within_what_can_be_read() -> None:
    task = read_task({"gpus": "64", "tasks": "50"})
    for key in KEYS:
        for flip in flips(task, key):
            if isinstance(flip.value, int):
                low, high = BOUNDS[flip.key]
                assert low <= flip.value <= high

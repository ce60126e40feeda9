"""The order of the methods: on every combination that the page offers, and for stated reasons."""

from itertools import pairwise, product

import pytest

from conftest import matrix
from unfrozen.decision.evidence import LEAST_RANK
from unfrozen.decision.options import (
    HAS_ROOM,
    KEYS,
    LACKS_ROOM,
    LEARNS_NOTHING,
    Option,
    serving_room_bytes,
)
from unfrozen.decision.ranking import TASTE, WORTH_GPU_HOURS, decided_by, ranked, sort_keys
from unfrozen.decision.sentences import title, verdict
from unfrozen.decision.task import GPU_NAMES, LEARN, MODELS, STOPS, WANT, Task, read_task

HARDWARE = list(product(MODELS, GPU_NAMES, STOPS["gpus"]))
TASKS = list(product(STOPS["tasks"], STOPS["tokens"], STOPS["requests"], LEARN, WANT))


def check_numbers(option: Option, task: Task) -> None:
    """What an option says of itself follows from its numbers."""
    held = option.storage.at(task.tasks)
    assert option.serves == (held <= serving_room_bytes(task))
    assert option.gpu_hours == pytest.approx(option.hours * task.gpus)
    assert option.device_bytes > 0
    assert option.hours > 0
    if option.way is None:
        assert option.lacks == (HAS_ROOM if task.learn == "style" else LEARNS_NOTHING)
        return
    assert option.fits == option.way.plan.fits == option.way.fits
    if option.key == "full":
        assert option.lacks == HAS_ROOM
        return
    roomy = option.room_tokens >= task.tokens and option.rank >= LEAST_RANK[task.learn]
    assert option.lacks == (HAS_ROOM if roomy else LACKS_ROOM)


def check_order(found: list[Option], task: Task) -> None:
    """Said again in other words than `sort_keys`: what comes first is better or cheaper."""
    for better, worse in pairwise(found):
        assert better.fits >= worse.fits
        if better.fits != worse.fits:
            continue
        assert better.lacks <= worse.lacks
        if better.lacks != worse.lacks:
            continue
        assert better.serves >= worse.serves
        if better.serves != worse.serves:
            continue
        ours, theirs = better.gpu_hours, worse.gpu_hours
        simpler = TASTE[task.want].index(better.key) < TASTE[task.want].index(worse.key)
        if task.want == "enough":
            assert ours <= theirs or (simpler and ours <= theirs + WORTH_GPU_HOURS)
        else:
            assert simpler


def check_hardware(model: str, gpu: str, gpus: int, first: int = 0, every: int = 1) -> None:
    """Every task on one kind of hardware, or one in `every`, from the `first` on."""
    for tasks, tokens, requests, learn, want in TASKS[first::every]:
        task = Task(model, gpu, gpus, tasks, tokens, requests, learn, want)
        found = ranked(task)
        assert sorted(option.key for option in found) == sorted(KEYS)
        check_order(found, task)
        for option in found:
            check_numbers(option, task)


@pytest.mark.parametrize("place", matrix(range(0, len(HARDWARE), 97), 0, 485))
def test_the_order_follows_from_the_numbers(place: int) -> None:
    check_hardware(*HARDWARE[place])


@pytest.mark.slow
@pytest.mark.parametrize("model", matrix(MODELS, MODELS[0]))
def test_the_order_follows_from_the_numbers_on_every_gpu_in_every_number(model: str) -> None:
    kinds = [each for each in HARDWARE if each[0] == model]
    for place, each in enumerate(kinds):  # together they meet every task many times
        check_hardware(*each, first=place % 10, every=10)


def test_the_reason_that_is_reported_is_the_one_that_decided() -> None:
    told: dict[str, tuple[str, str]] = {
        "fits": (
            "does not fit",
            "gpus=1&model=meta-llama/Llama-3.1-70B&gpu=H100 SXM&learn=knowledge",
        ),
        "learns": ("falls short", "gpus=1&tokens=10000000000&learn=knowledge"),
        "serves": (
            "all tasks at once",
            "gpus=1&model=Qwen/Qwen3-4B&gpu=RTX 4090&tasks=20&learn=knowledge",
        ),
        "worth": (
            "GPU-hours to",
            "gpus=1&model=meta-llama/Llama-3.2-3B&tokens=1000000000&requests=10000000",
        ),
        "taste": ("fewer parts", ""),
    }
    for question, (words, query) in told.items():
        task = read_task(query)
        found = ranked(task)
        assert decided_by(*found[:2], sort_keys(found, task.want)) == question, question
        assert words in verdict(found, task), question


@pytest.mark.parametrize("want", WANT)
def test_what_the_reader_wants_is_told_where_it_decides(want: str) -> None:
    task = read_task({"want": want})
    found = ranked(task)
    assert found[0].key == TASTE[want][0 if want != "enough" else 1]
    words = {"enough": "fewer parts", "most": "most room", "keep": "changes the model less"}
    assert words[want] in verdict(found, task)


def test_a_title_names_the_method_its_rank_and_its_lack() -> None:
    titles = {
        "": "Full fine-tuning.",
        "tasks=50": "LoRA, rank 16.",
        "want=keep": "A prompt.",
        "model=meta-llama/Llama-3.1-8B&gpu=L4&tokens=10000000000": "A prompt.",
        "model=meta-llama/Llama-3.1-8B&gpu=RTX 5090&tokens=10000000000&learn=knowledge": (
            "QLoRA, rank 512, with too little room."
        ),
        "model=meta-llama/Llama-3.1-70B&gpu=A100 40GB&learn=knowledge": (
            "Nothing that fits can learn this."
        ),
        "model=meta-llama/Llama-3.1-70B&gpu=RTX 4090": "None of them fits.",
    }
    for query, words in titles.items():
        assert title(ranked(read_task(f"{query}&gpus=1" if query else ""))[0]) == words, query

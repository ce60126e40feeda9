"""A question as it is asked: GPUs in words, and what contradicts it."""

from __future__ import annotations

from typing import Any

import pytest

from unfrozen.errors import PlanError
from unfrozen.job import read_gpu
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.project.best import Work, find
from unfrozen.project.questions import question, read_gpus, with_gpus
from unfrozen.project.text import SOLVE, nothing_words
from unfrozen.training_data import Data

MODEL = CATALOGUE["meta-llama/Llama-3.1-8B"].config


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("8xH100", (8, "H100 SXM")),
        ("H100 x8", (8, "H100 SXM")),
        ("H100x8", (8, "H100 SXM")),
        ("A100-80GB:8", (8, "A100 80GB SXM")),
        ("8 × RTX 4090", (8, "RTX 4090")),
        ("2x4090", (2, "RTX 4090")),
        ("4090 x 2", (2, "RTX 4090")),
        ("2 4090s", (2, "RTX 4090")),
        ("2 rtx 3090", (2, "RTX 3090")),
        ("4 * l40s", (4, "L40S")),
        ("2x7900xtx", (2, "RX 7900 XTX")),
        ("1,024 H100 SXM", (1024, "H100 SXM")),
        ("rtx 4060 ti 8gb", (None, "RTX 4060 Ti 8GB")),
        ("3 4060 ti 8gb", (3, "RTX 4060 Ti 8GB")),
        ("4090", (None, "RTX 4090")),
        ("t4", (None, "T4")),
        ("colab", (1, "T4")),
        ("Kaggle", (2, "T4")),
        ("2x kaggle", (4, "T4")),
        ("H100*8", (8, "H100 SXM")),
        ("2x h20-3e", (2, "H20 141GB")),
        ("kaggle t4", (None, "T4")),
        ("64", (64, None)),
    ],
)
def test_gpus_are_a_number_and_a_name_as_people_type_them(
    text: str, found: tuple[int | None, str | None]
) -> None:
    assert read_gpus(text) == found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "must be a number"),
        ("8x", "not in the table"),
        ("0", "1 … 4,096"),
        ("5000xH100", "1 … 4,096"),
        ("-3", "not in the table"),
        ("8xH100, 4xA100x", "not in the table"),
        ("2x a100", "different memory"),
        ("2x 4060 ti", "different memory"),
        ("2080", "for example RTX 2080 Ti"),
        ("4,090", "for example RTX 4090"),
        ("p100", "not in the table"),
        ("8 gb", "memory, which 6 GPUs.*name the card, such as .*RTX 4060"),
        ("one 24GB card", "name the card, such as .*RTX 3090"),
        ("2x 48 GB GPUs", "name the card, such as .*RTX A6000"),
        ("rx 6800", "not in the table"),
        ("4x rtx 4090 laptop", "laptops"),
    ],
)
def test_another_text_is_refused(text: str, said: str) -> None:
    with pytest.raises(PlanError, match=said):
        with_gpus({"model": MODEL}, text)


def test_a_bare_name_is_one_gpu_or_as_many_as_the_job_says() -> None:
    assert with_gpus({}, "4090") == ({"gpu": "RTX 4090"}, 1)
    assert with_gpus({"cluster": {"gpus": 4}}, "4090")[1] == 4


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"gpu": "H200"}, ("8xH100", "H200")),
        ({"cluster": {"gpus": 4}}, ("8xH100", "4")),
    ],
)
def test_a_contradiction_names_both(given: dict[str, Any], names: tuple[str, str]) -> None:
    with pytest.raises(PlanError) as refused:
        with_gpus(given, "8xH100")
    assert not [name for name in names if name not in str(refused.value)]


def test_gpus_may_have_numbers_alone() -> None:
    numbers = {"nominal_gb": 24, "bandwidth_gb_s": 500, "bf16_tflops": 60}
    job, gpus = with_gpus({"model": MODEL, "gpu": numbers}, "2")
    assert (job["gpu"], gpus) == (numbers, 2)
    assert question(job, gpus, Data(1000, 1, 300, 300)).job.gpu == read_gpu(numbers)


def test_the_same_gpu_in_other_words_is_no_contradiction() -> None:
    job, gpus = with_gpus({"gpu": "h100-sxm", "cluster": {"gpus": 8}}, "8xH100")
    assert (job["gpu"], gpus) == ("H100 SXM", 8)
    assert with_gpus({"cluster": {"gpus": 4}}, None)[1] == 4


def test_what_is_left_open_is_what_an_expert_would_set() -> None:
    data = Data(1000, 1, 300, 3000)
    found = question({"model": MODEL, "gpu": "H100"}, 8, data)
    assert (found.job.recipe.attention, found.job.recipe.seq_len) == ("flash", 4096)
    given = {"attention": "sdpa", "seq_len": 1024}
    found = question({"model": MODEL, "gpu": "H100", "recipe": given}, 8, data)
    assert (found.job.recipe.attention, found.job.recipe.seq_len) == ("sdpa", 1024)
    assert found.left.isdisjoint(given)
    assert question({"model": MODEL, "framework": "trl"}, 8, data).framework == "accelerate"


def test_only_trl_starts_a_plan_on_a_chip_of_apple_which_is_one_gpu() -> None:
    job, gpus = with_gpus({"model": "Qwen2.5-0.5B"}, "macbook m4 max 64gb")
    found = Work(find(question(job, gpus, None))).finish()
    assert found.first is not None
    assert found.first.framework == "accelerate"
    assert "--attn_implementation eager" in found.first.command
    assert {one.framework for one in found.adapters} <= {"accelerate", ""}
    with pytest.raises(PlanError, match="one GPU alone on the Apple M4 Max 64GB"):
        question(job, 2, None)
    big = Work(find(question({"model": "Qwen2.5-72B", "gpu": "m1 8gb"}, 1, None))).finish()
    assert SOLVE not in nothing_words(big)

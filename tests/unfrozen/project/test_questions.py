"""A question as it is asked: GPUs in words, and what contradicts it."""

from __future__ import annotations

from typing import Any

import pytest

from unfrozen.errors import PlanError
from unfrozen.job import read_gpu
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.project.questions import question, read_gpus, with_gpus
from unfrozen.training_data import Data

MODEL = CATALOGUE["meta-llama/Llama-3.1-8B"].config


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("8xH100", (8, "H100")),
        ("8 × RTX 4090", (8, "RTX 4090")),
        ("1,024 H100 SXM", (1024, "H100 SXM")),
        ("64", (64, None)),
    ],
)
def test_gpus_are_a_number_and_a_name(text: str, found: tuple[int, str | None]) -> None:
    assert read_gpus(text) == found


@pytest.mark.parametrize("text", ["", "H100", "8x", "0", "5000xH100", "-3", "8xH100, 4xA100x"])
def test_another_text_is_refused(text: str) -> None:
    with pytest.raises(PlanError):
        with_gpus({"model": MODEL}, text)


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

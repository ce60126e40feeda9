"""Jobs: what they need, and which card lacks which precision."""

from __future__ import annotations

from typing import Any

import pytest

from unfrozen.catalogue import CATALOGUE
from unfrozen.errors import PlanError
from unfrozen.job import Job
from unfrozen.recipe import Recipe

LLAMA = CATALOGUE["meta-llama/Llama-3.2-1B"].config


def test_a_model_is_all_a_job_needs() -> None:
    job = Job.read({"model": LLAMA})
    assert job.recipe == Recipe()
    assert job.cluster.gpus == 1
    assert job.gpu is None
    assert Job.read({"model": LLAMA, "recipe": None, "cluster": None, "gpu": None}) == job


@pytest.mark.parametrize(
    ("given", "key", "says"),
    [
        ("llama", "job", "object"),
        ({}, "model", "needs a model"),
        ({"model": LLAMA, "gpus": 2}, "gpus", "model, recipe, cluster, gpu"),
        ({"model": LLAMA, 3: 2}, "3", "known keys"),
        ({"model": "llama"}, "model", "config.json"),
        ({"model": {"model_type": "llama"}}, "model.hidden_size", "add this key"),
        ({"model": LLAMA | {"vocab_size": 0}}, "model.vocab_size", "1 … 10,000,000"),
        ({"model": LLAMA, "gpu": 80}, "gpu", "name of a card"),
        ({"model": LLAMA, "gpu": "ZX81"}, "gpu", "choose one of RTX 3090"),
        ({"model": LLAMA, "gpu": "T4"}, "recipe.params", "T4 has no bf16"),
        (
            {"model": LLAMA, "gpu": "V100", "recipe": {"params": "fp32"}},
            "recipe.compute",
            "use fp16 or fp32",
        ),
        ({"model": LLAMA, "recipe": {"seq": 3}}, "recipe.seq", "seq_len"),
        ({"model": LLAMA, "recipe": 3}, "recipe", "object"),
    ],
)
def test_a_job_that_makes_no_sense_is_one_clear_error(given: Any, key: str, says: str) -> None:
    with pytest.raises(PlanError) as caught:
        Job.read(given)
    assert caught.value.key == key
    assert says in str(caught.value)


def test_a_card_without_bf16_takes_fp16() -> None:
    assert Job.read({"model": LLAMA, "gpu": "T4", "recipe": {"params": "fp16"}}).gpu is not None

"""Words that people type for what no plan counts are refused with what to plan instead."""

from __future__ import annotations

import re
from typing import Any

import pytest

from unfrozen.errors import PlanError
from unfrozen.hardware import find
from unfrozen.job import Job
from unfrozen.job.cluster import CLUSTER_SETTINGS
from unfrozen.job.lora import LORA_SETTINGS
from unfrozen.job.recipe import RECIPE_SETTINGS
from unfrozen.job.unplanned import INSTEAD, instead_of

MODEL = "Llama-3.2-1B"
SETTINGS = {**RECIPE_SETTINGS, **CLUSTER_SETTINGS, **LORA_SETTINGS}


def refused(**given: Any) -> PlanError:
    with pytest.raises(PlanError) as caught:
        Job.read({"model": MODEL, **given})
    return caught.value


@pytest.mark.parametrize("word", INSTEAD)
def test_a_word_is_answered_wherever_it_is_typed(word: str) -> None:
    typed = [
        refused(recipe={"method": word}),
        refused(recipe={word: True}),
        refused(recipe={"method": "lora", "lora": {word: True}}),
        refused(cluster={word: 2}),
        refused(**{word: 2}),
    ]
    if word in ("apple", "tpu"):
        typed.append(refused(gpu=word))
    assert {error.remedy for error in typed} == {INSTEAD[word]}


@pytest.mark.parametrize("remedy", sorted(set(INSTEAD.values())))
def test_what_to_plan_instead_can_be_planned(remedy: str) -> None:
    named = set(re.findall(r"\b[a-z]+_[a-z_]+\b", remedy)) - {
        "gpu_memory_utilization",
        "nominal_gb",
    }
    assert named <= SETTINGS.keys()
    for method in re.findall(r"\b(full|lora|qlora)\b", remedy.partition(":")[0]):
        assert method in (
            *RECIPE_SETTINGS["method"].choices,
            *RECIPE_SETTINGS["checkpointing"].choices,
        )
    for key, value in re.findall(r"\bset (\w+) to (\w+)", remedy):
        assert value in SETTINGS[key].values or SETTINGS[key].kind == "flag"


@pytest.mark.parametrize(
    ("typed", "word"),
    [
        *[("DPO", "dpo"), ("use_dora", "dora"), ("paged-adamw-8bit", "paged_adamw_8bit")],
        *[("MacBook Air", "macbook"), ("Apple", "apple"), ("TPU v5", "tpu")],
        ("GPTQ-4bit", "gptq"),
    ],
)
def test_a_word_is_known_as_people_write_it(typed: str, word: str) -> None:
    assert instead_of(typed) == INSTEAD[word]


@pytest.mark.parametrize("word", ["abc", "", 3, None, ["dpo"]])
def test_another_word_is_not(word: object) -> None:
    assert instead_of(word) == ""


def test_an_unknown_gpu_keeps_its_own_answer() -> None:
    with pytest.raises(PlanError) as caught:
        find("Voodoo 2")
    assert refused(gpu="Voodoo 2").remedy == caught.value.remedy
    assert "nominal_gb" in caught.value.remedy

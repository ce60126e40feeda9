"""The answer in words: what it holds, takes and costs, and what else it could be."""

from __future__ import annotations

import json
import re
from functools import cache

import pytest

from unfrozen.answer.text import WIDTH
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan import SURE
from unfrozen.project.best import OnePlan, Work, find
from unfrozen.project.questions import question
from unfrozen.project.text import answer_data, answer_text, facts, remarks
from unfrozen.training_data import Data

LABELS = ("batch", "GPU memory", "time", "padded", "cost", "host memory", "disk", "longest row")


@cache
def answer(gpu: str = "H100", gpus: int = 8, name: str = "Qwen/Qwen2.5-7B") -> OnePlan:
    data = Data.of([100] * 900 + [900] * 100, 30, "as counted")
    given = {"model": CATALOGUE[name].config, "gpu": gpu}
    names = (name, "my data.jsonl")
    return Work(find(question(given, gpus, data, names=names))).finish()


def test_a_terminal_reads_one_plan_its_command_and_the_rest_below() -> None:
    text = answer_text(answer())
    assert text.count("Plan: ") == 1
    assert "1,000 rows × 30 epochs, 5.40M tokens (as counted)" in text
    command = text.index("Qwen/Qwen2.5-7B")
    assert command < text.index("LoRA, 1 × H100 SXM")
    before = text.partition("With ")[0]
    assert max(map(len, before.splitlines())) <= WIDTH


def test_every_fact_has_its_label() -> None:
    first = answer().first
    assert first
    found = dict(facts(first))
    assert set(LABELS) < found.keys()
    assert "GPU-hour" in found["cost"]
    assert "the median of $3.95 to $12.29" in found["cost"]
    assert first.plan.chance
    assert first.plan.chance > 0.99
    assert first.chance
    assert SURE <= first.chance < first.plan.chance, "no more than runs of its kind support"
    assert f"fits with a probability of at least {first.chance:.0%}" in found["GPU memory"]
    assert all(found.values())
    unpriced = answer("RTX 4090", 1)
    assert "fewer than 3 providers" in dict(facts(unpriced.first or first))["cost"]
    for one in (answer(), unpriced):
        assert "; --price gives your own" in " ".join(answer_text(one).split())
    assert not re.search(r"time +cost$", answer_text(unpriced), re.MULTILINE)


def test_an_evaluation_that_does_not_fit_is_told_with_its_option() -> None:
    first = answer("A100-40GB", 8, "meta-llama/Llama-3.1-8B").first
    assert first
    if first.framework in ("accelerate", "deepspeed"):
        assert "transformers' own 8" in dict(facts(first))["evaluation"]


def test_the_cheapest_is_marked_once() -> None:
    notes = [note for _, note in remarks(answer())]
    assert sum("the cheapest" in note for note in notes) == 1
    ranks = [one.rank for one, _ in remarks(answer())]
    assert ranks == sorted(ranks)


def test_data_has_the_plan_as_it_can_be_planned_again() -> None:
    found = json.loads(json.dumps(answer_data(answer())))
    first = answer().first
    assert first
    assert found["plan"]["chance"] >= SURE
    assert found["plan"]["device_gib"] == pytest.approx(first.plan.device_bytes / 2**30)
    assert found["plan"]["cluster"]["gpus"] == 8
    assert {one["recipe"]["method"] for one in found["adapters"]} == {"lora", "qlora"}
    assert found["plan"]["seconds"] > 0


def test_what_fits_nowhere_says_so() -> None:
    nothing = answer("L4", 1, "meta-llama/Llama-3.1-70B")
    assert nothing.first is None
    text = answer_text(nothing)
    assert "No full fine-tuning fits 1 × L4" in text
    assert "--solve gpus" in text
    assert answer_data(nothing)["plan"] is None


def test_where_adapters_alone_fit_their_command_is_told() -> None:
    found = answer("L4", 1, "Qwen/Qwen3-14B")
    assert found.first is None
    assert found.adapters
    text = answer_text(found)
    assert "QLoRA fits 1 × L4" in text
    assert text.endswith(found.adapters[0].command)

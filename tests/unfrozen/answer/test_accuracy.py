"""Errors, classes and words of rows made for the test; tests/measurements judges the real ones."""

from dataclasses import replace
from typing import Any

import pytest

from unfrozen.answer.accuracy import MeasuredStep, judge, median_error, setting, summarize
from unfrozen.job import Job
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan import plan
from unfrozen.units import GIB

LLAMA = CATALOGUE["meta-llama/Llama-3.2-1B"].config


def published(counter: str = "allocated", **given: Any) -> MeasuredStep:
    """A published row whose peak is what the plan says of its counter."""
    job = {
        "model": LLAMA,
        "recipe": {"method": "full"} | given.pop("recipe", {}),
        "cluster": {"gpus": 1} | given.pop("cluster", {}),
    }
    found = plan(job)
    peak = {"allocated": found.allocated_bytes, "device": found.device_bytes}[counter]
    facts = {"id": "x", "name": "x", "quality": "A", "source": "s", "framework": "f"} | given
    return MeasuredStep.published(
        facts | {"job": job, "counter": counter, "measured_peak_gib": peak / GIB}
    )


@pytest.mark.parametrize("counter", ["allocated", "device"])
def test_a_plan_is_compared_with_the_counter_that_was_measured(counter: str) -> None:
    assert judge(published(counter)).error == pytest.approx(0, abs=1e-12)


def test_the_error_is_signed_and_relative_to_the_measurement() -> None:
    row = published()
    assert judge(replace(row, measured_bytes=2 * row.measured_bytes)).error == pytest.approx(-0.5)
    assert judge(replace(row, measured_bytes=row.measured_bytes / 2)).error == pytest.approx(1)


def test_classes_follow_from_the_job() -> None:
    sharded = {"gpus": 8, "sharding": "zero3"}
    assert published().group == "full"
    assert published(cluster=sharded).group == "sharded"
    assert published(cluster=sharded, recipe={"method": "lora"}).group == "adapters"


def test_recalled_figures_are_shown_and_not_counted() -> None:
    good, bad = judge(published()), judge(replace(published(quality="C"), measured_bytes=1.0))
    assert bad.unjudged
    (summary,) = summarize([good, bad])
    assert (summary.rows, summary.judged) == (2, 1)
    assert abs(summary.worst) < 1e-12
    assert median_error([good, bad], ["full"]) < 1e-12


def test_a_class_without_a_row_that_counts_has_no_summary() -> None:
    assert summarize([judge(published(quality="C"))]) == []


def test_traced_dropout_under_fused_attention_does_not_count() -> None:
    recipe = {"dropout": 0.1, "attention": "sdpa"}
    given = {"id": "t", "job": {"model": LLAMA, "recipe": recipe}, "peak_bytes": 1, "params": 1}
    assert "CPU" in judge(MeasuredStep.traced(given, "traced", "s")).unjudged
    recipe["attention"] = "eager"
    assert not judge(MeasuredStep.traced(given, "traced", "s")).unjudged


def test_a_setting_names_what_differs_from_the_plainest_step() -> None:
    plain = Job.read({"model": LLAMA, "recipe": {"micro_batch": 2, "seq_len": 4096}})
    assert setting(plain) == "2 × 4,096 tokens, AdamW in bf16 with an fp32 master copy"
    special = Job.read(
        {
            "model": LLAMA,
            "recipe": {"moments": "int8", "checkpointing": "full", "loss": "chunked"},
            "cluster": {"gpus": 8, "sharding": "zero3"},
        }
    )
    words = setting(special)
    for part in ("8-bit moments", "full recomputation", "loss in chunks", "8 GPUs", "ZeRO-3"):
        assert part in words

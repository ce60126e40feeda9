"""Errors, classes and words of rows made for the test, and what is said of those that came later;
tests/measurements judges the real ones."""

from dataclasses import replace
from typing import Any

import pytest

from unfrozen.answer.accuracy import (
    FOUND,
    LATER,
    MeasuredRun,
    by_kind,
    compare,
    merge_settings,
    setting,
    spread,
    worst_error,
)
from unfrozen.errors import PlanError
from unfrozen.job import Job
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan import plan
from unfrozen.plan.compute import estimate
from unfrozen.units import GIB

LLAMA = CATALOGUE["meta-llama/Llama-3.2-1B"].config
JOB = {"model": LLAMA, "recipe": {"seq_len": 1024}, "cluster": {"gpus": 2}, "gpu": "H100"}
FACTS = {"kind": "a kind", "quality": "A", "source": "owner/name README", "quote": "as it says"}


def peak(name: str = "x", job: Any = JOB, **more: Any) -> dict[str, Any]:
    """A peak that is what the plan says of the plain job."""
    measured = plan(JOB).reserved_bytes / GIB
    return (
        {"id": name, "job": job, "measured_peak_gib": measured, "counter": "reserved"}
        | FACTS
        | more
    )


def speed(name: str = "x", job: Any = JOB, **more: Any) -> dict[str, Any]:
    """A speed that is twice what the estimate says of the plain job."""
    measured = estimate(Job.read(JOB), 1e9).tokens_per_second
    row = {"id": name, "job": job, "measured_tokens_per_second_per_gpu": measured}
    return row | FACTS | more


def row(given: dict[str, Any], *said: dict[str, Any], collection: str = LATER) -> MeasuredRun:
    """A row of a collection."""
    return MeasuredRun.read(given, collection, said)


def published(counter: str = "allocated", **given: Any) -> MeasuredRun:
    """A published row whose peak is what the plan says of its counter."""
    job = {
        "model": LLAMA,
        "recipe": {"method": "full"} | given.pop("recipe", {}),
        "cluster": {"gpus": 1} | given.pop("cluster", {}),
    }
    found = plan(job)
    peak = {"allocated": found.allocated_bytes, "device": found.device_bytes}[counter]
    facts = {"id": "x", "name": "x", "quality": "A", "source": "s", "framework": "f"} | given
    return MeasuredRun.read(
        facts | {"job": job, "counter": counter, "measured_peak_gib": peak / GIB}
    )


@pytest.mark.parametrize("counter", ["allocated", "device"])
def test_a_plan_is_compared_with_the_counter_that_was_measured(counter: str) -> None:
    assert compare(published(counter)).error == pytest.approx(0, abs=1e-12)


def test_the_error_is_signed_and_relative_to_the_measurement() -> None:
    row = published()
    assert compare(replace(row, measured=2 * row.measured)).error == pytest.approx(-0.5)
    assert compare(replace(row, measured=row.measured / 2)).error == pytest.approx(1)


def test_classes_follow_from_the_job() -> None:
    sharded = {"gpus": 8, "sharding": "zero3"}
    assert published().group == "full"
    assert published(cluster=sharded).group == "sharded"
    assert published(cluster=sharded, recipe={"method": "lora"}).group == "adapters"


def test_recalled_figures_are_shown_and_not_counted() -> None:
    good, bad = compare(published()), compare(replace(published(quality="C"), measured=1.0))
    assert bad.unjudged
    assert spread([good, bad]).runs == 1
    assert abs(worst_error([good, bad])) < 1e-12


def test_traced_dropout_under_fused_attention_does_not_count() -> None:
    recipe = {"dropout": 0.1, "attention": "sdpa"}
    given = {"id": "t", "job": {"model": LLAMA, "recipe": recipe}, "peak_bytes": 1}
    given |= {"counter": "allocated", "quality": "traced", "source": "s"}
    assert "CPU" in compare(MeasuredRun.read(given, "traced")).unjudged
    recipe["attention"] = "eager"
    assert not compare(MeasuredRun.read(given, "traced")).unjudged


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


def test_a_peak_is_compared_with_its_counter_and_a_speed_by_the_gpu() -> None:
    assert compare(row(peak())).error == pytest.approx(0, abs=1e-12)
    assert compare(row(speed())).error == pytest.approx(-0.5)


def test_one_run_may_tell_its_peak_and_its_speed() -> None:
    assert row(peak()).key == "memory x"
    assert row(speed()).key == "speed x"


def test_what_is_reported_of_rows_is_found_by_pattern_and_by_what_was_measured() -> None:
    longer = {"rows": ["x*"], "of": "memory", "job": {"recipe": {"seq_len": 4096}}}
    other = {"rows": ["y"], "job": {"recipe": {"seq_len": 8192}}}
    assert row(peak(), longer, other).documented == {"recipe": {"seq_len": 4096}}
    assert row(speed(), longer, other).documented == {}
    assert compare(row(peak(), longer)).error > 0.1
    assert compare(replace(row(peak(), longer), documented={})).error == pytest.approx(0, abs=1e-12)


def test_a_row_may_carry_what_is_reported_of_it() -> None:
    own = peak(documented={"job": {"recipe": {"seq_len": 2048}}, "unsupported": "a held gpu"})
    read = row(own, {"rows": ["*"], "unsupported": "a strange kernel"}, collection=FOUND)
    assert read.documented == {"recipe": {"seq_len": 2048}}
    assert read.unsupported == "a held gpu; a strange kernel"
    assert read.group == FOUND


def test_a_job_that_cannot_be_planned_says_which_key_is_in_the_way() -> None:
    job = JOB | {"cluster": {"gpus": 2, "moon_parallel": 2}}
    with pytest.raises(PlanError, match="moon_parallel"):
        compare(row(peak(job=job)))


def test_parts_of_a_job_are_joined_and_everything_else_replaced() -> None:
    new = merge_settings(JOB, {"recipe": {"micro_batch": 2}, "gpu": "A100"})
    assert new["recipe"] == {"seq_len": 1024, "micro_batch": 2}
    assert (new["gpu"], new["model"]) == ("A100", LLAMA)


def test_kinds_come_with_the_largest_first_and_keep_the_sign_of_the_worst() -> None:
    rows = [peak("d", kind="alone"), peak("a"), speed("b")]
    found = by_kind(compare(row(given)) for given in rows)
    assert {kind: len(runs) for kind, runs in found.items()} == {"a kind": 2, "alone": 1}
    assert list(found) == ["a kind", "alone"]
    assert worst_error(found["a kind"]) == pytest.approx(-0.5)
    assert spread(found["a kind"]).runs == 2

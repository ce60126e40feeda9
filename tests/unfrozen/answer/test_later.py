"""Rows that came later, made for the test: what is said of them, refused, and how they group."""

from typing import Any

import pytest

from unfrozen.answer.later import (
    FOUND,
    LATER,
    LaterRun,
    compare,
    group_comparisons,
    merge_settings,
    read_runs,
)
from unfrozen.job import Job
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan import plan
from unfrozen.plan.compute import estimate
from unfrozen.plan.record import KINDS
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


def row(given: dict[str, Any], *said: dict[str, Any], collection: str = LATER) -> LaterRun:
    """The one row of a file of one."""
    (only,) = read_runs([given], said, collection)
    return only


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
    assert (compare(row(peak(), longer)).error or 0) > 0.1
    assert compare(row(peak(), longer), overlay=False).error == pytest.approx(0, abs=1e-12)


def test_a_row_may_carry_what_is_reported_of_it() -> None:
    own = peak(documented={"job": {"recipe": {"seq_len": 2048}}, "unsupported": "a held gpu"})
    read = row(own, {"rows": ["*"], "unsupported": "a strange kernel"}, collection=FOUND)
    assert read.documented == {"recipe": {"seq_len": 2048}}
    assert read.unsupported == "a held gpu; a strange kernel"
    assert read.collection == FOUND


def test_a_job_that_cannot_be_planned_says_which_key_is_in_the_way() -> None:
    job = JOB | {"cluster": {"gpus": 2, "moon_parallel": 2}}
    found = compare(row(peak(job=job)))
    assert found.error is None
    assert found.refused == "cluster.moon_parallel"
    assert found.kind == ""


def test_parts_of_a_job_are_joined_and_everything_else_replaced() -> None:
    new = merge_settings(JOB, {"recipe": {"micro_batch": 2}, "gpu": "A100"})
    assert new["recipe"] == {"seq_len": 1024, "micro_batch": 2}
    assert (new["gpu"], new["model"]) == ("A100", LLAMA)


def test_groups_count_what_is_refused_and_keep_the_sign_of_the_worst() -> None:
    refused = JOB | {"cluster": {"moon_parallel": 2}}
    rows = [peak("a"), speed("b"), peak("c", refused), peak("d", kind="alone")]
    several, alone = group_comparisons(compare(row(given)) for given in rows)
    assert (several.name, several.rows, several.refused) == (
        "a kind",
        3,
        ("cluster.moon_parallel",),
    )
    assert several.worst == pytest.approx(-0.5)
    assert several.spread is not None
    assert several.spread.runs == 2
    assert alone.rows == 1


def test_groups_by_the_kind_of_the_job_come_in_the_order_of_the_kinds() -> None:
    sixteen = JOB | {"cluster": {"gpus": 16}}
    looks = [compare(row(given)) for given in (peak("a", sixteen), peak("b"))]
    assert [group.name for group in group_comparisons(looks, KINDS)] == [
        KINDS["machine"],
        KINDS["machines"],
    ]


def test_a_group_of_refused_rows_has_no_spread() -> None:
    (only,) = group_comparisons([compare(row(peak(job={"cluster": {"gpus": 2}, "model": {}})))])
    assert only.spread is None
    assert only.worst == 0

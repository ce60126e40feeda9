"""How right the plan is, class by class: the accuracy page held to its bars."""

import pytest

from site_builder.measurements import compare_runs, read_runs
from unfrozen.answer.accuracy import COLLECTIONS, GROUPS, TRACED, compare, spread, worst_error
from unfrozen.plan import plan_job

MEDIANS = {
    "full": 0.03,
    "sharded": 0.07,
    "adapters": 0.05,
    "exam": 0.05,
    "reference": 0.01,
    "traced": 0.01,
}
WORST = {"full": 0.12, "reference": 0.04, "traced": 0.04}


@pytest.mark.parametrize("group", MEDIANS)
def test_half_of_a_class_lies_within_its_bar(group: str) -> None:
    assert spread(compare_runs(group)).half <= MEDIANS[group]


@pytest.mark.parametrize("group", WORST)
def test_the_worst_step_of_a_class_lies_within_its_bar(group: str) -> None:
    assert abs(worst_error(compare_runs(group))) <= WORST[group]


def test_every_class_has_steps_and_every_step_a_class() -> None:
    assert {row.group for row in read_runs()} == {*GROUPS, *COLLECTIONS}


def test_only_named_reasons_keep_a_step_from_counting() -> None:
    out = {verdict.row.id: verdict for verdict in compare_runs(*GROUPS) if verdict.unjudged}
    for row_id, verdict in out.items():
        recipe = verdict.job.recipe
        on_a_cpu_only = bool(recipe.dropout) and recipe.attention == "sdpa"
        assert verdict.row.quality == "C" or on_a_cpu_only, row_id
    assert len(out) <= 0.05 * len(compare_runs(*GROUPS))


def test_components_of_every_instant_add_up_to_what_is_compared() -> None:
    for found in compare_runs(*GROUPS):
        plan = plan_job(found.job)
        totals = {name: sum(parts.values()) for name, parts in plan.instants.items()}
        assert min(min(parts.values()) for parts in plan.instants.values()) >= 0, found.row.id
        peaks = (plan.allocated_bytes, plan.reserved_bytes, plan.device_bytes)
        assert peaks[0] == max(totals.values()) == totals[plan.peak_instant], found.row.id
        assert list(peaks) == sorted(peaks), found.row.id
        assert found.predicted in peaks, found.row.id


def test_parameters_are_counted_exactly() -> None:
    traced = compare_runs(*TRACED)
    counted = {one.row.id: one.job.model.num_parameters for one in traced}
    assert counted == {one.row.id: one.row.parameters for one in traced} != {}


def test_a_row_is_judged_the_same_twice() -> None:
    for found in compare_runs(*GROUPS)[:30]:
        again = compare(found.row)
        assert (again.predicted, again.error) == (found.predicted, found.error)

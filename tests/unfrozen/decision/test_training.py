"""How each method would train: a state of the planner that fits, and no better one beside it."""

import pytest

from conftest import matrix
from unfrozen.decision.options import EIGHT_BIT, EXACT, METHODS, ROUNDED, best_way, options
from unfrozen.decision.task import GPU_NAMES, MODELS, read_task
from unfrozen.plan.compute import estimate
from unfrozen.planner import glance
from unfrozen.planner.state import read_job

SEVENTY = "meta-llama/Llama-3.1-70B"
EIGHT = "meta-llama/Llama-3.1-8B"


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("gpus", [1, 8])
def test_a_way_is_what_the_planner_says_of_its_state(method: str, gpus: int) -> None:
    way = best_way(method, EIGHT, "H100 SXM", gpus, 64)
    job = read_job(way.state)
    assert job == way.plan.job
    assert job.recipe.method == method
    found = estimate(job, 10**7)
    assert way.seconds_a_token * 10**7 == pytest.approx(found.seconds)
    assert way.kilowatts * found.seconds / 3600 == pytest.approx(found.energy_kwh)
    shown = glance(way.state)
    assert shown["problem"] is None
    assert shown["bar"]["total"]["bytes"] == way.plan.device_bytes  # type: ignore[index]


def test_full_fine_tuning_climbs_down_only_where_exact_numbers_do_not_fit() -> None:
    rungs = [best_way("full", EIGHT, gpu, 1, 0).rung for gpu in ("H200", "H100 SXM", "RTX A6000")]
    assert rungs == [EXACT, ROUNDED, EIGHT_BIT]
    assert best_way("full", SEVENTY, "H100 SXM", 1, 0).fits is False


def test_what_does_not_fit_is_reported_by_the_way_that_takes_least() -> None:
    way = best_way("full", SEVENTY, "H100 SXM", 1, 0)
    assert (way.rung, way.plan.job.recipe.moments) == (EIGHT_BIT, "int8")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("gpu", matrix(GPU_NAMES, "RTX 4090"))
def test_no_other_way_on_the_same_rung_is_faster_and_fits_as_well(method: str, gpu: str) -> None:
    for model in MODELS:
        way = best_way(method, model, gpu, 4, 16)
        other = "none" if way.recomputes else "full"
        again = read_job(way.state | {"checkpointing": other})
        twin = glance(way.state | {"checkpointing": other})
        if way.fits and twin["verdict"]["kind"] == "yes":  # type: ignore[index]
            assert estimate(again, 1e6).seconds >= 0.98 * estimate(way.plan.job, 1e6).seconds


def test_adapters_are_sharded_only_where_it_is_no_slower_or_must_be() -> None:
    assert not best_way("lora", "meta-llama/Llama-3.2-3B", "RTX 4090", 16, 16).sharded
    assert best_way("lora", SEVENTY, "H100 SXM", 8, 16).sharded
    assert best_way("full", EIGHT, "H100 SXM", 8, 0).sharded


def test_numbers_of_an_option_are_of_all_tasks_on_all_gpus() -> None:
    one, ten = (options(read_task({"tasks": tasks, "price": "2"})) for tasks in ("1", "10"))
    for single, several in zip(one, ten, strict=True):
        assert several.hours == pytest.approx(10 * single.hours)
        assert several.kwh == pytest.approx(10 * single.kwh)
        assert several.cost == pytest.approx(2 * several.gpu_hours)
    prompt, full, lora, qlora = one
    assert prompt.way is None
    assert full.trained > lora.trained == qlora.trained
    assert full.gpu_hours > lora.gpu_hours
    assert qlora.device_bytes < lora.device_bytes < full.device_bytes

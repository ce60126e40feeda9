"""Two steps through time: the same peak as the plan, and a first step without moments."""

from typing import Any

import pytest

from unfrozen.errors import PlanError
from unfrozen.job import Job
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan import plan_job
from unfrozen.plan.step_time import step_time
from unfrozen.plan.timeline import PHASES, Turn, timeline

MODELS = ("meta-llama/Llama-3.2-1B", "openai-community/gpt2", "google/gemma-2-2b")


def job(model: str = MODELS[0], **recipe: object) -> Job:
    """A job on one GPU."""
    return Job.read({"model": CATALOGUE[model].config, "recipe": recipe, "gpu": "RTX 4090"})


def of_step(turns: list[Turn], number: int) -> list[Turn]:
    """The turns of one step."""
    return [turn for turn in turns if turn.step == number]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    "recipe", [{}, {"micro_batch": 3}, {"checkpointing": "full"}, {"params": "fp32"}]
)
def test_the_second_step_peaks_where_and_as_high_as_the_plan_says(
    model: str, recipe: dict[str, Any]
) -> None:
    asked = job(model, **recipe)
    second = of_step(timeline(asked), 2)
    assert max(turn.total for turn in second) == plan_job(asked).allocated_bytes


def test_moments_appear_in_the_first_update_and_stay() -> None:
    turns = timeline(job())
    for turn in turns:
        before = turn.step == 1 and turn.phase != "update"
        assert ("moments" in turn.held) != before, turn


def test_the_first_step_takes_as_much_less_as_moments_take() -> None:
    turns = timeline(job())
    first, second = (max(t.total for t in of_step(turns, n) if t.phase != "update") for n in (1, 2))
    assert second - first == turns[-1].held["moments"]


def test_time_never_runs_back_and_ends_after_two_estimated_steps() -> None:
    asked = job()
    turns = timeline(asked)
    seconds = [turn.seconds for turn in turns]
    assert seconds == sorted(seconds)
    assert seconds[-1] == pytest.approx(2 * step_time(asked).seconds)


def test_phases_come_in_order_and_gradients_are_gone_at_the_end() -> None:
    for number in (1, 2):
        turns = of_step(timeline(job()), number)
        order = [PHASES.index(turn.phase) for turn in turns]
        assert order == sorted(order)
        assert set(order) == {0, 1, 2}
        assert "grads" not in turns[0].held
        assert "grads" not in turns[-1].held
        assert "activations" not in turns[-1].held


@pytest.mark.parametrize(
    ("recipe", "cluster"),
    [
        ({"grad_accum": 2}, {}),
        ({"method": "lora"}, {}),
        ({}, {"gpus": 2, "sharding": "zero3"}),
    ],
)
def test_what_is_another_story_is_refused(recipe: dict[str, Any], cluster: dict[str, Any]) -> None:
    given = {"model": CATALOGUE[MODELS[0]].config, "recipe": recipe, "cluster": cluster}
    with pytest.raises(PlanError):
        timeline(Job.read(given))

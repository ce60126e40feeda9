"""What numpy holds in a step is what the memory model says, at every instant."""

import pytest

from lab_demo import loaded
from unfrozen.lab.choices import Choices
from unfrozen.lab.memory import MemoryMeter, StepTokens, find_heaviest_step, predict_instants
from unfrozen.lab.step import Trainer
from unfrozen.memory.instants import Instants

pytestmark = pytest.mark.slow

MOST_OFF = 0.03


def second_step(choices: Choices) -> tuple[Instants, Instants]:
    """What a step held, and what was predicted: the second one, as moments appear in the first."""
    trainer = Trainer(loaded(), choices)
    for number in (1, 2):
        meter = MemoryMeter(trainer.states)
        with meter.step():
            list(trainer.step(number, meter))
    rows = trainer.rows_of(2)
    shape = StepTokens(sum(len(row.ids) for row in rows), sum(row.trained_tokens for row in rows))
    return meter.instants, predict_instants(loaded().config, shape)


@pytest.mark.parametrize("rows_per_step", [4, 16, 32])
@pytest.mark.parametrize("penalty", [{}, {"l2sp": 0.01}])
def test_every_instant_of_a_step_is_predicted(
    rows_per_step: int, penalty: dict[str, float]
) -> None:
    found, said = second_step(Choices.read({"rows_per_step": rows_per_step} | penalty))
    assert found.keys() == said.keys()
    for instant, components in said.items():
        total = sum(found[instant].values())
        assert total == pytest.approx(sum(components.values()), rel=MOST_OFF), instant


def test_components_are_told_apart_by_the_names_of_the_prediction() -> None:
    found, said = second_step(Choices())
    largest = max(sum(components.values()) for components in said.values())
    for instant, components in said.items():
        for name in components.keys() | found[instant].keys():
            off = found[instant].get(name, 0) - components.get(name, 0)
            assert abs(off) <= 0.02 * largest, f"{instant} {name}: off by {off:,}"


def test_the_heaviest_step_is_not_the_first_which_has_no_moments() -> None:
    assert find_heaviest_step(loaded().config, [(400, 100), (300, 90), (300, 80)]) == (
        2,
        StepTokens(300, 90),
    )
    assert find_heaviest_step(loaded().config, [(400, 100)]) == (1, StepTokens(400, 100))

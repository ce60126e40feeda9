"""ZeRO: the formulas of the paper, and the weights gathered on top."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unfrozen.job.cluster import SHARDINGS, Cluster
from unfrozen.job.recipe import Recipe
from unfrozen.memory.classic import states_bytes
from unfrozen.memory.instants import Step
from unfrozen.memory.sharding import per_gpu_bytes
from unfrozen.model.catalogue import CATALOGUE

PSI = 7.5e9  # the example of the paper: 120 GB unsharded, on 64 cards 31.4, 16.6 and 1.9 GB


def test_the_papers_example_on_sixty_four_cards() -> None:
    def held(name: str, cards: int) -> float:
        return sum(per_gpu_bytes(states_bytes(PSI), Cluster(gpus=cards, sharding=name)).values())

    assert {name: round(held(name, 64) / 1e9, 1) for name in SHARDINGS} == {
        "none": 120.0,
        "zero1": 31.4,
        "zero2": 16.6,
        "zero3": 1.9,
    }
    assert all(held(name, 1) == 16 * PSI for name in SHARDINGS)


def test_what_stays_whole_does_not_shrink_with_the_number_of_cards() -> None:
    for cards, expected in ((1, 4001), (8, 2001 + 250), (1000, 2001 + 2)):
        assert (
            per_gpu_bytes({"moments": 4001}, Cluster(cards, "zero3"), 2001)["moments"] == expected
        )
    assert per_gpu_bytes({"moments": 4000}, Cluster(8, "zero2"), 2001)["moments"] == 500


def test_adafactors_sums_of_rows_and_columns_are_whole_on_every_card() -> None:
    model = CATALOGUE["meta-llama/Llama-2-7b-hf"].model
    recipe = Recipe.read({"optimizer": "adafactor"})
    one, many = (Step(model, recipe, Cluster.of_runner(n)).states["moments"] for n in (1, 512))
    assert 0.85 * one < many < one  # only the moments of norms are shared out
    adam = [Step(model, Recipe(), Cluster.of_runner(n)).states["moments"] for n in (1, 512)]
    assert adam[1] == pytest.approx(adam[0] / 512, rel=1e-4)


@given(st.integers(1, 2000), st.sampled_from(SHARDINGS))
def test_more_cards_never_need_more_memory_each(gpus: int, sharding: str) -> None:
    states = {"params": 1001, "grads": 1003, "master": 2001, "moments": 4001}
    one, more = (per_gpu_bytes(states, Cluster(n, sharding)) for n in (gpus, gpus + 1))
    assert all(more[name] <= one[name] for name in states)

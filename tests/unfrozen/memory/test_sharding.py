"""ZeRO: the formulas of the paper, and the weights gathered on top."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from unfrozen.cluster import SHARDINGS, Cluster
from unfrozen.memory.sharding import per_card, zero_curve

PSI = 7.5e9  # the example of the paper: 120 GB unsharded, on 64 cards 31.4, 16.6 and 1.9 GB


def test_the_papers_example_on_sixty_four_cards() -> None:
    curve = zero_curve(PSI, [1, 64])
    assert {name: round(values[1] / 1e9, 1) for name, values in curve.items()} == {
        "none": 120.0,
        "zero1": 31.4,
        "zero2": 16.6,
        "zero3": 1.9,
    }
    assert all(values[0] == 16 * PSI for values in curve.values())


@given(st.integers(1, 2000), st.sampled_from(SHARDINGS))
def test_more_cards_never_need_more_memory_each(gpus: int, sharding: str) -> None:
    states = {"params": 1001, "grads": 1003, "master": 2001, "moments": 4001}
    one, more = (per_card(states, Cluster(n, sharding)) for n in (gpus, gpus + 1))
    assert all(more[name] <= one[name] for name in states)

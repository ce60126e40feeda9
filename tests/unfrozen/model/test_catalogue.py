"""The catalogue by name: as people write it, and near misses."""

import pytest

from unfrozen.errors import PlanError
from unfrozen.model.catalogue import CATALOGUE, find


def test_every_model_is_found_by_its_hub_id_and_without_its_owner_in_any_case() -> None:
    for hub_id, published in CATALOGUE.items():
        for name in (hub_id, hub_id.upper(), hub_id.partition("/")[2]):
            assert find(name) is published


@pytest.mark.parametrize(
    ("name", "near"),
    [("Lama-3.1-8B", "meta-llama/Llama-3.1-8B"), ("mistralai/Mixtral-8x22B", "Mixtral-8x7B")],
)
def test_a_near_miss_is_answered_with_what_is_near(name: str, near: str) -> None:
    with pytest.raises(PlanError, match="did you mean") as caught:
        find(name)
    assert near in caught.value.remedy


def test_a_name_like_no_other_is_answered_with_all_there_are() -> None:
    with pytest.raises(PlanError) as caught:
        find("~")
    assert all(hub_id in caught.value.remedy for hub_id in CATALOGUE)

"""The catalogue by name: as people write it, and near misses."""

import pytest

from unfrozen.data_files import read_json
from unfrozen.errors import PlanError
from unfrozen.model import SUPPORTED
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


def test_every_entry_has_a_hub_id_a_config_of_plain_values_and_a_count() -> None:
    for hub_id, entry in read_json("model/published.json")["models"].items():
        assert hub_id.count("/") == 1
        assert entry.keys() == {"parameters", "config"}
        assert type(entry["parameters"]) is int
        assert entry["config"]["model_type"] in SUPPORTED


def test_every_default_is_of_a_model_type_that_has_a_reader() -> None:
    defaults = read_json("model/defaults.json")["defaults"]
    assert defaults.keys() <= set(SUPPORTED)
    for values in defaults.values():
        assert all(isinstance(value, (int, float, str, list)) for value in values.values())

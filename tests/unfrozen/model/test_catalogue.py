"""The catalogue by name: as people write it, and near misses."""

import pytest

from unfrozen.data_files import read_json
from unfrozen.errors import PlanError
from unfrozen.model import SUPPORTED
from unfrozen.model.catalogue import CATALOGUE, find, loaded_name, words_of
from unfrozen.plan import plan


def test_every_model_is_found_by_its_hub_id_and_without_its_owner_in_any_case() -> None:
    for hub_id, published in CATALOGUE.items():
        for name in (hub_id, hub_id.upper(), hub_id.partition("/")[2]):
            assert find(name) is published


@pytest.mark.parametrize(
    ("name", "hub_id"),
    [
        ("Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-8B"),
        ("meta-llama/Meta-Llama-3-8B", "meta-llama/Llama-3.1-8B"),
        ("llama3.1:8b", "meta-llama/Llama-3.1-8B"),
        ("Llama-3.1-405B-Instruct", "meta-llama/Llama-3.1-405B"),
        ("Qwen2.5-7B-Instruct", "Qwen/Qwen2.5-7B"),
        ("Qwen2.5-VL-7B", "Qwen/Qwen2.5-VL-7B-Instruct"),
        ("Qwen3.5-9B-Base", "Qwen/Qwen3.5-9B"),
        ("gemma-3-12b-it", "google/gemma-3-12b-pt"),
        ("Mixtral-8x7B-Instruct", "mistralai/Mixtral-8x7B-v0.1"),
        ("Mistral-7B-Instruct-v0.3", "mistralai/Mistral-7B-v0.3"),
    ],
)
def test_a_tuned_version_has_the_size_of_its_base(name: str, hub_id: str) -> None:
    assert find(name).hub_id == CATALOGUE[name].hub_id == hub_id
    assert plan({"model": name}).job.model == CATALOGUE[hub_id].model


@pytest.mark.parametrize(
    ("name", "loaded"),
    [
        ("llama-3.1-8b", "meta-llama/Llama-3.1-8B"),
        ("Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-8B-Instruct"),
        ("Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen2.5-7B-Instruct"),
        ("meta-llama/Meta-Llama-3-8B", "meta-llama/Meta-Llama-3-8B"),
        ("llama3.1:8b", ""),
        ("Llama-3-8B", ""),
        ("Gemma-3-27B", "google/gemma-3-27b-pt"),
        ("Qwen2.5-VL-7B", "Qwen/Qwen2.5-VL-7B-Instruct"),
    ],
)
def test_a_tuned_version_is_loaded_by_its_own_name(name: str, loaded: str) -> None:
    assert loaded_name(name) == loaded


def test_no_two_models_have_the_same_words() -> None:
    assert len({words_of(hub_id) for hub_id in CATALOGUE}) == len(CATALOGUE)


@pytest.mark.parametrize(
    ("name", "near"),
    [("Lama-3.1-8B", "meta-llama/Llama-3.1-8B"), ("mistralai/Mixtral-8x23B", "Mixtral-8x22B")],
)
def test_a_near_miss_is_answered_with_what_is_near(name: str, near: str) -> None:
    with pytest.raises(PlanError, match="did you mean") as caught:
        find(name)
    assert near in caught.value.remedy


def test_a_name_like_no_other_is_answered_with_one_there_is() -> None:
    with pytest.raises(PlanError) as caught:
        find("~")
    assert [hub_id for hub_id in CATALOGUE if hub_id in caught.value.remedy]


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
        assert not [
            value for value in values.values() if not isinstance(value, (int, float, str, list))
        ]

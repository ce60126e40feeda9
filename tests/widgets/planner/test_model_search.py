"""The search for a model takes a name as people write it, and no other model than they mean."""

import pytest

from unfrozen.model.catalogue import CATALOGUE
from widgets.node import Node

MODULE = "planner/model-search"


def found(node: Node, typed: str) -> list[str]:
    """The models of the list that what is typed can mean."""
    asked = node.call(MODULE, "parseQuery", typed)
    return [name for name in CATALOGUE if node.call(MODULE, "matchesQuery", name, asked)]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("llama3.1 8b", "meta-llama/Llama-3.1-8B"),
        ("Llama 3.1-8B", "meta-llama/Llama-3.1-8B"),
        ("llama-3.1-8b-instruct", "meta-llama/Llama-3.1-8B"),
        ("meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-8B"),
        ("llama 2 7b chat", "meta-llama/Llama-2-7b-hf"),
        ("mistral-7b-instruct-v0.3", "mistralai/Mistral-7B-v0.3"),
        ("gemma-3-1b-it", "google/gemma-3-1b-pt"),
        ("phi4 mini", "microsoft/Phi-4-mini-instruct"),
        ("8x7b", "mistralai/Mixtral-8x7B-v0.1"),
        ("qwen 3 30b", "Qwen/Qwen3-30B-A3B"),
        ("smollm2 135m", "HuggingFaceTB/SmolLM2-135M"),
    ],
)
def test_a_name_is_found_as_people_write_it(node: Node, typed: str, meant: str) -> None:
    assert found(node, typed) == [meant]


@pytest.mark.parametrize("typed", ["Qwen/Qwen3-3B", "Qwen/Qwen3-14B-Base", "no such model", "4.8b"])
def test_what_means_no_model_of_the_list_finds_none(node: Node, typed: str) -> None:
    assert found(node, typed) == []


def test_a_size_is_not_found_inside_another(node: Node) -> None:
    assert not [name for name in found(node, "4b") if "14B" in name]
    assert found(node, "1b") == [name for name in CATALOGUE if "-1B" in name.replace("-1b", "-1B")]


@pytest.mark.slow
def test_every_model_is_found_by_its_own_name_and_letter_by_letter(node: Node) -> None:
    for name in CATALOGUE:
        for end in range(1, len(name) + 1):
            asked = node.call(MODULE, "parseQuery", name[:end])
            assert node.call(MODULE, "matchesQuery", name, asked), name[:end]

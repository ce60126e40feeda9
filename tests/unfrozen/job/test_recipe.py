"""Recipes: defaults that follow from other keys, and refusals that name the key."""

from __future__ import annotations

from typing import Any

import pytest

from unfrozen.errors import PlanError
from unfrozen.job.recipe import Lora, Recipe


def test_an_empty_recipe_is_the_classic_mixed_precision_one() -> None:
    assert Recipe.read({}) == Recipe()
    recipe = Recipe()
    assert (recipe.params, recipe.grads, recipe.master, recipe.moments) == (
        "bf16",
        "bf16",
        "fp32",
        "fp32",
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"params": "fp32"}, ("fp32", "bf16", None, "fp32", "fp32")),
        ({"master": None}, ("bf16", "bf16", None, "bf16", "bf16")),
        ({"params": "fp16"}, ("fp16", "fp16", "fp32", "fp16", "fp32")),
        ({"optimizer": "sgd"}, ("bf16", "bf16", "fp32", "bf16", None)),
        ({"optimizer": "lion", "moments": "int8"}, ("bf16", "bf16", "fp32", "bf16", "int8")),
        ({"optimizer": "lomo"}, ("bf16", "bf16", None, "bf16", None)),
        ({"method": "lora"}, ("bf16", "bf16", None, "bf16", "bf16")),
        ({"method": "lora", "lora": {"dtype": "fp32"}}, ("bf16", "bf16", None, "fp32", "fp32")),
    ],
)
def test_what_is_left_out_follows_from_what_is_given(
    given: dict[str, Any], expected: tuple[object, ...]
) -> None:
    recipe = Recipe.read(given)
    found = (recipe.params, recipe.compute, recipe.master, recipe.grads, recipe.moments)
    assert found == expected


def test_tokens_are_sequences_times_length() -> None:
    assert Recipe.read({"micro_batch": 4, "seq_len": 512}).tokens == 2048


@pytest.mark.parametrize(
    ("given", "key", "says"),
    [
        ([], "recipe", "object"),
        ({"batch": 1}, "recipe.batch", "micro_batch"),
        ({"params": "int4"}, "recipe.params", "fp32, bf16, fp16"),
        ({"params": 16}, "recipe.params", "fp32, bf16, fp16"),
        ({"paged": 0}, "recipe.paged", "false, true"),
        ({"micro_batch": 0}, "recipe.micro_batch", "1 … 65,536"),
        ({"micro_batch": True}, "recipe.micro_batch", "whole number"),
        ({"seq_len": -5}, "recipe.seq_len", "whole number"),
        ({"seq_len": 1e30}, "recipe.seq_len", "whole number"),
        ({"seq_len": float("nan")}, "recipe.seq_len", "whole number"),
        ({"lora": {"rank": 8}}, "recipe.lora", "set method to lora"),
        ({"base": "nf4"}, "recipe.base", "set method to qlora"),
        ({"method": "qlora", "base": None}, "recipe.base", "nf4"),
        ({"method": "lora", "lora": 8}, "recipe.lora", "object"),
        ({"method": "lora", "lora": {"alpha": 8}}, "recipe.lora.alpha", "rank"),
        ({"method": "lora", "lora": {"rank": 0}}, "recipe.lora.rank", "1 … 65,536"),
        ({"method": "lora", "lora": {"dtype": "int8"}}, "recipe.lora.dtype", "fp32"),
        ({"method": "lora", "lora": {"targets": []}}, "recipe.lora.targets", "list"),
        ({"method": "lora", "lora": {"library": "x"}}, "recipe.lora.library", "peft"),
        (
            {"method": "lora", "lora": {"dtype": "fp32"}, "master": "fp32"},
            "recipe.master",
            "own master copy",
        ),
        ({"optimizer_in_backward": True, "grad_accum": 2}, "recipe.grad_accum", "set it to 1"),
        ({"dropout": 1}, "recipe.dropout", "below 1"),
        ({"dropout": "0"}, "recipe.dropout", "below 1"),
        ({"params": "fp32", "master": "fp32"}, "recipe.master", "null"),
        ({"optimizer": "sgd", "moments": "fp32"}, "recipe.moments", "null"),
        ({"moments": None}, "recipe.moments", "choose fp32"),
        ({"params": "bf16", "compute": "fp32"}, "recipe.compute", "bf16"),
    ],
)
def test_a_recipe_that_cannot_be_planned_is_refused_by_name(
    given: Any, key: str, says: str
) -> None:
    with pytest.raises(PlanError) as caught:
        Recipe.read(given)
    assert caught.value.key == key
    assert says in str(caught.value)


def test_keys_may_be_given_with_the_values_that_ask_for_nothing() -> None:
    quiet = {"lora": None, "base": None, "paged": False, "dropout": None, "moments": "fp32"}
    assert Recipe.read(quiet) == Recipe()


def test_a_recipe_reads_back_what_it_writes() -> None:
    for given in ({}, {"method": "qlora", "lora": {"rank": 8, "targets": ["q_proj"]}}):
        recipe = Recipe.read(given)
        assert Recipe.read(recipe.as_json()) == recipe


def test_adapters_sit_beside_every_linear_layer_unless_named() -> None:
    lora = Recipe.read({"method": "qlora"}).lora
    assert lora == Lora(16, "bf16", ("all-linear",), "litgpt")
    assert Recipe.read({"method": "lora", "lora": {"targets": "q_proj"}}).lora == Lora(
        targets=("q_proj",)
    )

"""Recipes: defaults that follow from other keys, and refusals that name the key."""

from __future__ import annotations

from typing import Any

import pytest

from unfrozen.errors import PlanError
from unfrozen.recipe import Recipe


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
        ({"method": "lora"}, "recipe.method", "use full"),
        ({"compute": "fp8", "params": "fp32"}, "recipe.compute", "not planned yet"),
        ({"optimizer": "muon"}, "recipe.optimizer", "use adamw"),
        ({"optimizer_in_backward": True}, "recipe.optimizer_in_backward", "use false"),
        ({"activation_offload": True}, "recipe.activation_offload", "use false"),
        ({"checkpointing": "selective"}, "recipe.checkpointing", "use none, full"),
        ({"loss": "fused_linear"}, "recipe.loss", "use logits_fp32"),
        ({"base": "nf4"}, "recipe.base", "use null"),
        ({"lora": {"rank": 8}}, "recipe.lora", "not planned yet"),
        ({"dropout": 0.1}, "recipe.dropout", "set it to 0"),
        ({"dropout": "0"}, "recipe.dropout", "set it to 0"),
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
    quiet = {"lora": None, "base": None, "paged": False, "dropout": 0.0, "moments": "fp32"}
    assert Recipe.read(quiet) == Recipe()

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
        ({"method": "lora"}, ("bf16", "bf16", None, "bf16", "bf16")),
        ({"method": "lora", "lora": {"dtype": "fp32"}}, ("bf16", "bf16", None, "fp32", "fp32")),
        ({"optimizer": "galore", "master": None}, ("bf16", "bf16", None, "bf16", "bf16")),
        ({"compute": "mxfp8", "moments": "int8"}, ("bf16", "mxfp8", "fp32", "bf16", "int8")),
    ],
)
def test_what_is_left_out_follows_from_what_is_given(
    given: dict[str, Any], expected: tuple[object, ...]
) -> None:
    recipe = Recipe.read(given)
    found = (recipe.params, recipe.compute, recipe.master, recipe.grads, recipe.moments)
    assert found == expected


def test_what_a_method_or_an_optimizer_needs_has_a_default() -> None:
    assert Recipe.read({"optimizer": "galore"}).projection_rank == 128
    assert Recipe.read({"expert_padding": 1}).expert_padding == 1
    assert Recipe().projection_rank is None


@pytest.mark.parametrize(
    ("given", "compiled"),
    [
        ({}, False),
        ({"kernels": "fused"}, True),
        ({"kernels": "fused_block"}, False),
        ({"kernels": "fused", "compiled_loss": False}, False),
        ({"compiled_loss": True}, True),
    ],
)
def test_a_loss_is_compiled_as_its_kernels_are_unless_that_is_reported(
    given: dict[str, Any], compiled: bool
) -> None:
    assert Recipe.read(given).loss_compiled == compiled


def test_tokens_are_sequences_times_length() -> None:
    assert Recipe.read({"micro_batch": 4, "seq_len": 512}).tokens == 2048


@pytest.mark.parametrize(
    ("given", "key", "says"),
    [
        ([], "recipe", "object"),
        ({"batch": 1}, "recipe.batch", "micro_batch"),
        ({"params": "int4"}, "recipe.params", "fp32, bf16, fp16"),
        ({"params": 16}, "recipe.params", "fp32, bf16, fp16"),
        ({"paged": 0}, "recipe.paged", "true or false"),
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
        ({"no_sync": 1}, "recipe.no_sync", "true or false"),
        ({"keeps_outputs": "yes"}, "recipe.keeps_outputs", "true or false"),
        ({"compiled_loss": "no"}, "recipe.compiled_loss", "true, false or null"),
        ({"grad_buckets": 0}, "recipe.grad_buckets", "true, false or null"),
        ({"router_held": None}, "recipe.router_held", "true or false"),
        ({"reduce": "fp8"}, "recipe.reduce", "null, fp32, bf16, fp16"),
        ({"whole_compile": True}, "recipe.whole_compile", "set kernels to fused"),
        ({"checkpoint_every": 0}, "recipe.checkpoint_every", "1 … 10,000"),
        ({"checkpoint_every": 2}, "recipe.checkpoint_every", "checkpointing"),
        ({"expert_padding": 0.5}, "recipe.expert_padding", "from 1"),
        ({"expert_padding": "most"}, "recipe.expert_padding", "fullest"),
        ({"expert_padding": True}, "recipe.expert_padding", "fullest"),
        ({"expert_padding": float("nan")}, "recipe.expert_padding", "fullest"),
        ({"projection_rank": 8}, "recipe.projection_rank", "galore or apollo"),
        ({"optimizer": "galore", "projection_rank": 0}, "recipe.projection_rank", "1 … 65,536"),
        ({"optimizer": "apollo", "method": "lora"}, "recipe.optimizer", "adamw"),
        ({"optimizer": "galore", "moments": None}, "recipe.moments", "choose fp32"),
        ({"lisa_layers": 2}, "recipe.lisa_layers", "plan lora"),
        ({"method": "lisa"}, "recipe.method", "plan lora"),
        ({"optimizer": "lomo", "optimizer_in_backward": 0}, "recipe.optimizer_in_backward", "drop"),
        ({"optimizer": "lomo", "grad_accum": 2}, "recipe.grad_accum", "set it to 1"),
        ({"base": "int8"}, "recipe.base", "master to null"),
        ({"base": "int8", "params": "fp32"}, "recipe.base", "params to bf16"),
        ({"base": "nf4", "master": None}, "recipe.base", "set method to qlora"),
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


@pytest.mark.parametrize(
    ("key", "value", "bound"),
    [
        ("dropout", 1, "it must be a number, at least 0 and below 1"),
        ("dropout", -0.1, "it must be a number, at least 0 and below 1"),
        ("dropout", True, "it must be a number, at least 0 and below 1"),
        ("dropout", float("nan"), "it must be a number, at least 0 and below 1"),
        ("autocast", "yes", "it must be true or false"),
    ],
)
def test_wrong_words_of_adapters_are_refused(key: str, value: object, bound: str) -> None:
    with pytest.raises(PlanError) as caught:
        Recipe.read({"method": "lora", "lora": {key: value}})
    assert caught.value.key == f"recipe.lora.{key}"
    assert bound in str(caught.value)


def test_adapters_drop_as_their_library_does_unless_told() -> None:
    assert Lora().drops
    assert not Lora(dropout=0).drops
    assert not Lora(library="peft").drops
    assert Lora(library="peft", dropout=0.05).drops


@pytest.mark.parametrize(("name", "rule"), [("lomo", "sgd"), ("adalomo", "adafactor")])
def test_an_optimizer_of_the_backward_pass_is_read_as_what_it_does(name: str, rule: str) -> None:
    same = {"optimizer": rule, "optimizer_in_backward": True, "master": None}
    assert Recipe.read({"optimizer": name}) == Recipe.read(same)
    assert Recipe.read({"optimizer": name, "master": "fp32"}).master == "fp32"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ("sft", None, None, None, "logits_fp32", 1, 0)),
        ({"objective": "dpo"}, ("dpo", True, None, None, "logits_fp32", 2, 1)),
        ({"objective": "dpo", "reference": False}, ("dpo", False, None, None, "logits_fp32", 2, 0)),
        ({"objective": "grpo"}, ("grpo", False, 0.3, 512, "logits_fp32", 1, 1)),
        (
            {"objective": "grpo", "reference": True, "rollout_share": 0, "seq_len": 300},
            ("grpo", True, 0, 150, "logits_fp32", 1, 1),
        ),
        ({"objective": "embedding"}, ("embedding", None, None, None, "classification", 2, 0)),
    ],
)
def test_an_objective_has_the_models_and_passes_that_trl_gives_it(
    given: dict[str, Any], expected: tuple[object, ...]
) -> None:
    r = Recipe.read(given)
    found = r.objective, r.reference, r.rollout_share, r.completion_len, r.loss
    assert (*found, r.sequences, r.extra_passes) == expected
    assert r.tokens == r.sequences * r.seq_len


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"reference": True}, "reference"),
        ({"objective": "embedding", "reference": True}, "reference"),
        ({"objective": "dpo", "rollout_share": 0.3}, "rollout_share"),
        ({"objective": "dpo", "completion_len": 64}, "completion_len"),
        ({"objective": "grpo", "seq_len": 512, "completion_len": 513}, "completion_len"),
        ({"objective": "grpo", "rollout_share": 1.5}, "rollout_share"),
        ({"objective": "embedding", "loss": "chunked"}, "loss"),
        ({"objective": "ppo"}, "objective"),
    ],
)
def test_what_an_objective_does_not_have_is_refused_by_its_key(
    given: dict[str, Any], key: str
) -> None:
    with pytest.raises(PlanError) as refused:
        Recipe.read(given)
    assert refused.value.key == f"recipe.{key}"

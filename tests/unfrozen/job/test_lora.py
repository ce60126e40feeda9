"""The linear layers that adapters sit beside."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from unfrozen.errors import PlanError
from unfrozen.job.lora import check_targets, outer_modules, targets, trained_whole
from unfrozen.job.recipe import Lora
from unfrozen.model.catalogue import CATALOGUE

SEVEN_B = CATALOGUE["meta-llama/Llama-2-7b-hf"].model


def test_every_linear_layer_reads_what_its_place_says() -> None:
    reads = {t.name: t.reads for t in targets(SEVEN_B, Lora())}
    assert reads == {
        **dict.fromkeys(("q_proj", "k_proj", "v_proj"), "qkv"),
        "o_proj": "out",
        **dict.fromkeys(("gate_proj", "up_proj"), "up"),
        "down_proj": "down",
    }
    gpt2 = CATALOGUE["openai-community/gpt2"].model
    assert [t.reads for t in targets(gpt2, Lora())] == ["qkv", "out", "up", "down"]


@pytest.mark.parametrize("name", ["openai/gpt-oss-20b", "ai21labs/Jamba-v0.1"])
def test_routers_and_plain_parameters_have_no_adapter(name: str) -> None:
    names = {target.name for target in targets(CATALOGUE[name].model, Lora())}
    assert names
    assert not {one for one in names if one == "router" or one.endswith(("_bias", "A_log"))}


def test_a_name_that_two_layers_share_means_both() -> None:
    gpt2 = CATALOGUE["openai-community/gpt2"].model
    assert len(targets(gpt2, Lora(targets=("c_proj",)))) == 2


MIXTRAL = CATALOGUE["mistralai/Mixtral-8x7B-v0.1"].model
PEFT = Lora(library="peft")


def test_experts_have_an_adapter_each_where_they_are_a_target() -> None:
    names = [t.name for t in targets(MIXTRAL, PEFT)]
    assert names == ["q_proj", "k_proj", "v_proj", "o_proj"]
    found = targets(MIXTRAL, replace(PEFT, targets=("all-linear", "experts")))
    assert [t.name for t in found] == [*names, "experts", "experts"]
    assert [t.shape for t in found[4:]] == [(8 * 2 * 14336, 8 * 4096), (8 * 4096, 8 * 14336)]


@pytest.mark.parametrize(
    ("changed", "remedy"),
    [
        ({"targets": ("experts",), "dropout": 0.1}, "set it to 0"),
        ({"targets": ("experts",), "library": "litgpt"}, "choose among them"),
    ],
)
def test_what_peft_refuses_of_experts_is_refused(changed: dict[str, Any], remedy: str) -> None:
    with pytest.raises(PlanError) as caught:
        check_targets(MIXTRAL, replace(PEFT, **changed))
    assert caught.value.remedy.startswith(remedy)


def test_a_target_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(PlanError, match="q_proj, k_proj, v_proj, o_proj") as caught:
        check_targets(SEVEN_B, Lora(targets=("query",)))
    assert caught.value.key == "recipe.lora.targets"
    assert caught.value.remedy == "choose among them or embed_tokens or lm_head"


def test_an_adapter_needs_a_linear_layer() -> None:
    with pytest.raises(PlanError, match="sits beside a linear layer") as caught:
        check_targets(SEVEN_B, Lora(targets=("embed_tokens", "lm_head")))
    assert caught.value.remedy.startswith("add all-linear")


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("meta-llama/Llama-3.2-1B", ("embed_tokens", "lm_head")),  # tied
        ("openai-community/gpt2", ("wte", "lm_head")),
        ("EleutherAI/pythia-6.9b", ("embed_in", "lm_head")),
        ("google/gemma-3-4b-it", ("embed_tokens", "lm_head")),
    ],
)
def test_embedding_and_head_have_the_names_of_their_modules(
    name: str, names: tuple[str, str]
) -> None:
    model = CATALOGUE[name].model
    assert outer_modules(model) == names
    size = model.architecture.vocab * model.architecture.hidden
    assert trained_whole(model, Lora(targets=("all-linear", names[1]))) == (0, size)

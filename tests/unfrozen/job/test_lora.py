"""The linear layers that adapters sit beside."""

from __future__ import annotations

import pytest

from unfrozen.errors import PlanError
from unfrozen.job.lora import targets
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


def test_a_name_that_two_layers_share_means_both() -> None:
    gpt2 = CATALOGUE["openai-community/gpt2"].model
    assert len(targets(gpt2, Lora(targets=("c_proj",)))) == 2


def test_stacked_experts_and_their_router_get_no_adapter() -> None:
    names = [t.name for t in targets(CATALOGUE["mistralai/Mixtral-8x7B-v0.1"].model, Lora())]
    assert names == ["q_proj", "k_proj", "v_proj", "o_proj"]


def test_a_target_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(PlanError, match="q_proj, k_proj, v_proj, o_proj") as caught:
        targets(SEVEN_B, Lora(targets=("query",)))
    assert caught.value.key == "recipe.lora.targets"

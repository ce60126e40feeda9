"""Counts and tensor lists against transformers itself, built on the meta device."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
)

from conftest import matrix
from unfrozen.model import SUPPORTED, ModelConfig, ModelError
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.model.vision_language import WRAPPERS

pytestmark = pytest.mark.slow

SAME = {"kimi_k2": "deepseek_v3"}  # a type of its owner's, whose code is DeepSeek's
MASKED = ("bert", "roberta", "modernbert")


def built(config: dict[str, Any]) -> list[tuple[str, tuple[int, ...]]]:
    """Names and shapes of the model that transformers builds from this config.json."""
    rest = {key: value for key, value in config.items() if key != "model_type"}
    model_type = SAME.get(config["model_type"], config["model_type"])
    kind: Any = AutoModelForMaskedLM if model_type in MASKED else AutoModelForCausalLM
    kind = AutoModelForImageTextToText if model_type in WRAPPERS else kind
    kind = AutoModelForSeq2SeqLM if model_type == "t5" else kind
    with torch.device("meta"):
        model = kind.from_config(AutoConfig.for_model(model_type, **rest))
    return [(name, tuple(parameter.shape)) for name, parameter in model.named_parameters()]


ONE_OF_EACH_TYPE = list(
    {one.config["model_type"]: name for name, one in CATALOGUE.items()}.values()
)


@pytest.mark.parametrize("hub_id", matrix(CATALOGUE, *ONE_OF_EACH_TYPE[::3]))
def test_names_shapes_order_and_count_are_those_of_transformers(hub_id: str) -> None:
    config = CATALOGUE[hub_id].config
    model = ModelConfig.from_hf(config)
    found, real = [(t.name, t.shape) for t in model.tensors], built(config)
    if config["model_type"] == "t5":  # two stacks of layers, each with a norm after it
        found, real = sorted(found), sorted(real)
    assert found == real
    assert model.num_parameters == sum(tensor.size for tensor in model.tensors)


def test_the_published_count_is_met_exactly() -> None:
    counted = {hub_id: published.model.num_parameters for hub_id, published in CATALOGUE.items()}
    assert counted == {hub_id: published.num_parameters for hub_id, published in CATALOGUE.items()}


def test_every_type_of_the_catalogue_is_supported() -> None:
    types = {published.config["model_type"] for published in CATALOGUE.values()}
    assert types < set(SUPPORTED)
    assert len(SUPPORTED) == len(set(SUPPORTED))


def test_bert_with_a_classification_head_is_counted_as_transformers_builds_it() -> None:
    sizes = {"hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 3, "num_labels": 5}
    config = AutoConfig.for_model("bert", **sizes)
    with torch.device("meta"):
        real = AutoModelForSequenceClassification.from_config(config)
    model = ModelConfig.from_hf({"model_type": "bert", **sizes})
    expected = [(name, tuple(p.shape)) for name, p in real.named_parameters()]
    assert [(t.name, t.shape) for t in model.tensors] == expected


def test_megatrons_gpt_has_the_states_of_a_published_run() -> None:
    config = {
        "model_type": "gpt",
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "intermediate_size": 16384,
        "vocab_size": 131073,
        "max_position_embeddings": 8192,
        "tie_word_embeddings": False,
    }
    steady_bytes = 20_663_519_232  # NVIDIA/Megatron-LM gpt3_7b_tp4_pp1_memory_speed, 2 x 4 GPUs
    share = ModelConfig.from_hf(config).split(4)
    assert 12 * share.num_parameters == pytest.approx(steady_bytes, rel=0.01)


def test_ranks_share_heads_and_vocabulary_and_repeat_what_is_scarce() -> None:
    model = ModelConfig.from_hf(SMALL | {"model_type": "llama", "vocab_size": 1000})
    share = model.split(4).architecture
    assert (share.heads, share.kv_heads, share.ffn, share.vocab) == (1, 1, 24, 256)
    assert share.hidden == 64
    with pytest.raises(ModelError, match="num_attention_heads"):
        model.split(3)


SMALL: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 128,
}
CHOICES: dict[str, dict[str, Any]] = {
    "llama with every bias": {"model_type": "llama", "attention_bias": True, "mlp_bias": True},
    "llama with its own head size": {"model_type": "llama", "head_dim": 32},
    "llama without kv heads": {"model_type": "llama", "num_key_value_heads": None},
    "mistral tied": {"model_type": "mistral", "tie_word_embeddings": True},
    "qwen3 with bias": {"model_type": "qwen3", "attention_bias": True},
    "qwen3 with default head size": {"model_type": "qwen3"},
    "gemma untied": {"model_type": "gemma", "tie_word_embeddings": False},
    "gemma2 with bias": {"model_type": "gemma2", "attention_bias": True},
    "gemma3 text": {"model_type": "gemma3_text"},
    "phi3 with groups": {"model_type": "phi3", "pad_token_id": 0},
    "olmo with bias": {"model_type": "olmo", "attention_bias": True},
    "olmo2 with groups": {"model_type": "olmo2"},
    "gpt2 with its own inner size": {"model_type": "gpt2", "n_inner": 100, "n_positions": 16},
    "gpt2 with what it never reads": {
        "model_type": "gpt2",
        "intermediate_size": 100,
        "hidden_act": "relu",
    },
    "gpt2 untied": {"model_type": "gpt2", "tie_word_embeddings": False},
    "neox without attention bias": {"model_type": "gpt_neox", "attention_bias": False},
    "neox tied": {"model_type": "gpt_neox", "tie_word_embeddings": True},
    "mixtral of four": {"model_type": "mixtral", "num_local_experts": 4},
    "qwen2 mixture, every other layer": {
        "model_type": "qwen2_moe",
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 32,
        "shared_expert_intermediate_size": 48,
        "decoder_sparse_step": 2,
    },
    "qwen2 mixture without bias": {
        "model_type": "qwen2_moe",
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 32,
        "shared_expert_intermediate_size": 48,
        "qkv_bias": False,
    },
    "qwen3 mixture with one dense layer": {
        "model_type": "qwen3_moe",
        "head_dim": 16,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 32,
        "mlp_only_layers": [1],
        "attention_bias": True,
    },
}


def test_gpt2_is_computed_as_transformers_reads_it_not_as_another_family_is_reported() -> None:
    sizes = {"n_embd": 64, "n_layer": 3, "n_head": 4, "vocab_size": 128}
    told = {"model_type": "gpt2", **sizes, "intermediate_size": 100, "hidden_act": "relu"}
    theirs, ours = AutoConfig.for_model(**told), ModelConfig.from_hf(told).architecture
    assert (ours.ffn, ours.activation) == (256, theirs.activation_function)


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_of_a_family_changes_the_tensors_as_in_transformers(choice: str) -> None:
    config = SMALL | CHOICES[choice]
    if config["model_type"] == "gpt2":
        renamed = {"n_embd": 64, "n_layer": 3, "n_head": 4}
        config = {"vocab_size": 128, **renamed, **CHOICES[choice]}
    model = ModelConfig.from_hf(config)
    expected = built({key: value for key, value in config.items() if value is not None})
    assert [(t.name, t.shape) for t in model.tensors] == expected
    assert model.num_parameters == sum(tensor.size for tensor in model.tensors)
    layers = sum(map(model.layer_parameters, range(3)))
    assert model.num_parameters == model.outer_parameters + layers

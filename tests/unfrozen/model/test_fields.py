"""Wrong configurations are refused with the key, the value, the bound and the remedy."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unfrozen.model import ModelConfig, ModelError
from unfrozen.model.catalogue import CATALOGUE

LLAMA = CATALOGUE["meta-llama/Llama-3.2-1B"].config
MOE = CATALOGUE["Qwen/Qwen3-30B-A3B"].config
GPT2 = CATALOGUE["openai-community/gpt2"].config


def without(config: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name != key}


@pytest.mark.parametrize(
    ("config", "key", "says"),
    [
        (without(LLAMA, "hidden_size"), "hidden_size", "add this key"),
        (without(LLAMA, "vocab_size"), "vocab_size", "add this key"),
        (without(LLAMA, "model_type"), "model_type", "supported are llama"),
        (without(GPT2, "n_embd"), "n_embd", "add this key"),
        (without(MOE, "num_experts"), "num_experts", "add this key"),
        (LLAMA | {"hidden_size": "2048"}, "hidden_size", "whole number"),
        (LLAMA | {"hidden_size": 2048.0}, "hidden_size", "whole number"),
        (LLAMA | {"hidden_size": True}, "hidden_size", "whole number"),
        (LLAMA | {"hidden_size": math.nan}, "hidden_size", "whole number"),
        (LLAMA | {"hidden_size": 10**30}, "hidden_size", "10,000,000"),
        (LLAMA | {"hidden_size": 1e30}, "hidden_size", "whole number"),
        (LLAMA | {"hidden_size": -2048}, "hidden_size", "1 … 10,000,000"),
        (LLAMA | {"num_hidden_layers": 10**6}, "num_hidden_layers", "10,000"),
        (LLAMA | {"vocab_size": 0}, "vocab_size", "1 … 10,000,000"),
        (LLAMA | {"num_attention_heads": 33}, "num_attention_heads", "hidden size 2048"),
        (LLAMA | {"num_key_value_heads": 5}, "num_key_value_heads", "divide"),
        (LLAMA | {"num_key_value_heads": 64}, "num_key_value_heads", "divide"),
        (LLAMA | {"tie_word_embeddings": "yes"}, "tie_word_embeddings", "true or false"),
        (LLAMA | {"hidden_act": 3}, "hidden_act", "text"),
        ({"model_type": "snake"}, "model_type", "supported are llama"),
        (LLAMA | {"model_type": ["llama"]}, "model_type", "supported are llama"),
        ({"model_type": "snake", "text_config": {}}, "model_type", "text_config alone"),
        (MOE | {"mlp_only_layers": "0"}, "mlp_only_layers", "list"),
        (MOE | {"mlp_only_layers": [0, "1"]}, "mlp_only_layers", "list"),
        (MOE | {"num_experts_per_tok": 129}, "num_experts_per_tok", "128"),
        (GPT2 | {"n_head": 7}, "n_head", "divide"),
        (GPT2 | {"add_cross_attention": True}, "add_cross_attention", "decoder-only"),
    ],
)
def test_a_wrong_config_is_one_clear_error(config: dict[str, Any], key: str, says: str) -> None:
    with pytest.raises(ModelError) as caught:
        ModelConfig.from_hf(config)
    assert caught.value.key == key
    assert says in str(caught.value)
    assert caught.value.bound
    assert caught.value.remedy
    assert "\n" not in str(caught.value)


def test_a_config_that_is_not_an_object_is_refused() -> None:
    with pytest.raises(ModelError, match=r"config\.json"):
        ModelConfig.from_hf([LLAMA])  # type: ignore[arg-type]


def test_a_config_as_published_with_all_its_other_keys_is_read() -> None:
    noise = {
        "architectures": ["LlamaForCausalLM"],
        "rope_scaling": {"factor": 32.0},
        "torch_dtype": "bfloat16",
        "eos_token_id": [1, 2],
        "x" * 5_000_000: None,
    }
    assert ModelConfig.from_hf(noise | LLAMA).num_parameters == 1_235_814_400


anything = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)


@given(st.sampled_from(list(CATALOGUE)), st.data())
def test_any_value_under_any_key_is_counted_or_refused(hub_id: str, data: st.DataObject) -> None:
    config = CATALOGUE[hub_id].config
    key = data.draw(st.sampled_from(list(config)))
    try:
        model = ModelConfig.from_hf(config | {key: data.draw(anything)})
    except ModelError:
        return
    assert model.num_parameters > 0

"""Activation terms against what autograd really saves in transformers' modules."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from unfrozen.errors import PlanError
from unfrozen.memory.activations import Precision, layer_bytes, outside_bytes
from unfrozen.memory.loss import softmax_width
from unfrozen.model import ModelConfig
from unfrozen.recipe import Recipe

BATCH, LENGTH = 2, 35  # no activation has the shape of a weight
LLAMA: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 176,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 96,
    "pad_token_id": 0,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "llama": LLAMA | {"model_type": "llama"},
    "llama, wide heads": LLAMA | {"model_type": "llama", "head_dim": 40},
    "qwen2": LLAMA | {"model_type": "qwen2"},
    "qwen3": LLAMA | {"model_type": "qwen3", "head_dim": 40},
    "gemma": LLAMA | {"model_type": "gemma", "head_dim": 40},
    "gemma3": LLAMA | {"model_type": "gemma3_text", "head_dim": 40},
    "phi3": LLAMA | {"model_type": "phi3"},
    "olmo": LLAMA | {"model_type": "olmo"},
    "olmo2": LLAMA | {"model_type": "olmo2"},
    "gpt_neox": LLAMA | {"model_type": "gpt_neox"},
    "gpt2": {
        "model_type": "gpt2",
        "n_embd": 64,
        "n_layer": 2,
        "n_head": 4,
        "n_positions": 64,
        "vocab_size": 96,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
    },
}


def saved_bytes(config: dict[str, Any], recipe: Recipe) -> int:
    """Bytes of distinct tensors that a real forward pass saves, weights left out."""
    rest = {key: value for key, value in config.items() if key != "model_type"}
    hf_config = AutoConfig.for_model(config["model_type"], **rest)
    dtype = torch.float32 if recipe.params == "fp32" else torch.bfloat16
    kind = "eager" if recipe.attention == "eager" else "sdpa"
    model = AutoModelForCausalLM.from_config(hf_config, attn_implementation=kind, dtype=dtype)
    mask = torch.ones(BATCH, LENGTH, dtype=torch.int64)
    if recipe.attention == "sdpa":
        mask[0, :3] = 0  # a padded row: transformers must build the mask
    if recipe.attention == "sdpa_masked":
        wide = torch.bfloat16 if recipe.compute == "bf16" else torch.float32
        mask = torch.zeros(BATCH, 1, LENGTH, LENGTH, dtype=wide)
    ids = torch.randint(0, config["vocab_size"], (BATCH, LENGTH))
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    storages: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storages.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    autocast = recipe.compute != recipe.params
    casting = torch.autocast("cpu", torch.bfloat16) if autocast else contextlib.nullcontext()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), casting:
        model(input_ids=ids, attention_mask=mask, labels=ids, use_cache=False)
    return sum(
        tensor.untyped_storage().nbytes()
        for key, tensor in storages.items()
        if key not in weights and not _is_cast_weight(tensor, model)
    )


def _is_cast_weight(tensor: torch.Tensor, model: Any) -> bool:
    """Autocast's 16-bit copies of weights are counted apart."""
    shapes = {tuple(p.shape) for p in model.parameters()}
    shapes |= {shape[::-1] for shape in shapes if len(shape) == 2}
    return tuple(tensor.shape) in shapes


def predicted_bytes(config: dict[str, Any], recipe: Recipe) -> int:
    a = ModelConfig.from_hf(config).architecture
    precision = Precision.of(recipe)
    kept = a.layers * layer_bytes(a, recipe, precision) + outside_bytes(a, recipe, precision, 1.0)
    return recipe.tokens * (kept + softmax_width(recipe, precision.compute) * a.vocab)


ATTENTIONS = ("flash", "sdpa", "sdpa_masked", "eager")
PRECISIONS = ("bf16", "fp32", "autocast")
EVERYTHING = [
    (name, params, attention)
    for name in ("llama", "gpt2", "gpt_neox")
    for params in PRECISIONS
    for attention in ATTENTIONS
]
ONCE = [
    (name, *pair)
    for name in CONFIGS
    for pair in (("bf16", "flash"), ("autocast", "sdpa"), ("fp32", "eager"))
]


@pytest.mark.parametrize(("name", "params", "attention"), sorted({*EVERYTHING, *ONCE}))
def test_the_terms_add_up_to_what_autograd_saves(name: str, params: str, attention: str) -> None:
    given: dict[str, Any] = {
        "params": "bf16" if params == "bf16" else "fp32",
        "compute": "fp32" if params == "fp32" else "bf16",
        "attention": attention,
        "micro_batch": BATCH,
        "seq_len": LENGTH,
    }
    recipe = Recipe.read(given)
    real = saved_bytes(CONFIGS[name], recipe)
    assert predicted_bytes(CONFIGS[name], recipe) == pytest.approx(real, rel=0.01)


def llama_layer(**given: object) -> int:
    recipe = Recipe.read(given)
    a = ModelConfig.from_hf(CONFIGS["llama"]).architecture
    return layer_bytes(a, recipe, Precision.of(recipe))


def test_a_llama_layer_in_bf16_follows_the_written_formula() -> None:
    h, q, k, f, a = 64, 64, 32, 176, 4
    assert llama_layer(attention="flash") == 16 * h + 8 + 4 * q + 4 * k + 4 * a + 8 * f
    assert llama_layer(kernels="fused") == 8 * h + 4 * q + 4 * k + 6 * f


def test_a_batch_of_one_keeps_the_fused_product_of_neox_alive_in_eager_attention() -> None:
    a = ModelConfig.from_hf(CONFIGS["gpt_neox"]).architecture
    one, two = (
        layer_bytes(a, recipe, Precision.of(recipe))
        for recipe in (Recipe.read({"attention": "eager", "micro_batch": b}) for b in (1, 2))
    )
    assert one - two == 2 * 2 * a.q_width


@pytest.mark.parametrize(
    ("config", "given", "key"),
    [
        ("gpt2", {"kernels": "fused"}, "recipe.kernels"),
        ("odd", {}, "model.hidden_act"),
        ("mixture", {}, "model.model_type"),
    ],
)
def test_what_has_no_known_terms_is_refused(config: str, given: dict[str, Any], key: str) -> None:
    more = {
        "gpt2": CONFIGS["gpt2"],
        "odd": CONFIGS["llama"] | {"hidden_act": "snake"},
        "mixture": LLAMA | {"model_type": "mixtral"},
    }
    recipe = Recipe.read(given)
    with pytest.raises(PlanError) as caught:
        layer_bytes(ModelConfig.from_hf(more[config]).architecture, recipe, Precision.of(recipe))
    assert caught.value.key == key

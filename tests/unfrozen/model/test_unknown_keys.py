"""Keys of a config.json that nothing reads: those that may change tensors are named, others not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig
from transformers.models.auto import modeling_auto as auto

from conftest import matrix
from small_models import SMALL
from unfrozen.__main__ import main
from unfrozen.model import ModelConfig
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.model.config import SAME
from unfrozen.model.unknown_keys import unknown_keys

LLAMA = CATALOGUE["meta-llama/Llama-3.1-8B"].config
PLANTED: dict[str, Any] = {
    "per_layer_config2": {"0": {"head_dim": 64}},
    "moe_latent_size": 1024,
    "attn_output_dim": 2048,
    "num_extra_layers": 1,
    "q_lora_rank": 512,
    "num_local_experts": 8,
    "global_head_dim": 512,
    "width_mult": 2.0,
    "qkv_bias": True,
    "block_pattern": "ABAB",
    "kv_heads_by_layer": [8] * 31 + [4],
    "layer_kinds": ["full"] * 31 + ["none"],
}
HARMLESS: dict[str, Any] = {
    "image_token_id": 5,
    "rope_scaling": {"factor": 8.0, "original_max_position_embeddings": 8192},
    "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]},
    "num_beams": 4,
    "no_repeat_ngram_size": 3,
    "max_length": 4096,
    "num_nextn_predict_layers": 1,
    "pretraining_tp": 1,
    "scoring_func": "sigmoid",
    "attn_dropout": 0.1,
    "attn_type_list": [1] * 32,
    "head_dim": 128,
    "layers_block_type": None,
    "expert_intermediate_size": 0,
    "swa_head_dim": 128,
    "n_layer": 32,
}
FAMILIES = sorted(
    {
        c.model_type
        for m in (auto.MODEL_FOR_CAUSAL_LM_MAPPING, auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING)
        for c in m
    }
)


@pytest.mark.parametrize(
    "model_type",
    matrix(FAMILIES, "llama", "qwen3_moe", "deepseek_v3", "gemma4", "nemotron_h", "apertus"),
)
def test_no_key_that_transformers_writes_is_unknown(model_type: str) -> None:
    try:
        config = AutoConfig.for_model(model_type).to_dict()
    except Exception:
        pytest.skip("its class has no defaults for all of its keys")
    written = json.loads(json.dumps(config, default=str)) | {"model_type": model_type}
    assert unknown_keys(written, SAME.get(model_type, model_type)) == ()


@pytest.mark.parametrize("key", PLANTED)
def test_a_key_of_a_size_that_nothing_reads_is_named(key: str) -> None:
    model = ModelConfig.from_hf({**LLAMA, **HARMLESS, key: PLANTED[key]})
    assert model.architecture.unknown_keys == (key,)
    assert model.num_parameters == CATALOGUE["meta-llama/Llama-3.1-8B"].num_parameters


def test_it_is_named_where_it_is_in_a_derived_family_and_inside_another_config() -> None:
    derived = {"model_type": "apertus", **SMALL, "latent_size": 8}
    assert ModelConfig.from_hf(derived).architecture.unknown_keys == ("latent_size",)
    tower = {"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 4}
    tower |= {"out_hidden_size": 64, "model_type": "qwen3_vl", "num_registers_per_layer": 4}
    text = {**SMALL, "head_dim": 16, "attn_output_dim": 24}
    seeing = {"model_type": "qwen3_vl", "text_config": text, "vision_config": tower}
    found = ModelConfig.from_hf(seeing).architecture.unknown_keys
    assert found == ("text_config.attn_output_dim", "vision_config.num_registers_per_layer")


@pytest.mark.parametrize("model_type", ["gemma3n_text", "mllama_text_model", "zamba2"])
def test_it_is_named_in_a_family_that_a_reader_alone_counts(model_type: str) -> None:
    written = json.loads(json.dumps(AutoConfig.for_model(model_type).to_dict(), default=str))
    assert not ModelConfig.from_hf(written).architecture.unknown_keys
    planted = ModelConfig.from_hf({**written, "moe_latent_size": 1024})
    assert planted.architecture.unknown_keys == ("moe_latent_size",)


def test_sizes_of_the_language_model_at_the_wrong_place_are_named() -> None:
    # a file that was flattened: transformers builds the model of the defaults
    config = {"model_type": "qwen3_vl", "vision_config": {"depth": 2}, "text_config": SMALL}
    found = ModelConfig.from_hf({**config, "num_experts": 8}).architecture.unknown_keys
    assert found == ("num_experts",)
    assert not ModelConfig.from_hf({**config, **SMALL}).architecture.unknown_keys


@pytest.mark.parametrize("options", [[], ["--gpus", "H100", "--data", "100 x 1 x 512"]])
def test_a_plan_names_it_as_text_and_as_json(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**LLAMA, "moe_latent_size": 1024, "num_hidden_layers": 2}))
    assert main(["plan", str(file), *options]) == 0
    assert "Unknown in config.json: moe_latent_size. The plan assumes" in capsys.readouterr().out
    assert main(["plan", str(file), *options, "--json"]) == 0
    read = json.loads(capsys.readouterr().out)["read"]
    assert read["format"] == "hf"
    assert read["unknown"] == ["moe_latent_size"]
    assert "moe_latent_size" not in read["used"]

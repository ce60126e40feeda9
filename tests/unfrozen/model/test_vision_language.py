"""Vision-language models against transformers: towers, what joins them, and the language model."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
import transformers
from transformers import AutoConfig

from small_models import SMALL
from unfrozen.model import ModelConfig, ModelError
from unfrozen.model.vision_language import WRAPPERS

pytestmark = pytest.mark.slow

HEADS = SMALL | {"head_dim": 16}
TOWER: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "image_size": 28,
    "patch_size": 14,
}
ROWS = {key: value for key, value in TOWER.items() if key != "image_size"} | {"num_patches": 16}
SQUARE = TOWER | {"image_size": [28, 28], "patch_size": [14, 14]}
GRID: dict[str, Any] = {
    "depth": 2,
    "num_heads": 4,
    "hidden_size": 32,
    "intermediate_size": 48,
    "out_hidden_size": 64,
}
DEEP = GRID | {"deepstack_visual_indexes": [0, 1]}
MIXED = HEADS | {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
SCOUT = {"vision_output_dim": 40, "projector_input_dim": 40, "projector_output_dim": 40}
TILES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_global_layers": 2,
    "attention_heads": 4,
    "intermediate_size": 48,
    "vision_output_dim": 96,
    "image_size": 28,
    "intermediate_layers_indices": [0, 1],
}


def of(model_type: str, sizes: dict[str, Any]) -> dict[str, Any]:
    return {**sizes, "model_type": model_type}


CASES: tuple[tuple[str, str, dict[str, Any], dict[str, Any], dict[str, Any]], ...] = (
    ("llava", "Llava", of("llama", SMALL), of("clip_vision_model", TOWER), {}),
    (
        "llava",
        "Llava",
        of("qwen2", SMALL | {"tie_word_embeddings": True}),
        of("siglip_vision_model", TOWER),
        {"multimodal_projector_bias": False, "vision_feature_layer": [-2, -1]},
    ),
    ("llava", "Llava", of("mistral", HEADS), of("pixtral", TOWER), {}),
    ("llava_next", "LlavaNext", of("llama", SMALL), of("clip_vision_model", TOWER), {}),
    (
        "llava_onevision",
        "LlavaOnevision",
        of("qwen2", SMALL),
        of("siglip_vision_model", TOWER | {"vision_use_head": False}),
        {},
    ),
    ("gemma3", "Gemma3", HEADS, TOWER, {}),
    (
        "paligemma",
        "PaliGemma",
        of("gemma2", HEADS),
        of("siglip_vision_model", TOWER),
        {"projection_dim": 64},
    ),
    ("internvl", "InternVL", of("qwen2", SMALL), SQUARE, {"tie_word_embeddings": False}),
    (
        "internvl",
        "InternVL",
        of("llama", SMALL),
        SQUARE
        | {"use_qk_norm": True, "norm_type": "rms_norm", "attention_bias": True}
        | {"use_mean_pooling": False, "use_mask_token": True},
        {},
    ),
    ("mistral3", "Mistral3", of("mistral", HEADS), of("pixtral", TOWER), {}),
    ("smolvlm", "SmolVLM", of("llama", SMALL), TOWER, {"scale_factor": 2}),
    (
        "idefics3",
        "Idefics3",
        of("llama", SMALL),
        TOWER,
        {"scale_factor": 1, "tie_word_embeddings": True},
    ),
    ("lfm2_vl", "Lfm2Vl", SMALL | {"full_attn_idxs": [1, 2]}, ROWS, {}),
    (
        "cohere2_vision",
        "Cohere2Vision",
        of("cohere2", SMALL),
        TOWER | {"vision_use_head": False},
        {"alignment_intermediate_size": 48},
    ),
    (
        "llama4",
        "Llama4",
        HEADS | {"num_local_experts": 2},
        TOWER | SCOUT | {"intermediate_size": 128},
        {},
    ),
    ("mllama", "Mllama", SMALL | {"cross_attention_layers": [1, 3]}, TILES, {}),
    (
        "qwen2_vl",
        "Qwen2VL",
        SMALL,
        {"depth": 2, "embed_dim": 32, "num_heads": 4, "hidden_size": 64},
        {},
    ),
    ("qwen2_5_vl", "Qwen2_5_VL", SMALL, GRID, {"tie_word_embeddings": True}),
    ("qwen3_vl", "Qwen3VL", HEADS, DEEP, {}),
    ("qwen3_vl_moe", "Qwen3VLMoe", MIXED, DEEP, {}),
    ("qwen3_5", "Qwen3_5", HEADS, GRID, {}),
    ("qwen3_5_moe", "Qwen3_5Moe", MIXED | {"shared_expert_intermediate_size": 24}, GRID, {}),
    ("glm4v", "Glm4v", SMALL, GRID | {"image_size": 28}, {}),
    (
        "glm4v_moe",
        "Glm4vMoe",
        MIXED | {"n_routed_experts": 4, "n_group": 1},
        GRID | {"image_size": 28},
        {},
    ),
)
NAMES = [f"{case[0]}-{index}" for index, case in enumerate(CASES)]


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_every_tensor_of_a_model_that_sees_is_counted_in_its_order(case: Any) -> None:
    model_type, name, text, vision, more = case
    config = {"text_config": text, "vision_config": vision, **more}
    with torch.device("meta"):
        kind = getattr(transformers, f"{name}ForConditionalGeneration")
        real = kind(AutoConfig.for_model(model_type, **config))
    found = ModelConfig.from_hf({"model_type": model_type, **config})
    expected = [(name, tuple(p.shape)) for name, p in real.named_parameters()]
    assert [(tensor.name, tensor.shape) for tensor in found.tensors] == expected
    assert found.architecture.vision
    inside = (f"{WRAPPERS[model_type].model_at}.", f"{WRAPPERS[model_type].head_at}.")
    towers = [p.numel() for name, p in real.named_parameters() if not name.startswith(inside)]
    assert found.tower_parameters == sum(towers)


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_tensor_parallel_gpus_share_the_language_model_and_hold_the_tower(case: Any) -> None:
    model_type, _, text, vision, more = case
    sizes = {"text_config": text, "vision_config": vision, **more}
    whole = ModelConfig.from_hf({"model_type": model_type, **sizes})
    alone = ModelConfig.from_hf(WRAPPERS[model_type].text(sizes))
    share, language = whole.split(2), alone.split(2)
    assert share.tower_parameters == whole.tower_parameters
    assert share.num_parameters - share.tower_parameters == language.num_parameters
    assert language.num_parameters < 0.57 * alone.num_parameters


@pytest.mark.parametrize("model_type", WRAPPERS)
def test_a_file_that_names_no_tower_has_that_of_transformers(model_type: str) -> None:
    config = AutoConfig.for_model(model_type)
    with torch.device("meta"):
        real = transformers.AutoModelForImageTextToText.from_config(config)
    written = json.loads(json.dumps(config.to_dict(), default=str))
    del written["vision_config"]
    found = ModelConfig.from_hf(written)
    assert found.num_parameters == sum(p.numel() for p in real.parameters())


def test_every_kind_of_model_that_sees_is_tried() -> None:
    assert {case[0] for case in CASES} == set(WRAPPERS)


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({"model_type": "llava"}, "text_config"),
        ({"model_type": "llava", "text_config": 3}, "text_config"),
        (
            {"model_type": "llava", "text_config": of("llama", SMALL), "vision_config": [1]},
            "vision_config",
        ),
        ({"model_type": "llava", "text_config": {"model_type": "snake"}}, "text_config.model_type"),
        (
            {
                "model_type": "llava",
                "text_config": of("llama", SMALL),
                "vision_config": {"model_type": "eye"},
            },
            "vision_config.model_type",
        ),
    ],
)
def test_a_model_without_eyes_or_words_is_refused(config: dict[str, Any], key: str) -> None:
    with pytest.raises(ModelError) as caught:
        ModelConfig.from_hf(config)
    assert caught.value.key == key


def test_the_file_of_a_language_model_alone_is_counted_alone() -> None:
    whole = {"model_type": "qwen3_5", "text_config": HEADS, "vision_config": GRID}
    alone = ModelConfig.from_hf(whole | {"architectures": ["Qwen3_5ForCausalLM"]})
    both = ModelConfig.from_hf(whole)
    assert alone.num_parameters == both.num_parameters - both.tower_parameters


@pytest.mark.parametrize("model_type", ["qwen3_vl", "qwen3_5"])
def test_a_tower_that_its_file_names_as_the_whole_model_is_the_usual_one(model_type: str) -> None:
    # as the files of Qwen3-VL and Qwen3.5 say; transformers reads no such name
    usual = {"model_type": model_type, "text_config": HEADS, "vision_config": GRID}
    named = usual | {"vision_config": GRID | {"model_type": model_type}}
    assert ModelConfig.from_hf(named).tensors == ModelConfig.from_hf(usual).tensors

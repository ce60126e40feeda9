"""Tiny models of the families that people fine-tune; their random weights follow from a seed."""

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file

import small_models
import tiny_llama
from gpu_runner.model import attention
from gpu_runner.model.head import head_path
from gpu_runner.model.load import class_of
from gpu_runner.world import freeze_encoders
from unfrozen.model import ModelConfig

SIZES = {
    "vocab_size": 264,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "head_dim": 8,
    "bos_token_id": None,
    "eos_token_id": 0,
    "pad_token_id": 0,
}
GPT2 = {
    "vocab_size": 264,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 256,
    "attn_pdrop": 0.0,
    "resid_pdrop": 0.0,
    "embd_pdrop": 0.0,
    "bos_token_id": None,
    "eos_token_id": 0,
}
EXTRAS: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {"sliding_window": 8},
    "qwen2": {},
    "qwen3": {},
    "gemma": {},
    "gemma2": {"sliding_window": 8},
    "gemma3_text": {"sliding_window": 8},
    "gpt2": {},
    "gpt_neox": {},
    "phi3": {},
    "olmo2": {},
    "gpt_oss": {"num_local_experts": 4, "sliding_window": 8},
    "ernie4_5_moe": {"moe_num_experts": 8, "moe_k": 2, "moe_intermediate_size": 32},
    "mixtral": {"num_local_experts": 4},
    "qwen3_moe": {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 32},
    "qwen2_moe": {
        "num_experts": 8,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 32,
        "shared_expert_intermediate_size": 64,
    },
}


def model(family: str, implementation: str = attention.NAME, **changes: object) -> Any:
    """A model in training mode; `implementation` is that of its attention."""
    attention.register()
    sizes = GPT2 if family == "gpt2" else SIZES | EXTRAS[family]
    config = transformers.AutoConfig.for_model(family, **{**sizes, **changes})
    torch.manual_seed(0)
    made: Any = transformers.AutoModelForCausalLM.from_config(
        config, attn_implementation=implementation
    )
    head_path(made.train(), torch.arange(8)[None])  # as a run does before it watches routers
    return made


TOWER = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 28,
    "patch_size": 14,
}
GRID = {
    "depth": 3,  # more layers than the language model has, as encoders have in published ones
    "num_heads": 4,
    "hidden_size": 32,
    "intermediate_size": 48,
    "out_hidden_size": 32,
}
ROTATED = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}
HEADS = {"linear_key_head_dim": 8, "linear_num_key_heads": 2, "linear_num_value_heads": 2}
SEEING: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "gemma3": ({"sliding_window": 8}, TOWER, {"mm_tokens_per_image": 4}),
    "qwen3_5": (HEADS | {"linear_value_head_dim": 8, "num_hidden_layers": 4}, GRID, {}),
    "qwen3_vl": ({}, GRID | {"deepstack_visual_indexes": [0, 1]}, {}),
    "qwen2_5_vl": ({"rope_parameters": ROTATED}, GRID, {"tie_word_embeddings": True}),
    "smolvlm": ({"model_type": "llama"}, TOWER | {"num_hidden_layers": 3}, {"scale_factor": 2}),
    "internvl": (
        {"model_type": "qwen2"},
        TOWER | {"image_size": [28, 28], "patch_size": [14, 14]},
        {"tie_word_embeddings": False},
    ),
    "mistral3": ({"model_type": "mistral"}, TOWER | {"model_type": "pixtral"}, {}),
    "lfm2_vl": (
        {"full_attn_idxs": [1]},
        {key: value for key, value in TOWER.items() if key != "image_size"} | {"num_patches": 16},
        {"projector_hidden_size": 48},
    ),
    "llama4": (
        {"num_local_experts": 2, "intermediate_size_mlp": 48},
        TOWER
        | {"vision_output_dim": 40, "projector_input_dim": 40, "projector_output_dim": 40}
        | {"intermediate_size": 128},
        {},
    ),
}
"""Of each kind of vision-language model: language model, vision encoder, and both together."""


def seeing(family: str = "gemma3", implementation: str = attention.NAME, **changes: object) -> Any:
    """A model with a vision encoder, in training mode; `changes` are of its language model."""
    attention.register()
    text, vision, both = SEEING[family]
    config = transformers.AutoConfig.for_model(
        family, text_config=SIZES | text | changes, vision_config=vision, **both
    )
    torch.manual_seed(0)
    made: Any = class_of(config).from_config(config, attn_implementation=implementation)
    freeze_encoders(made)
    return made.train()


def write_seeing(folder: Path, family: str) -> Path:
    """A directory with such a model and a tokenizer, as one would download it."""
    model = seeing(family)
    model.save_pretrained(folder)
    tiny_llama.tokenizer(chat=True).save_pretrained(folder)
    return folder


FP4 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
PACKED = {"hidden_size": 64, "intermediate_size": 32, "head_dim": 16, "num_local_experts": 4}


def pack_experts(folder: Path) -> dict[str, torch.Tensor]:
    """Give a saved gpt-oss experts in MXFP4 of random bytes, as its makers publish them: per expert
    and output, blocks of 32 numbers (two a byte, the lower half first), each with a power of two.

    Returns what the bytes mean, by name.
    """
    file, config = folder / "model.safetensors", folder / "config.json"
    weights, meant, draw = load_file(file), {}, torch.Generator().manual_seed(0)
    for name in [name for name in weights if name.endswith(("gate_up_proj", "down_proj"))]:
        experts, inputs, outputs = weights.pop(name).shape
        shape = experts, outputs, inputs // 32
        blocks = torch.randint(0, 256, (*shape, 16), dtype=torch.uint8, generator=draw)
        scales = torch.randint(120, 124, shape, dtype=torch.uint8, generator=draw)
        weights |= {f"{name}_blocks": blocks, f"{name}_scales": scales}
        halves = torch.stack((blocks & 15, blocks >> 4), dim=-1).flatten(3).long()
        values = torch.tensor([*FP4, *(-number for number in FP4)])[halves]
        values = values * torch.exp2(scales.float() - 127)[..., None]
        meant[name] = values.flatten(2).transpose(1, 2)
    save_file(weights, file, {"format": "pt"})
    told = json.loads(config.read_text("utf-8"))
    told["quantization_config"] = {"quant_method": "mxfp4"}
    config.write_text(json.dumps(told), "utf-8")
    return meant


DECODERS: dict[str, dict[str, Any]] = {
    **dict(reversed(small_models.DECODERS)),
    **{name: SIZES | more for name, more in EXTRAS.items()},
    "gpt2": GPT2,
}
"""Every decoder that the planner knows."""
SHORT = {
    **{"sliding_window": 4, "use_sliding_window": True, "max_window_layers": 1},
    "attention_chunk_size": 4,
}
DRAWN = (
    *("attn_pdrop", "resid_pdrop", "embd_pdrop", "attention_dropout", "dropout"),
    *("residual_dropout", "router_jitter_noise", "input_jitter_noise"),
)


def settings(family: str) -> dict[str, Any]:
    """The settings of a decoder with windows and chunks of four tokens, and without dropout."""
    kind = transformers.CONFIG_MAPPING[family]
    known = {key for base in kind.__mro__ for key in getattr(base, "__annotations__", {})}
    short = {key: value for key, value in SHORT.items() if key in known}
    found = DECODERS[family] | short | dict.fromkeys(DRAWN, 0.0)
    if "kv_lora_rank" in found:  # a head of latent attention has keys of its own
        found["num_key_value_heads"] = found["num_attention_heads"]
    return found


def shape_of(family: str) -> ModelConfig:
    """What the planner reads off these settings."""
    return ModelConfig.from_hf({"model_type": family, **settings(family)})


def decoder(family: str, **attended: Any) -> Any:
    """A decoder with these settings in training mode, no vector as it is initialized: sinks near 0,
    norms of 1 and biases of 0 could be left out, and nothing would be different."""
    config = transformers.AutoConfig.for_model(family, **settings(family))
    torch.manual_seed(0)
    made: Any = transformers.AutoModelForCausalLM.from_config(config, **attended)
    draw = torch.Generator().manual_seed(1)
    for name, weight in made.named_parameters():
        if weight.ndim == 1:
            scale = 2.0 if "sinks" in name else 0.1
            weight.data += scale * torch.randn(weight.shape, generator=draw)
    return made.train()

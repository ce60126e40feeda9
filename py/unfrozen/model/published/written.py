"""How the tables write a config.json: the keys that decide a model's tensors."""

from __future__ import annotations

from typing import Any, Final

_KEYS: Final = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "vocab_size",
)


def block(
    model_type: str, sizes: tuple[int, ...], tied: bool | None = None, **more: object
) -> dict[str, Any]:
    """A decoder's file: (D, F, L, H, K, V) and what else it says."""
    config: dict[str, Any] = {"model_type": model_type, **dict(zip(_KEYS, sizes, strict=True))}
    if tied is not None:
        config["tie_word_embeddings"] = tied
    return config | more


def gpt2(width: int, layers: int, heads: int) -> dict[str, Any]:
    """GPT-2's file."""
    sizes = {"n_embd": width, "n_layer": layers, "n_head": heads}
    return {"model_type": "gpt2", **sizes, "n_positions": 1024, "vocab_size": 50257}


def neox(sizes: tuple[int, ...]) -> dict[str, Any]:
    """GPT-NeoX' file."""
    config = block("gpt_neox", sizes, tied=False, hidden_act="gelu")
    del config["num_key_value_heads"]
    return config


QWEN_MOE: Final = {
    "num_experts": 60,
    "num_experts_per_tok": 4,
    "moe_intermediate_size": 1408,
    "shared_expert_intermediate_size": 5632,
    "decoder_sparse_step": 1,
}
QWEN3_MOE: Final = {
    "head_dim": 128,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "moe_intermediate_size": 768,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
}

QWEN3_NEXT: Final = {
    "head_dim": 256,
    "num_experts": 512,
    "num_experts_per_tok": 10,
    "moe_intermediate_size": 512,
    "shared_expert_intermediate_size": 512,
    "full_attention_interval": 4,
}
LATENT: Final = {
    "kv_lora_rank": 512,
    "q_lora_rank": 1536,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
}
DEEPSEEK_V3: Final = {
    "moe_intermediate_size": 2048,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "num_experts_per_tok": 8,
    "first_k_dense_replace": 3,
    "n_group": 8,
    "topk_group": 4,
}
_TOWER: Final = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
CLIP_L: Final[dict[str, Any]] = dict(zip(_TOWER, (1024, 4096, 24, 16), strict=True)) | {
    "image_size": 336,
    "patch_size": 14,
}
SO400M: Final[dict[str, Any]] = dict(zip(_TOWER, (1152, 4304, 27, 16), strict=True)) | {
    "patch_size": 14,
    "vision_use_head": False,
}


def falcon(hidden: int, layers: int, heads: int, **more: object) -> dict[str, Any]:
    """Falcon's file."""
    sizes = {"hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads}
    return {"model_type": "falcon", **sizes, "vocab_size": 65024} | more


def gemma3(sizes: tuple[int, ...], head_dim: int) -> dict[str, Any]:
    """Gemma 3's file, with the tower that all of its sizes share."""
    vision = {**SO400M, "image_size": 896, "model_type": "siglip_vision_model"}
    text = block("gemma3_text", sizes, head_dim=head_dim)
    return {"model_type": "gemma3", "text_config": text, "vision_config": vision}


def qwen_vl(model_type: str, sizes: tuple[int, ...], tied: bool) -> dict[str, Any]:
    """Qwen2.5-VL's and Qwen3-VL's files."""
    text = block(f"{model_type}_text", sizes)
    vision: dict[str, Any] = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420}
    if model_type == "qwen3_vl":
        text |= {"head_dim": 128}
        vision = {"depth": 27, "hidden_size": 1152, "intermediate_size": 4304}
    vision |= {"num_heads": 16, "out_hidden_size": sizes[0]}
    whole = {"model_type": model_type, "tie_word_embeddings": tied}
    return {**whole, "text_config": text, "vision_config": vision}


def mllama() -> dict[str, Any]:
    """Llama 3.2 Vision's file."""
    text = block("mllama_text_model", (4096, 14336, 40, 32, 8, 128256))
    vision = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32}
    vision |= {"num_global_layers": 8, "attention_heads": 16, "image_size": 560, "patch_size": 14}
    return {"model_type": "mllama", "text_config": text, "vision_config": vision}


def scout() -> dict[str, Any]:
    """Llama 4 Scout's file."""
    text = block("llama4_text", (5120, 8192, 48, 40, 8, 202048), head_dim=128)
    text |= {"intermediate_size_mlp": 16384, "num_local_experts": 16, "num_experts_per_tok": 1}
    text |= {"interleave_moe_layer_step": 1}
    vision = {"hidden_size": 1408, "intermediate_size": 5632, "num_hidden_layers": 34}
    vision |= {"num_attention_heads": 16, "image_size": 336, "patch_size": 14}
    vision |= {"vision_output_dim": 4096, "projector_input_dim": 4096, "projector_output_dim": 4096}
    return {"model_type": "llama4", "text_config": text, "vision_config": vision}

"""A tiny mixture of experts of every family of transformers that has one, its weights random.

Beside the settings of each stands how it scores experts, as its own code says: what a test works
out from logits. Eight experts, of which two are chosen, and two layers, where a family allows it.
"""

from __future__ import annotations

from typing import Any, Final

import torch
import transformers
from torch import nn

from gpu_runner.model.head import head_path

_SIZES: Final[dict[str, Any]] = {
    "vocab_size": 264,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "bos_token_id": None,
    "eos_token_id": 0,
    "pad_token_id": 0,
}
_EIGHT: Final = _SIZES | {
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
}
_LOCAL: Final = _SIZES | {"num_local_experts": 8, "num_experts_per_tok": 2}
_ROUTED: Final = _SIZES | {
    "n_routed_experts": 8,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "first_k_dense_replace": 0,
}
_GROUPS: Final = _ROUTED | {"n_group": 2, "topk_group": 1}
_LATENT: Final = _GROUPS | {
    "kv_lora_rank": 8,
    "q_lora_rank": 8,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 4,
    "v_head_dim": 6,
    "num_key_value_heads": 4,
}
_INDEXED: Final = _LATENT | {"index_n_heads": 2, "index_head_dim": 8, "index_topk": 16}
_LINEAR: Final = {
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 2,
}
_STATES: Final = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_n_groups": 1}
_DBRX: Final = {
    "vocab_size": 264,
    "d_model": 32,
    "n_heads": 4,
    "n_layers": 2,
    "max_seq_len": 256,
    "attn_config": {"kv_n_heads": 2, "clip_qkv": 8, "rope_theta": 1e4},
    "ffn_config": {"hidden_size": 32, "ffn_hidden_size": 16, "moe_num_experts": 8, "moe_top_k": 2},
}
_LONGCAT: Final = {
    "ffn_hidden_size": 32,
    "expert_ffn_hidden_size": 16,
    "num_layers": 1,
    "zero_expert_num": 2,
    "moe_topk": 2,
    "head_dim": 4,
}
_INKLING: Final = {"rel_extent": 16, "swa_head_dim": 8, "unpadded_vocab_size": 262}
_FULL: Final = {"layer_types": ["full_attention"] * 2}  # the other kind is slow without its kernel
_LAYERS: Final = {"num_dense_layers": 0, "layer_types": ["conv", "full_attention"]}

FAMILIES: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "mixtral": ("softmax", _LOCAL),
    "qwen2_moe": ("softmax", _EIGHT),
    "qwen3_moe": ("softmax", _EIGHT),
    "qwen3_next": ("softmax", _EIGHT | _LINEAR),
    "qwen3_5_moe_text": ("softmax", _EIGHT | _LINEAR),
    "qwen4_exp_text": ("softmax", _EIGHT | _LINEAR | {"ngram_vocab_size_base": 64}),
    "olmoe": ("softmax", _EIGHT),
    "flex_olmo": ("softmax", _EIGHT),
    "mellum": ("softmax", _EIGHT),
    "lara_mini": ("softmax", _EIGHT | _LINEAR),
    "jamba": ("softmax", _EIGHT),
    "phimoe": ("softmax", _LOCAL),
    "minimax": ("softmax", _LOCAL),
    "gpt_oss": ("softmax", _LOCAL),
    "granitemoe": ("softmax", _LOCAL),
    "granitemoe_swa": ("softmax", _LOCAL),
    "granitemoeshared": ("softmax", _LOCAL),
    "granitemoehybrid": (
        "softmax",
        _LOCAL | _STATES | {"layer_types": ["mamba", "attention"], "shared_intermediate_size": 16},
    ),
    "jetmoe": ("softmax", _LOCAL | {"kv_channels": 8}),
    "aria_text": ("softmax", _SIZES | {"moe_num_experts": 8, "moe_topk": 2}),
    "hunyuan_v1_moe": ("softmax", _EIGHT | {"moe_topk": 2}),
    "ernie4_5_moe": ("softmax", _EIGHT | {"moe_num_experts": 8, "moe_k": 2}),
    "dbrx": ("softmax", _DBRX),
    "deepseek_v2": ("softmax", _LATENT | {"topk_method": "group_limited_greedy"}),
    "longcat_flash": ("softmax", _LATENT | _LONGCAT),
    "zaya": ("softmax", _EIGHT | {"num_experts_per_tok": 1, "router_hidden_size": 16}),
    "gemma4_text": (
        "softmax",
        _EIGHT
        | {"enable_moe_block": True, "top_k_experts": 2, "hidden_size_per_layer_input": 0}
        | {"global_head_dim": 8},
    ),
    "cohere2_moe": ("sigmoid", _EIGHT | {"expert_selection_fn": "sigmoid"}),
    "llama4_text": ("sigmoid", _LOCAL | {"intermediate_size_mlp": 32}),
    "flint": ("sigmoid", _EIGHT | {"mlp_only_layers": []}),
    "lfm2_moe": ("sigmoid", _EIGHT | _LAYERS),
    "afmoe": ("sigmoid", _EIGHT | {"num_shared_experts": 1, "num_dense_layers": 1}),
    "laguna": ("sigmoid", _EIGHT),
    "kolibri1": ("sigmoid", _EIGHT),
    "minimax_m2": ("sigmoid", _LOCAL),
    "minimax_m3_vl_text": (
        "sigmoid",
        _LOCAL | {"dense_intermediate_size": 32, "shared_intermediate_size": 16},
    ),
    "hy_v3": ("sigmoid", _EIGHT),
    "hy_v4": ("sigmoid", _INDEXED),
    "glm4_moe": ("sigmoid", _GROUPS),
    "glm4_moe_lite": ("sigmoid", _LATENT),
    "glm_moe_dsa": ("sigmoid", _INDEXED),
    "dots1": ("sigmoid", _GROUPS),
    "dots3_note_text": ("sigmoid", _INDEXED | {"shared_experts_intermediate_size": 16}),
    "exaone_moe": ("sigmoid", _EIGHT | _GROUPS),
    "solar_open": ("sigmoid", _GROUPS),
    "sarvam_moe": ("sigmoid", _EIGHT | {"n_group": 2, "topk_group": 1, "first_k_dense_replace": 0}),
    "sarvam_mla": ("sigmoid", _LATENT | _EIGHT | {"num_key_value_heads": 4}),
    "deepseek_v3": ("sigmoid", _LATENT),
    "deepseek_v32": ("sigmoid", _INDEXED),
    "axk1": ("sigmoid", _LATENT),
    "axk2": ("sigmoid", _INDEXED),
    "mimo_v2_flash": ("sigmoid", _GROUPS | {"v_head_dim": 8}),
    "bailing_hybrid": ("sigmoid", _EIGHT | _LATENT | _FULL),
    "kimi_linear": ("sigmoid", _EIGHT | _LATENT | _FULL),
    "beam": ("sigmoid", _EIGHT | _GROUPS | {"mlp_layer_types": ["sparse"] * 2}),
    "nemotron_h": (
        "sigmoid",
        _GROUPS
        | {"layers_block_type": ["attention", "moe"], "moe_shared_expert_intermediate_size": 16},
    ),
    "inkling_text": ("sigmoid", _EIGHT | _GROUPS | _INKLING),
    "inkling2_text": ("sigmoid", _EIGHT | _GROUPS | _INKLING),
    "inkling2_loop_text": ("sigmoid", _EIGHT | _GROUPS | _INKLING),
    "deepseek_v4": (
        "sqrt",
        _GROUPS
        | {"mlp_layer_types": ["hash_moe", "moe"], "q_lora_rank": 8, "o_lora_rank": 8}
        | {"index_head_dim": 8},
    ),
}
REFUSED: Final = {"doge": _EIGHT | {"is_moe": True, "num_experts": 16}}
"""Its experts are the pairs of two shorter lists, whose scores no token has for itself."""


def model(family: str, extra: dict[str, Any] | None = None) -> Any:
    """One of them in training mode, with routers that prefer some experts from the start."""
    settings = FAMILIES[family][1] if family in FAMILIES else REFUSED[family]
    kind = transformers.CONFIG_MAPPING[family]
    known = {key for base in kind.__mro__ for key in getattr(base, "__annotations__", {})}
    known |= set(kind.attribute_map)
    given = {key: value for key, value in settings.items() if key in known}
    torch.manual_seed(0)
    made: Any = transformers.AutoModelForCausalLM.from_config(kind(**given | (extra or {})))
    for module in made.modules():
        for name in ("gate", "router"):
            router = getattr(module, name, None)
            if isinstance(router, nn.Module):
                _lean(router)
    made.train()
    if family in FAMILIES:  # the other's experts mix up the tokens
        head_path(made, torch.arange(8)[None])  # as a run does before it watches routers
    return made


def _lean(router: nn.Module) -> None:
    for weight in router.parameters():
        if weight.dim() == 2 and len(weight) > 1:
            weight.data.normal_()

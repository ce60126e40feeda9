"""Small models of every family, as their config.json would say them: one for each choice it has."""

from __future__ import annotations

from typing import Any, Final

Config = dict[str, Any]

SMALL: Final[Config] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 5,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 128,
    "pad_token_id": 0,
}
_HEADS: Final = SMALL | {"head_dim": 16}
_WIDE: Final = SMALL | {"head_dim": 24, "attention_bias": True, "mlp_bias": True}
_MIXED: Final = _HEADS | {"num_experts_per_tok": 2, "moe_intermediate_size": 32}
_LATENT: Final = SMALL | {
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "n_routed_experts": 8,
    "n_shared_experts": 2,
    "first_k_dense_replace": 2,
    "kv_lora_rank": 24,
    "q_lora_rank": 40,
    "qk_rope_head_dim": 8,
    "v_head_dim": 16,
    "qk_nope_head_dim": 12,
    "n_group": 2,
    "topk_group": 1,
}
_STATES: Final = {"mamba_n_heads": 8, "mamba_d_head": 16, "mamba_d_state": 16, "mamba_n_groups": 1}
_TURNS: Final = ["mamba", "attention", "mamba", "mamba", "attention"]
_NEMOTRON: Final = {key: value for key, value in _MIXED.items() if key != "num_hidden_layers"} | {
    "mamba_num_heads": 8,
    "mamba_head_dim": 16,
    "ssm_state_size": 16,
    "n_groups": 2,
    "n_routed_experts": 4,
    "moe_shared_expert_intermediate_size": 48,
}
_LINEAR: Final = _HEADS | {
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 12,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
}
_EXPERTS: Final = {
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 24,
}
_GEMMA: Final = _HEADS | {
    "num_hidden_layers": 12,
    "hidden_size_per_layer_input": 8,
    "vocab_size_per_layer_input": 100,
}
_OLD: Final = {
    "vocab_size": 128,
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "pad_token_id": 0,
}
_GPTJ: Final = {"vocab_size": 128, "n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 64}
_BERT: Final = _OLD | {"intermediate_size": 96}
_T5: Final = {"vocab_size": 128, "d_model": 64, "d_kv": 16, "d_ff": 96, "num_heads": 4}
_SHARED: Final = ["mamba", "mamba", *["hybrid", "mamba"] * 4]

DECODERS: Final[tuple[tuple[str, Config], ...]] = (
    *((name, _HEADS) for name in ("smollm3", "granite", "olmo3", "seed_oss", "glm", "glm4")),
    *((name, _WIDE) for name in ("smollm3", "granite", "olmo3", "seed_oss", "glm", "glm4")),
    *((name, _HEADS) for name in ("hunyuan_v1_dense", "arcee", "nemotron", "helium", "ministral")),
    *((name, _WIDE) for name in ("hunyuan_v1_dense", "arcee", "nemotron", "helium", "ministral3")),
    *((name, SMALL) for name in ("cohere", "cohere2", "exaone4", "ernie4_5", "starcoder2", "phi")),
    ("smollm3", _HEADS | {"tie_word_embeddings": False}),
    ("ernie4_5", SMALL | {"use_bias": True}),
    ("starcoder2", SMALL | {"use_bias": False}),
    ("cohere", SMALL | {"use_qk_norm": True, "attention_bias": True}),
    ("stablelm", SMALL),
    ("stablelm", SMALL | {"qk_layernorm": True, "use_qkv_bias": True}),
    ("stablelm", SMALL | {"use_parallel_residual": True}),
    ("phi", SMALL | {"qk_layernorm": True}),
    ("gpt_oss", _MIXED | {"num_local_experts": 8}),
    ("gpt_oss", _MIXED | {"num_local_experts": 8, "attention_bias": False}),
    ("glm4_moe", _MIXED | {"n_routed_experts": 8, "use_qk_norm": True, "attention_bias": True}),
    ("glm4_moe", _MIXED | {"n_routed_experts": 8, "first_k_dense_replace": 3}),
    ("dots1", _MIXED | {"n_routed_experts": 8, "n_shared_experts": 1, "first_k_dense_replace": 1}),
    ("ernie4_5_moe", _MIXED | {"moe_num_experts": 8, "moe_k": 2}),
    (
        "ernie4_5_moe",
        _MIXED
        | {"moe_num_experts": 8, "moe_k": 2, "use_bias": True, "moe_layer_interval": 2}
        | {"moe_layer_start_index": 2, "moe_layer_end_index": 3},
    ),
    ("granitemoe", SMALL | {"num_local_experts": 4, "attention_bias": True}),
    ("granitemoeshared", SMALL | {"num_local_experts": 4, "shared_intermediate_size": 48}),
    ("phimoe", SMALL | {"num_local_experts": 4, "lm_head_bias": True, "attention_bias": True}),
    ("olmoe", SMALL | {"num_experts": 8, "num_experts_per_tok": 2}),
    ("flex_olmo", SMALL | {"num_experts": 8, "num_experts_per_tok": 2}),
    ("minimax_m2", _MIXED | {"num_local_experts": 4}),
    ("llama4_text", _HEADS | {"intermediate_size_mlp": 112, "num_local_experts": 4}),
    (
        "llama4_text",
        _HEADS
        | {"intermediate_size_mlp": 112, "num_local_experts": 4, "interleave_moe_layer_step": 2},
    ),
    ("deepseek_v2", _LATENT),
    ("deepseek_v3", _LATENT),
    ("glm4_moe_lite", _LATENT),
    ("minicpm3", _LATENT),
    ("deepseek_v3", _LATENT | {"q_lora_rank": None, "attention_bias": True}),
    ("minicpm3", _LATENT | {"mlp_bias": True}),
    ("gemma3n_text", _GEMMA | {"laurel_rank": 4, "num_kv_shared_layers": 2}),
    (
        "gemma3n_text",
        _GEMMA
        | {"laurel_rank": 4, "num_kv_shared_layers": 0, "altup_num_inputs": 3}
        | {"intermediate_size": [96] * 8 + [48] * 4},
    ),
    (
        "gemma4_text",
        _GEMMA | {"global_head_dim": 32, "num_kv_shared_layers": 5, "use_double_wide_mlp": True},
    ),
    (
        "gemma4_text",
        _GEMMA
        | {"global_head_dim": 32, "hidden_size_per_layer_input": 0, "attention_k_eq_v": True}
        | {"num_global_key_value_heads": 1, "enable_moe_block": True, "num_experts": 4}
        | {"top_k_experts": 2, "moe_intermediate_size": 32},
    ),
    ("mamba", {"hidden_size": 64, "state_size": 8, "num_hidden_layers": 3, "vocab_size": 128}),
    (
        "falcon_mamba",
        {"hidden_size": 64, "state_size": 8, "num_hidden_layers": 3, "vocab_size": 128}
        | {"use_bias": True, "use_conv_bias": False, "time_step_rank": 7},
    ),
    (
        "mamba2",
        {"hidden_size": 64, "state_size": 8, "num_hidden_layers": 3, "vocab_size": 128}
        | {"num_heads": 8, "head_dim": 16, "n_groups": 2},
    ),
    ("jamba", SMALL | {"num_hidden_layers": 9, "num_experts": 4}),
    ("jamba", SMALL | {"num_hidden_layers": 9, "num_experts": 1, "mamba_proj_bias": True}),
    ("bamba", SMALL | _STATES | {"attn_layer_indices": [1, 3]}),
    (
        "bamba",
        SMALL
        | _STATES
        | {"attn_layer_indices": [1], "mamba_d_head": "auto", "attention_bias": True}
        | {"mlp_bias": True, "mamba_proj_bias": True},
    ),
    (
        "granitemoehybrid",
        SMALL
        | _STATES
        | {"num_local_experts": 4, "shared_intermediate_size": 40, "layer_types": _TURNS},
    ),
    (
        "granitemoehybrid",
        SMALL
        | _STATES
        | {"num_local_experts": 0, "shared_intermediate_size": 40, "layer_types": _TURNS},
    ),
    ("falcon_h1", _HEADS | _STATES | {"mamba_d_ssm": 128}),
    (
        "falcon_h1",
        _HEADS | _STATES | {"mamba_d_ssm": 128, "mamba_rms_norm": True, "projectors_bias": True},
    ),
    ("nemotron_h", _NEMOTRON | {"hybrid_override_pattern": "ME*-M*"}),
    (
        "nemotron_h",
        _NEMOTRON
        | {"layers_block_type": ["mamba", "attention", "mlp", "moe"], "moe_latent_size": 20}
        | {"mlp_bias": True},
    ),
    *(
        (
            "zamba2",
            {"hidden_size": 64, "num_hidden_layers": 10, "layers_block_type": _SHARED}
            | {"vocab_size": 128, "num_attention_heads": 4, "n_mamba_heads": 8}
            | {"mamba_d_state": 16, "num_mem_blocks": 2, "adapter_rank": 6}
            | {"use_shared_attention_adapter": adapted},
        )
        for adapted in (False, True)
    ),
    ("qwen3_next", _LINEAR | _EXPERTS | {"mlp_only_layers": [1]}),
    ("qwen3_next", _LINEAR | _EXPERTS | {"attention_bias": True, "full_attention_interval": 2}),
    ("qwen3_5_text", _LINEAR),
    ("qwen3_5_moe_text", _LINEAR | _EXPERTS),
    ("lfm2", SMALL | {"full_attn_idxs": [1, 3]}),
    (
        "lfm2",
        SMALL
        | {"layer_types": ["conv", "full_attention"] * 2 + ["conv"], "conv_bias": True}
        | {"block_auto_adjust_ff_dim": False, "tie_embedding": False},
    ),
    (
        "lfm2_moe",
        _MIXED
        | {"num_experts": 4, "num_dense_layers": 2, "tie_embedding": False}
        | {"layer_types": ["conv", "full_attention"] * 2 + ["conv"]},
    ),
    ("falcon", _OLD),
    ("falcon", _OLD | {"new_decoder_architecture": True, "num_kv_heads": 2}),
    ("falcon", _OLD | {"parallel_attn": False, "multi_query": False, "bias": True}),
    ("bloom", {"vocab_size": 128, "hidden_size": 64, "n_layer": 3, "n_head": 4}),
    ("opt", _OLD | {"ffn_dim": 96, "max_position_embeddings": 64}),
    (
        "opt",
        _OLD
        | {"ffn_dim": 96, "max_position_embeddings": 64, "word_embed_proj_dim": 32}
        | {"do_layer_norm_before": False},
    ),
    ("gptj", _GPTJ | {"rotary_dim": 8}),
    ("codegen", _GPTJ | {"rotary_dim": 8}),
    ("gpt_bigcode", _GPTJ),
    ("gpt_bigcode", _GPTJ | {"multi_query": False}),
    ("mpt", {"d_model": 64, "n_layers": 3, "n_heads": 4, "vocab_size": 128}),
)
"""Decoders by model type: every choice of every family, at least once."""

ENCODERS: Final[tuple[tuple[str, Config], ...]] = (
    *((name, _BERT) for name in ("roberta", "electra", "deberta-v2", "modernbert")),
    (
        "deberta-v2",
        _BERT
        | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 8}
        | {"norm_rel_ebd": "layer_norm", "position_biased_input": False, "conv_kernel_size": 3},
    ),
    (
        "deberta-v2",
        _BERT
        | {"relative_attention": True, "share_att_key": True, "pos_att_type": "p2c|c2p"}
        | {"max_relative_positions": 16},
    ),
    (
        "modernbert",
        _BERT
        | {"norm_bias": True, "attention_bias": True, "mlp_bias": True}
        | {"decoder_bias": False, "classifier_bias": True},
    ),
    ("distilbert", {"vocab_size": 128, "dim": 64, "n_layers": 3, "n_heads": 4, "hidden_dim": 96}),
    ("xlm-roberta", _BERT),
    ("camembert", _BERT),
)
"""Encoders with a head over the words."""

BOTH_WAYS: Final[tuple[tuple[str, Config], ...]] = (
    *((name, _T5 | {"num_layers": 3}) for name in ("t5", "mt5", "umt5")),
    ("t5", _T5 | {"num_layers": 3, "num_decoder_layers": 2, "feed_forward_proj": "gated-gelu"}),
    ("t5", _T5 | {"num_layers": 2, "tie_word_embeddings": False}),
)
"""Encoders with a decoder."""

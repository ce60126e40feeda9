"""Tiny models of the families that people fine-tune; their random weights follow from a seed."""

from typing import Any

import torch
import transformers

from gpu_runner.model import attention

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
    return made.train()

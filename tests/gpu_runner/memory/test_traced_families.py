"""Steps of later families under fake tensors: latent attention, sinks, convolutions by turns."""

from __future__ import annotations

from typing import Any

import pytest

from docs.traced_job import trace
from unfrozen.job import Job
from unfrozen.plan import plan_job

SIZES: dict[str, Any] = {
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "vocab_size": 2048,
    "pad_token_id": 0,
}
RECIPE = {
    "params": "bf16",
    "grads": "bf16",
    "moments": "bf16",
    "master": None,
    "micro_batch": 2,
    "seq_len": 256,
}
LATENT = {
    "model_type": "deepseek_v3",
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 128,
    "n_group": 2,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "kv_lora_rank": 64,
    "q_lora_rank": 96,
    "qk_nope_head_dim": 64,
    "qk_rope_head_dim": 32,
    "v_head_dim": 96,
}
SINKS = {
    "model_type": "gpt_oss",
    "head_dim": 64,
    "num_key_value_heads": 2,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
}
TURNS = {
    "model_type": "lfm2",
    "layer_types": ["conv", "full_attention", "conv"],
    "block_auto_adjust_ff_dim": False,
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "attention"),
    [(LATENT, "flash"), (SINKS, "eager"), (TURNS, "flash")],
    ids=["latent", "sinks", "convolutions"],
)
def test_a_traced_step_of_a_later_family_is_the_planned_one(
    model: dict[str, Any], attention: str
) -> None:
    job = {"model": SIZES | model, "recipe": RECIPE | {"attention": attention}}
    traced, planned = trace(job), plan_job(Job.read(job))
    assert planned.allocated_bytes == pytest.approx(traced.peak_bytes, rel=0.01)

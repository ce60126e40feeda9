"""Steps of PEFT's own models, traced with real tensors: what trains beside adapters."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from docs.traced_job import Trace, TracedJob, build_model
from unfrozen.job import Job
from unfrozen.plan import Plan, plan_job

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_hidden_layers": 3,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "vocab_size": 8000,
    "tie_word_embeddings": False,
}
TIED = LLAMA | {"tie_word_embeddings": True}
NARROW = {"rank": 8, "dtype": "bf16", "library": "peft"}
WIDE = NARROW | {"dtype": "fp32", "autocast": True}
RECIPE = {
    **{"method": "lora", "params": "bf16", "micro_batch": 2, "seq_len": 128},
    **{"attention": "flash", "step": "fused"},
}
BOTH = ("embed_tokens", "lm_head")
MIXTRAL = LLAMA | {
    **{"model_type": "mixtral", "intermediate_size": 512, "vocab_size": 2000},
    **{"num_local_experts": 8, "num_experts_per_tok": 2},
}
QWEN = MIXTRAL | {
    **{"model_type": "qwen3_moe", "num_experts": 8, "moe_intermediate_size": 128, "head_dim": 32},
}
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
STACKS = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]


def traced(model: dict[str, Any], lora: dict[str, Any], **recipe: Any) -> tuple[Trace, Plan]:
    """A step of PEFT's model, and the plan of its job."""
    job = Job.read({"model": model, "recipe": RECIPE | {"lora": lora} | recipe})
    adapters = job.recipe.lora
    assert adapters
    linear = [name for name in adapters.targets if name not in (*BOTH, "experts")]
    config = LoraConfig(
        r=adapters.rank,
        target_modules="all-linear" if linear == ["all-linear"] else linear,
        modules_to_save=[name for name in adapters.targets if name in BOTH] or None,
        target_parameters=STACKS if "experts" in adapters.targets else None,
        lora_dropout=0.0,
    )
    found: Any = get_peft_model(
        build_model(model, job.recipe), config, autocast_adapter_dtype=adapters.dtype == "fp32"
    )
    if adapters.saved_fp32:  # as LLaMA-Factory does
        for parameter in found.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.to(torch.float32)
    count = sum(parameter.numel() for parameter in found.parameters())
    return TracedJob({}, job.recipe, found, count).run(), plan_job(job)


pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),  # PEFT 0.21
    pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`"),
]


@pytest.mark.parametrize(
    ("model", "whole", "lora", "recipe"),
    [
        (LLAMA, BOTH, NARROW, {}),
        (LLAMA, BOTH, NARROW, {"checkpointing": "full"}),
        (LLAMA, BOTH, NARROW, {"step": "foreach", "seq_len": 16}),
        (LLAMA, BOTH, WIDE, {}),
        (LLAMA, BOTH, WIDE | {"saved_fp32": True}, {}),
        (LLAMA, BOTH, WIDE | {"saved_fp32": True}, {"checkpointing": "full"}),
        (LLAMA, ("lm_head",), WIDE | {"saved_fp32": True}, {}),
        (LLAMA, ("embed_tokens",), NARROW, {}),
        (TIED, ("embed_tokens",), WIDE, {"grad_accum": 2}),
        (TIED, BOTH, NARROW, {}),
    ],
)
def test_embedding_and_head_that_train_stay_beside_the_frozen_ones(
    model: dict[str, Any], whole: tuple[str, ...], lora: dict[str, Any], recipe: dict[str, Any]
) -> None:
    found, planned = traced(model, lora | {"targets": ["all-linear", *whole]}, **recipe)
    assert planned.allocated_bytes == pytest.approx(found.peak_bytes, rel=0.004)
    for instant in ("load", "end_of_backward", "optimizer_step"):
        assert planned.instants[instant]["adapters"] == found.instants[instant]["adapters"]
    grads = found.instants["end_of_backward"]["grads"]
    assert planned.instants["end_of_backward"]["grads"] == grads
    moments = found.instants["optimizer_step"]["moments"]
    assert planned.instants["optimizer_step"]["moments"] == pytest.approx(moments, rel=1e-4)


@pytest.mark.parametrize("model", [MIXTRAL, QWEN], ids=["mixtral", "qwen3_moe"])
@pytest.mark.parametrize(
    ("targets", "lora", "checkpointing"),
    [
        (ATTENTION, NARROW, "none"),  # frozen experts save no inputs
        ([*ATTENTION, "experts"], NARROW, "none"),
        ([*ATTENTION, "experts"], WIDE, "full"),
        ([*ATTENTION, "experts"], NARROW, "full"),
        ([*ATTENTION, "experts"], WIDE | {"autocast": False}, "none"),
    ],
)
def test_adapters_of_stacked_experts_are_added_to_their_weights(
    model: dict[str, Any], targets: list[str], lora: dict[str, Any], checkpointing: str
) -> None:
    found, planned = traced(model, lora | {"targets": targets}, checkpointing=checkpointing)
    assert planned.instants["load"]["adapters"] == found.instants["load"]["adapters"]
    assert planned.allocated_bytes == pytest.approx(found.peak_bytes, rel=0.006)

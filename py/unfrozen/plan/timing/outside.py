"""What a step does outside the layers: embedding, head, loss, and the update of the weights."""

from __future__ import annotations

from typing import Final

from unfrozen.job import Job
from unfrozen.job.recipe import BYTES, Recipe
from unfrozen.memory.loss import LINEAR_CHUNK
from unfrozen.model import Architecture
from unfrozen.plan.flops import adapter_parameters, frozen

_LOGIT_BYTES: Final = {
    ("logits_fp32", False): 36,
    ("logits_fp32", True): 16,
    ("logits_bf16", False): 14,
    ("logits_bf16", True): 8,
    ("chunked", False): 36,
    ("chunked", True): 16,
    ("fused_linear", False): 10,
    ("fused_linear", True): 10,
    ("linear", False): 14,
    ("linear", True): 14,
    ("fused_vocab", False): 10,
    ("fused_vocab", True): 10,
    ("vocab_parallel", False): 30,
    ("vocab_parallel", True): 16,
    ("loss_parallel", False): 36,
    ("loss_parallel", True): 16,
}
"""Bytes a logit through memory, both directions, by loss and whether it is compiled. Eager: to fp32
(2 read, 4 written), log-softmax (4, 4), the gradient of the chosen entries (4), that of the
log-softmax (8, 4), back to 16 bits (4, 2). Compiled: 16-bit logits read twice and their gradient
written, the softmax once in fp32. Megatron's works in place on fp32."""
IN_PARTS: Final = ("vocab_parallel", "loss_parallel")
"""Losses that leave each tensor-parallel rank its own words."""
_STATES: Final = {"adamw": 2, "lion": 1, "sgd_momentum": 1, "muon": 1, "galore": 2, "apollo": 2}
_LOOSE_PASSES: Final = {"adamw": 52, "lion": 24, "sgd_momentum": 8, "muon": 8}
"""Further bytes a weight of an update that is not one kernel, in fp32: AdamW's mul, lerp, mul,
addcmul, sqrt, div, add and addcdiv read and write 80 in all, the fused one 28
(torch/optim/adamw.py, `_multi_tensor_adamw`)."""
CLIP_BYTES: Final = 3
"""A gradient is read for its norm, then read and scaled: three times its width."""


def logit_bytes(recipe: Recipe) -> float:
    """Bytes a logit moves, both directions together; 0 where there are none."""
    return float(_LOGIT_BYTES.get((recipe.loss, recipe.loss_compiled), 0))


def head_bytes(job: Job, local: Architecture) -> float:
    """Bytes a token of logits, loss, and gradients of the head's weight that add up by chunks."""
    recipe = job.recipe
    if recipe.loss == "classification":
        return 0.0
    moved = logit_bytes(recipe) * local.vocab
    if recipe.loss == "linear" and not frozen(job):
        moved += 2 * BYTES[recipe.compute] * local.vocab * local.hidden / LINEAR_CHUNK
    return moved


def embedding_bytes(job: Job, local: Architecture) -> float:
    """Bytes of a micro-batch of rows looked up and, where it trains, its gradient zeroed."""
    width = BYTES[job.recipe.compute]
    rows = 6.0 * width * job.recipe.tokens * local.hidden / job.cluster.context_parallel
    return rows + (0 if frozen(job) else width * local.vocab * local.hidden)


def trained(job: Job) -> int:
    """Weights that train, of the whole model."""
    if frozen(job):
        return adapter_parameters(job)
    return round(trained_share(job) * job.model.num_parameters)


def trained_share(job: Job) -> float:
    """Share of the layers whose weights train: some at a time under LISA, else all."""
    layers = job.model.architecture.layers
    return min(1.0, (job.recipe.lisa_layers or layers) / layers)


def moment_width(recipe: Recipe) -> float:
    """Bytes of a weight's moments."""
    width = {"int8": 1.0, "int4": 0.5, None: 0.0}.get(recipe.moments)
    each = BYTES[str(recipe.moments)] if width is None else width
    return _STATES.get(recipe.optimizer, 0) * each


def update_bytes(recipe: Recipe) -> float:
    """Bytes a weight through memory for the update and for clipping its gradient."""
    weights = BYTES[recipe.params]
    kept = 2 * (weights + (4 if recipe.master else 0) + moment_width(recipe))
    loose = 0.0
    if recipe.step in ("foreach", "for_loop"):
        exact = recipe.master or recipe.params == "fp32"
        loose = _LOOSE_PASSES.get(recipe.optimizer, 8) * (1.0 if exact else 0.5)
    return kept + loose + (1 + CLIP_BYTES) * BYTES[recipe.grads]

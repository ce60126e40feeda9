"""Which choices of a recipe exclude each other; each refusal names the key and the remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unfrozen.errors import PlanError
from unfrozen.job.choices import HAS_MOMENTS, LOW_BITS, PROJECTED

if TYPE_CHECKING:
    from unfrozen.job.recipe import Recipe


def check_together(recipe: Recipe) -> None:
    """Refuse a recipe whose choices contradict each other; raises PlanError."""
    _check_precisions(recipe)
    _check_optimizer(recipe)
    _check_adapters(recipe)
    _check_kernels(recipe)


def _check_precisions(recipe: Recipe) -> None:
    if recipe.master and recipe.params == "fp32":
        bound = "fp32 weights are their own master copy"
        raise PlanError("recipe.master", recipe.master, bound, "set it to null")
    if recipe.params != "fp32" and recipe.compute not in (recipe.params, *LOW_BITS):
        bound = f"16-bit weights compute in their own precision, {recipe.params}, or in fp8"
        remedy = f"set it to {recipe.params}, or params to fp32"
        raise PlanError("recipe.compute", recipe.compute, bound, remedy)


def _check_optimizer(recipe: Recipe) -> None:
    has_moments = recipe.optimizer in HAS_MOMENTS
    if not has_moments and recipe.moments is not None:
        bound = f"{recipe.optimizer} keeps no moments"
        raise PlanError("recipe.moments", recipe.moments, bound, "set it to null")
    if has_moments and recipe.moments is None:
        bound = f"{recipe.optimizer} keeps moments"
        raise PlanError("recipe.moments", None, bound, "choose fp32, bf16, int8 or int4")
    if recipe.early_update and recipe.grad_accum > 1:
        bound = "tensors that are updated during the backward pass cannot wait for more gradients"
        raise PlanError("recipe.grad_accum", recipe.grad_accum, bound, "set it to 1")
    projected = recipe.optimizer in PROJECTED
    if recipe.projection_rank is not None and not projected:
        bound = f"{recipe.optimizer} projects no gradients"
        remedy = "drop it, or set optimizer to galore or apollo"
        raise PlanError("recipe.projection_rank", recipe.projection_rank, bound, remedy)
    if projected and recipe.lora:
        bound = "gradients of adapters are as thin as what they would be projected to"
        raise PlanError("recipe.optimizer", recipe.optimizer, bound, "choose adamw")


def _check_adapters(recipe: Recipe) -> None:
    if recipe.method in ("full", "lisa") and recipe.lora is not None:
        bound = "full fine-tuning has no adapters"
        raise PlanError("recipe.lora", recipe.lora.rank, bound, "drop it, or set method to lora")
    trains = recipe.method == "full" and recipe.base == "int8"
    if recipe.method != "qlora" and recipe.base is not None and not trains:
        bound = "only the frozen weights of qlora are quantised, or all to int8 where they train"
        raise PlanError("recipe.base", recipe.base, bound, "drop it, or set method to qlora")
    if trains and (recipe.master or recipe.params == "fp32"):
        bound = "int8 weights train without another copy, beside 16-bit norms and embeddings"
        raise PlanError("recipe.base", recipe.base, bound, "set params to bf16 and master to null")
    if recipe.method == "qlora" and recipe.base is None:
        bound = "qlora quantises the frozen weights"
        raise PlanError("recipe.base", None, bound, "choose nf4, nf4-dq or int8")
    if recipe.lora and recipe.lora.dtype == "fp32" and recipe.master is not None:
        bound = "fp32 adapters are their own master copy"
        raise PlanError("recipe.master", recipe.master, bound, "set it to null")
    if recipe.method != "lisa" and recipe.lisa_layers is not None:
        bound = "only lisa trains some layers at a time"
        remedy = "drop it, or set method to lisa"
        raise PlanError("recipe.lisa_layers", recipe.lisa_layers, bound, remedy)


def _check_kernels(recipe: Recipe) -> None:
    if recipe.whole_compile and recipe.kernels == "eager":
        bound = "a compiled model has fused kernels"
        raise PlanError("recipe.whole_compile", True, bound, "set kernels to fused")
    if recipe.checkpoint_every > 1 and recipe.checkpointing == "none":
        bound = "no layer is made again"
        remedy = "set checkpointing to full or selective, or it to 1"
        raise PlanError("recipe.checkpoint_every", recipe.checkpoint_every, bound, remedy)

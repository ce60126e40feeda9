"""What the runner makes of a plan: its own choices where the reader made none, and the job it runs.

A setting left alone is what `gpu_runner` does with that model, so that the plan of a page nobody
touched is that of the command beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from unfrozen import runner
from unfrozen.job import Job
from unfrozen.job.cluster import Cluster
from unfrozen.job.recipe import Recipe
from unfrozen.model import Architecture
from unfrozen.planner.launch import Launch, copies_of

_OTHERS: Final = ("bert", "gpt")  # model types that it cannot load, or that are no language models


def left_alone(a: Architecture, recipe: Mapping[str, object]) -> dict[str, str | bool]:
    """Attention, kernels, loss and update of a run that says nothing of them, beside what `recipe`
    says: `unfrozen.runner`, where blocks are compiled only if that is asked for.
    """
    if not can_train(a):
        return {}
    return {
        "attention": runner.ATTENTION,
        "packed": runner.packs(a),
        "kernels": runner.kernels(a, str(recipe.get("checkpointing"))),
        "loss": runner.loss(a, "linear"),
        "step": _step(recipe),
        "experts_cast": runner.casts_experts(a, compiled=recipe.get("kernels") == "fused"),
    }


def _step(recipe: Mapping[str, object]) -> str:
    """How the update of the optimizer in `recipe` is computed, whatever else that one keeps."""
    asked = str(recipe.get("optimizer", "adamw")).removesuffix("_momentum")
    name = asked if asked in runner.OPTIMIZERS else "adamw"
    narrow = recipe.get("params") != "fp32" and recipe.get("master", "fp32") is None
    rounds = narrow and asked in runner.ROUNDED
    rounding = str(recipe.get("rounding", "nearest")) if rounds else "nearest"
    return str(runner.optimizer(name, "fp32", momentum=False, rounding=rounding)["step"])


SHARED_OUT: Final[dict[str, Any]] = {"outer_apart": True}
"""How its cards share a model out, where nobody chooses: `Cluster.of_runner`."""


def can_train(a: Architecture) -> bool:
    """Whether it fine-tunes such models at all."""
    return a.model_type not in _OTHERS and a.vision is None and not a.is_encoder


def run_of(job: Job, found: Launch) -> Job:
    """The job that the command starts: the plan, as far as the runner has what it asks for."""
    recipe, a = job.recipe, job.model.architecture
    exact = recipe.params == "fp32" or recipe.master == "fp32"
    width = "fp32" if exact else "bf16"
    own: dict[str, Any] = left_alone(
        a, {"checkpointing": recipe.checkpointing, "kernels": recipe.kernels}
    )
    own |= {"kernels": recipe.kernels} if recipe.kernels in ("eager", "fused") else {}
    if recipe.loss in runner.LOSSES.values() and not a.caps_logits:
        own["loss"] = recipe.loss
    optimizer = _optimizer(recipe, found, width)
    own["step"] = optimizer.pop("step")
    told = Recipe(
        params=width,
        compute=recipe.compute if recipe.compute in ("fp32", "bf16") else "bf16",
        master=None,
        grads=width,
        **optimizer,
        micro_batch=found.micro_batch,
        seq_len=min(max(runner.LENGTHS[0], recipe.seq_len), runner.LENGTHS[1]),
        grad_accum=found.grad_accum // found.cards,
        checkpointing=recipe.checkpointing,
        activation_offload=recipe.activation_offload and found.cards == 1,
        optimizer_in_backward=recipe.optimizer_in_backward and found.grad_accum == found.cards,
        **own,
    )
    copies = copies_of(job.cluster, found.cards)
    cluster = replace(Cluster.of_runner(found.cards), shard_size=copies, **SHARED_OUT)
    return replace(job, recipe=told, cluster=cluster)


def optimizer_name(recipe: Recipe) -> str:
    """The runner's word for an optimizer; AdamW in the place of one it lacks."""
    if recipe.optimizer == "adamw" and recipe.moments == "int8":
        return "adamw8bit"
    name = recipe.optimizer.removesuffix("_momentum")
    return name if name in runner.OPTIMIZERS else "adamw"


def _optimizer(recipe: Recipe, found: Launch, width: str) -> dict[str, Any]:
    """Optimizer, moments, step and rounding; AdamW for one that needs whole tensors."""
    name = optimizer_name(recipe)
    if found.cards > 1 and name in runner.WHOLE:
        name = "adamw"
    rounds = width == "bf16" and name in runner.ROUNDED
    rounding = recipe.rounding if rounds else "nearest"
    momentum = recipe.optimizer == "sgd_momentum"
    own = runner.optimizer(name, width, momentum=momentum, rounding=rounding)
    return own | ({} if own["moments"] == "int8" or name == "sgd" else {"rounding": rounding})

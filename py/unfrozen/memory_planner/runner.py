"""What the runner makes of a plan: its own choices where the reader made none, and the job it runs.

A setting left alone is what `gpu_runner` does with that model, so that the plan of a page nobody
touched is that of the command beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from unfrozen.cluster import Cluster
from unfrozen.job import Job
from unfrozen.memory_planner.launch import Launch
from unfrozen.model import Architecture
from unfrozen.recipe import Recipe

LOSSES: Final = ("logits_fp32", "chunked", "linear")
"""The losses it computes; it takes `linear` for any other."""
OPTIMIZERS: Final = ("adamw", "adafactor", "sgd", "sgd_momentum", "muon")
ROUNDED: Final = ("adamw", "adafactor")
"""Those whose updates it rounds as asked; the others to the nearest."""
WHOLE: Final = ("adamw8bit",)
"""Of its own names, those that need whole tensors: `gpu_runner.optim.WHOLE`."""
LENGTHS: Final = (2, 1_048_576)
"""The shortest and the longest row it takes: `gpu_runner.bounds`."""
_OTHERS: Final = ("bert", "gpt")  # model types that it cannot load, or that are no language models


def left_alone(a: Architecture, recipe: Mapping[str, object]) -> dict[str, str]:
    """Attention, kernels, loss and update of a run that says nothing of them, beside what `recipe`
    says: `gpu_runner.predict`.

    Rows are packed, so that attention needs no mask; a model that caps its scores or logits builds
    them. Compiled blocks are asked for; selective checkpointing takes transformers' own. PyTorch
    has fused updates for AdamW and SGD; ours take some rows at a time.
    """
    if a.model_type in _OTHERS:
        return {}
    fused = a.has_fused_block and recipe.get("checkpointing") != "selective"
    return {
        "attention": "eager" if a.caps_scores else "flash",
        "kernels": "fused_block" if fused else "eager",
        "loss": "logits_fp32" if a.caps_logits else "linear",
        "step": "rows" if _by_rows(recipe) else "fused",
    }


def _by_rows(recipe: Mapping[str, object]) -> bool:
    narrow = recipe.get("params") != "fp32" and recipe.get("master", "fp32") is None
    rounds = narrow and recipe.get("rounding", "nearest") != "nearest"
    optimizer = recipe.get("optimizer", "adamw")
    return optimizer in ("adafactor", "muon") or (rounds and optimizer in ROUNDED)


SHARED_OUT: Final[dict[str, Any]] = {"outer_apart": True}
"""How its cards share a model out, where nobody chooses: `Cluster.of_runner`."""


def can_train(a: Architecture) -> bool:
    """Whether it fine-tunes such models at all."""
    return a.model_type not in _OTHERS


def run_of(job: Job, found: Launch) -> Job:
    """The job that the command starts: the plan, as far as the runner has what it asks for."""
    recipe, a = job.recipe, job.model.architecture
    exact = recipe.params == "fp32" or recipe.master == "fp32"
    width = "fp32" if exact else "bf16"
    own: dict[str, Any] = left_alone(a, {"checkpointing": recipe.checkpointing})
    own |= {"kernels": recipe.kernels} if recipe.kernels in ("eager", "fused") else {}
    if recipe.loss in LOSSES and not a.caps_logits:
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
        seq_len=min(max(LENGTHS[0], recipe.seq_len), LENGTHS[1]),
        grad_accum=found.grad_accum // found.cards,
        checkpointing=recipe.checkpointing,
        activation_offload=recipe.activation_offload and found.cards == 1,
        optimizer_in_backward=recipe.optimizer_in_backward and found.grad_accum == found.cards,
        **own,
    )
    cluster = replace(Cluster.of_runner(found.cards), **SHARED_OUT)  # of one card it says nothing
    return replace(job, recipe=told, cluster=cluster)


def optimizer_name(recipe: Recipe) -> str:
    """The runner's word for an optimizer; AdamW in the place of one it lacks."""
    if recipe.optimizer == "adamw" and recipe.moments == "int8":
        return "adamw8bit"
    known = recipe.optimizer in OPTIMIZERS
    return recipe.optimizer.removesuffix("_momentum") if known else "adamw"


def _optimizer(recipe: Recipe, found: Launch, width: str) -> dict[str, Any]:
    """Optimizer, moments and step as `gpu_runner.predict` has them."""
    name = optimizer_name(recipe)
    if found.cards > 1 and name in WHOLE:
        name = "adamw"
    if name == "adamw8bit":
        return {"optimizer": "adamw", "moments": "int8", "step": "fused"}
    if name == "sgd":
        kept = width if recipe.optimizer == "sgd_momentum" else None
        return {"optimizer": recipe.optimizer, "moments": kept, "step": "fused"}
    moments = None if name == "adafactor" else width
    rounding = recipe.rounding if width == "bf16" and name in ROUNDED else "nearest"
    step = "fused" if name == "adamw" and rounding == "nearest" else "rows"
    return {"optimizer": name, "moments": moments, "step": step, "rounding": rounding}

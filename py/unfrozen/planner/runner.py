"""A plan in the runner: the runner's defaults, its launch, and the job that it runs.

A setting left alone is what `gpu_runner` does with that model, so that the plan of an untouched
page is that of the command beside it. The plan counts micro-batches a replica, the runner those of
all GPUs together, so that the number of GPUs never changes what a step computes (docs/scale.md).
The runner shards everything over all GPUs, and each takes sequences of its own: `micro_batch ·
grad_accum` is therefore the plan's sequences of a step, divided evenly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import gcd
from typing import Any, Final

from unfrozen import runner
from unfrozen.hardware import NODE_GPUS, Gpu
from unfrozen.job import Job
from unfrozen.job.cluster import Cluster
from unfrozen.job.recipe import Recipe
from unfrozen.model import Architecture
from unfrozen.runner import MOST_AT_ONCE, MOST_MICRO_BATCHES

_UNTRAINABLE: Final = (
    "bert",
    "gpt",
)  # model types that it cannot load, or that are no language models


def runner_defaults(
    a: Architecture, recipe: Mapping[str, object], gpu: Gpu | None = None
) -> dict[str, str | bool]:
    """Return the runner's settings for a model beside those of `recipe`: attention, kernels, loss,
    update.

    Blocks are compiled only where the recipe asks for it. The runner has no device `mps`.
    """
    if not can_train(a) or (gpu and gpu.device == "mps"):
        return {}
    return {
        "attention": runner.attention(
            a, str(recipe.get("compute", "bf16")), flash=gpu is None or gpu.flash
        ),
        "packed": runner.packs(a),
        "kernels": runner.kernels(a, str(recipe.get("checkpointing"))),
        "loss": runner.loss(a, "linear"),
        "step": _step(recipe),
        "experts_cast": runner.casts_experts(a, compiled=recipe.get("kernels") == "fused"),
        "torch_delta": a.has_delta_rule,  # no option of the runner installs its kernels
        **({"frozen_tower": True} if a.vision else {}),
    }


def _step(recipe: Mapping[str, object]) -> str:
    """Return the optimizer implementation for the optimizer in `recipe`."""
    asked = str(recipe.get("optimizer", "adamw")).removesuffix("_momentum")
    name = asked if asked in runner.OPTIMIZERS else "adamw"
    narrow = recipe.get("params") != "fp32" and recipe.get("master", "fp32") is None
    rounds = narrow and asked in runner.ROUNDED
    rounding = str(recipe.get("rounding", "nearest")) if rounds else "nearest"
    return str(runner.optimizer(name, "fp32", momentum=False, rounding=rounding)["step"])


SHARDED: Final[dict[str, Any]] = {"outer_apart": True}
"""How the runner shards a model over its GPUs by default: `Cluster.of_runner`."""


def can_train(a: Architecture) -> bool:
    """Return whether the runner fine-tunes such models."""
    return a.model_type not in _UNTRAINABLE and not a.is_encoder


PROGRAM: Final = "unfrozen"
TORCHRUN: Final = "torchrun"
"""Both without a path, which the page adds where its server knows it."""
RENDEZVOUS: Final = "--rdzv-id 1 --rdzv-backend c10d --rdzv-endpoint FIRST_HOST:29500"


@dataclass(frozen=True, slots=True)
class Launch:
    """Processes, one a GPU, and a step by the runner's options.

    gpus         all processes; fewer than the plan's where a step has too few sequences for all
    sequences    of one step of the plan, all GPUs together
    micro_batch  sequences that one GPU computes at once
    grad_accum   micro-batches of a step, all GPUs together: a multiple of `gpus`
    machine      GPUs that a machine has
    """

    gpus: int
    sequences: int
    micro_batch: int
    grad_accum: int
    machine: int = NODE_GPUS

    @property
    def machines(self) -> int:
        """How many machines hold them."""
        return -(-self.gpus // self.machine)

    @property
    def each(self) -> int:
        """GPUs of each machine; where they differ, of each but the last."""
        return self.machine if self.gpus % self.machines else self.gpus // self.machines

    @property
    def last(self) -> int:
        """GPUs of the last machine."""
        return self.gpus - self.each * (self.machines - 1)


def launch(job: Job) -> Launch:
    """Return the most GPUs of the plan that can take an equal part of its step, and that part."""
    recipe, cluster = job.recipe, job.cluster
    sequences = recipe.micro_batch * recipe.grad_accum * cluster.replicas
    gpus = min(gcd(sequences, cluster.gpus), MOST_MICRO_BATCHES)
    own = sequences // gpus
    most = min(recipe.micro_batch, own, MOST_AT_ONCE)
    at_once = next(size for size in range(most, 0, -1) if own % size == 0)
    rounds = min(own // at_once, MOST_MICRO_BATCHES // gpus)
    machine = job.gpu.node_gpus if job.gpu else NODE_GPUS
    return Launch(gpus, sequences, at_once, rounds * gpus, machine)


def launch_command(found: Launch) -> list[str]:
    """Return the lines of the command up to `train`."""
    if found.gpus == 1:
        return [f"{PROGRAM} train"]
    if found.machines == 1:
        return [f"{TORCHRUN} --standalone --nproc-per-node {found.each}", "-m gpu_runner train"]
    nodes = f"--nnodes {found.machines} --nproc-per-node {found.each}"
    return [TORCHRUN, nodes, RENDEZVOUS, "-m gpu_runner train"]


def launch_notes(found: Launch) -> str:
    """Return where to type the command, and what `--grad-accum` counts; empty for one GPU."""
    if found.gpus == 1:
        return ""
    counted = f"--grad-accum counts the micro-batches of all {found.gpus:,} GPUs together."
    if found.machines == 1:
        return f"This starts {found.gpus} processes, one per GPU. {counted}"
    last = f", on the last with --nproc-per-node {found.last}" if found.last != found.each else ""
    return (
        f"Type it on each of {found.machines:,} machines{last}; {found.machine} GPUs per machine"
        " are assumed. Each needs the same files at the same paths, and a shared runs/ folder."
        " FIRST_HOST is the name of one machine whose port 29500 the others can reach."
        f" {counted} docs/scale.md has scripts for Slurm and SkyPilot."
    )


def replica_size(cluster: Cluster, gpus: int) -> int | None:
    """Return GPUs that hold one replica of the model, where the runner has several replicas."""
    size = cluster.shard_size
    fits = size is not None and 1 < size < gpus and gpus % size == 0
    return size if fits and cluster.stage == 3 else None


def run_of(job: Job, found: Launch) -> Job:
    """Return the job that the command starts: the plan, as far as the runner supports it."""
    model = job.model.language  # a vision encoder is frozen
    recipe, a = job.recipe, model.architecture
    exact = recipe.params == "fp32" or recipe.master == "fp32"
    offloads = exact and job.cluster.offload == "optimizer" and optimizer_name(recipe) == "adamw"
    narrow = recipe.params == "bf16" and (offloads or not exact)
    width = "bf16" if narrow else "fp32"
    asked = ("checkpointing", "kernels", "compute")
    own: dict[str, Any] = runner_defaults(a, {key: getattr(recipe, key) for key in asked}, job.gpu)
    own |= {"kernels": recipe.kernels} if recipe.kernels in ("eager", "fused") else {}
    if recipe.loss in runner.LOSSES.values() and a.has_plain_head:
        own["loss"] = recipe.loss
    optimizer = _optimizer(recipe, width)
    own["step"] = optimizer.pop("step")
    if offloads:
        optimizer |= {"moments": "fp32", "rounding": "nearest"}
    run = Recipe(
        params=width,
        compute=_compute(recipe, width),
        master="fp32" if offloads and narrow else None,
        grads=width,
        **optimizer,
        micro_batch=found.micro_batch,
        seq_len=min(max(runner.LENGTHS[0], recipe.seq_len), runner.LENGTHS[1]),
        grad_accum=found.grad_accum // found.gpus,
        checkpointing=recipe.checkpointing,
        activation_offload=recipe.activation_offload and found.gpus == 1,
        optimizer_in_backward=recipe.optimizer_in_backward and found.grad_accum == found.gpus,
        ema=recipe.ema,
        frozen_tower=model.frozen > 0,
        **own,
    )
    replica = replica_size(job.cluster, found.gpus)
    cluster = Cluster.of_runner(found.gpus, offload=offloads)
    cluster = replace(cluster, shard_size=replica, **SHARDED)
    return replace(job, model=model, recipe=run, cluster=cluster)


def _compute(recipe: Recipe, width: str) -> str:
    """Return the runner's compute dtype: fp16 is that of fp32 weights alone."""
    known = ("fp32", "bf16", "fp16") if width == "fp32" else ("fp32", "bf16")
    return recipe.compute if recipe.compute in known else "bf16"


def optimizer_name(recipe: Recipe) -> str:
    """Return the runner's name of an optimizer; AdamW instead of one it lacks."""
    if recipe.optimizer == "adamw" and recipe.moments == "int8":
        return "adamw8bit"
    name = recipe.optimizer.removesuffix("_momentum")
    return name if name in runner.OPTIMIZERS else "adamw"


def _optimizer(recipe: Recipe, width: str) -> dict[str, Any]:
    """Return the optimizer, moments, step and rounding."""
    name = optimizer_name(recipe)
    rounds = width == "bf16" and name in runner.ROUNDED
    rounding = recipe.rounding if rounds else "nearest"
    momentum = recipe.optimizer == "sgd_momentum"
    own = runner.optimizer(name, width, momentum=momentum, rounding=rounding)
    return own | ({} if own["moments"] == "int8" or name == "sgd" else {"rounding": rounding})

"""Seconds that a step waits for the host: offloaded states and activations, kernel launches."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from unfrozen.hardware import HOST_MEMORY_GB_S, Gpu, host_link_gb_s
from unfrozen.job import Job
from unfrozen.job.recipe import BYTES
from unfrozen.plan import plan_job
from unfrozen.plan.timing.calibration import Calibration
from unfrozen.plan.timing.passes import moment_width, trained, update_bytes
from unfrozen.units import GB

LAUNCH_SECONDS: Final = 8e-6
"""Assumed of eager PyTorch: Python, dispatcher, autograd and launch of one kernel. The least that a
launch alone takes is 2.5 µs; the whole way is given as 5 to 25 µs."""
COMPILED_SECONDS: Final = 5e-6
"""Assumed of a compiled kernel: the launcher that Inductor writes, without the dispatcher."""
HOOK_KERNELS: Final = 40
"""Assumed: what FSDP's hooks cost the host a layer and pass, in kernels: wait, copy in, gather,
copy out, free, and what a scatter adds (torch/distributed/fsdp, `_fsdp_param_group.py`)."""
TENSORS_A_LAYER: Final = 9
"""Of a Llama's: four matrices of attention, three of the MLP, two norms."""
UPDATE_KERNELS: Final = {
    **{"fused": 0.2, "sub_groups": 0.2, "foreach": 1.0},
    **{"for_loop": 14.0, "rows": 14.0},
}
"""Assumed: kernels of the update a tensor; fused and foreach ones take many tensors at once."""


def launch_seconds(job: Job, measured: Calibration | None = None) -> float:
    """Return the host's seconds per kernel launch of the passes."""
    if measured and measured.launch_us:
        return measured.launch_us * 1e-6
    return COMPILED_SECONDS if job.recipe.kernels == "fused" else LAUNCH_SECONDS


def update_seconds(job: Job, memory: float) -> float:
    """Return seconds of the update on the GPU: its shard at `memory` bytes/s, kernels."""
    cluster, recipe = job.cluster, job.recipe
    if cluster.offload != "none":
        return 0.0
    parts = cluster.tensor_parallel * cluster.pipeline_parallel
    own = trained(job) / parts / (cluster.shards if cluster.stage else 1)
    tensors = TENSORS_A_LAYER * job.model.architecture.layers / cluster.pipeline_parallel
    kernels = UPDATE_KERNELS[recipe.step] * tensors
    return own * update_bytes(recipe) / memory + kernels * launch_seconds(job)


def passes(job: Job) -> int:
    """Return how often a micro-batch reads the weights."""
    return 3 if job.recipe.checkpointing == "full" else 2


def state_seconds(job: Job, gpu: Gpu) -> float:
    """Return the seconds of offloaded states: gradients down, weights up and the host's update, or
    moments there and back.
    """
    recipe, cluster = job.recipe, job.cluster
    parts = cluster.tensor_parallel * cluster.pipeline_parallel
    parts *= cluster.shards if cluster.stage else 1
    own, link = trained(job) / parts, GB * host_link_gb_s(gpu)
    seconds = 0.0
    if cluster.offload != "none":
        moved = BYTES[recipe.grads] + BYTES[recipe.params]
        states = 2 * ((4 if recipe.master else 0) + moment_width(recipe)) + moved
        seconds += own * (moved / link + states / (GB * HOST_MEMORY_GB_S))
    elif recipe.paged:
        seconds += 2 * own * moment_width(recipe) / link
    if cluster.offload == "params":
        weights = BYTES[recipe.params] * job.model.num_parameters / parts
        seconds += recipe.grad_accum * passes(job) * weights / link
    return seconds


def activation_seconds(job: Job, gpu: Gpu) -> float:
    """Return the seconds of activation offload, there and back."""
    if not job.recipe.activation_offload:
        return 0.0
    kept = plan_job(replace(job, recipe=replace(job.recipe, activation_offload=False)))
    here, there = (
        planned.instants["end_of_forward"].get("activations", 0)
        for planned in (plan_job(job), kept)
    )
    return 2 * job.recipe.grad_accum * max(0, there - here) / (GB * host_link_gb_s(gpu))

"""Seconds that a step waits for the host: offloaded states and activations, kernel launches."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from unfrozen.hardware import HOST_MEMORY_GB_S, Gpu, host_link_gb_s
from unfrozen.job import Job
from unfrozen.job.lora import targets
from unfrozen.job.recipe import BYTES
from unfrozen.plan import plan_job
from unfrozen.plan.timing.passes import moment_width, trained, update_bytes
from unfrozen.units import GB

FORWARD_SECONDS: Final = 18e-6
BACKWARD_SECONDS: Final = 10e-6
"""Of the host for one kernel of eager PyTorch: Python, dispatcher and autograd forward; backward
the engine alone, which is C++. Layers of a Llama 32 wide, of transformers 5.24 with PEFT 0.21 and
PyTorch 2.13 on an AMD EPYC, take 1.5 ms of processor time forward and 1.1 ms backward: 15.5 and 7.5
µs for each kernel that a GPU would run (docs/host_floor.py, as all below). The launch itself adds
at least 2.5 µs."""
COMPILED_SECONDS: Final = 5e-6
"""Assumed of a compiled kernel: the launcher that Inductor writes, without the dispatcher."""
FSDP_SECONDS: Final = 0.8e-3
"""Of the host for the hooks of one layer and one pass under FSDP2 (`fully_shard` of the same layers
on the same processor, one process)."""
DEEPSPEED_SECONDS: Final = 0.4e-3
"""Of the host to gather one weight and release it, once in each pass, recomputation included, under
ZeRO-3 of DeepSpeed 0.19 (the same layers, with hooks on every module)."""
DEEPSPEED_GRADIENT_SECONDS: Final = 0.09e-3
"""Of the host for the gradient of one weight under ZeRO-1 and ZeRO-2 of DeepSpeed (the same)."""
_BY_DEEPSPEED: Final = ("deepspeed", "llama-factory", "ms-swift")
"""Frameworks whose ZeRO is DeepSpeed's (`--deepspeed zero3`)."""
TENSORS_A_LAYER: Final = 9
"""Of a Llama's: four matrices of attention, three of the MLP, two norms."""
UPDATE_KERNELS: Final = {
    **{"fused": 0.2, "sub_groups": 0.2, "foreach": 1.0},
    **{"for_loop": 14.0, "rows": 14.0},
}
"""Assumed: kernels of the update a tensor; fused and foreach ones take many tensors at once."""


def launch_seconds(job: Job) -> tuple[float, float]:
    """Return the host's seconds for a kernel of the forward pass and of the backward pass."""
    if job.recipe.kernels == "fused":
        return (COMPILED_SECONDS,) * 2
    return FORWARD_SECONDS, BACKWARD_SECONDS


def hook_seconds(job: Job) -> float:
    """Return the host's seconds for the hooks of sharding, of one micro-batch."""
    cluster, lora = job.cluster, job.recipe.lora
    layers = job.model.architecture.layers / cluster.pipeline_parallel
    weights = layers * TENSORS_A_LAYER
    if job.framework and job.framework.name in _BY_DEEPSPEED:
        adapted = 2 * layers * len(targets(job.model, lora)) if lora else 0
        if cluster.stage == 3:
            return DEEPSPEED_SECONDS * passes(job) * (weights + adapted)
        return DEEPSPEED_GRADIENT_SECONDS * (adapted or weights) if cluster.stage else 0.0
    return 2 * FSDP_SECONDS * layers if cluster.stage == 3 else 0.0


def update_seconds(job: Job, memory: float) -> float:
    """Return seconds of the update on the GPU: its shard at `memory` bytes/s, kernels."""
    cluster, recipe = job.cluster, job.recipe
    if cluster.offload != "none":
        return 0.0
    parts = cluster.tensor_parallel * cluster.pipeline_parallel
    own = trained(job) / parts / (cluster.shards if cluster.stage else 1)
    tensors = TENSORS_A_LAYER * job.model.architecture.layers / cluster.pipeline_parallel
    kernels = UPDATE_KERNELS[recipe.step] * tensors
    return own * update_bytes(recipe) / memory + kernels * launch_seconds(job)[1]


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
        planned.instants["end_of_forward"]["activations"] for planned in (plan_job(job), kept)
    )
    return 2 * job.recipe.grad_accum * max(0, there - here) / (GB * host_link_gb_s(gpu))

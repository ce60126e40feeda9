"""What a plan needs beside its GPUs: memory of each machine's host, disk, and what evaluating and
saving take.

Weights are read in parts where a framework does (unfrozen, torchtitan, Megatron-LM) or DeepSpeed
shards them; whole by one process of a machine under accelerate's FSDP (`fsdp_cpu_ram_efficient_
loading`), unless they are quantized (transformers 5.24 `modeling_utils.py`); else by every process.
A checkpoint holds weights and optimizer states.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from unfrozen.frameworks.parallel_trainers import MEGATRON, TORCHTITAN
from unfrozen.frameworks.registry import UNFROZEN
from unfrozen.frameworks.transformers_trainers import ACCELERATE, AXOLOTL
from unfrozen.hardware import Gpu
from unfrozen.job import Job
from unfrozen.job.recipe import BYTES
from unfrozen.memory.states import state_bytes
from unfrozen.plan import plan_job
from unfrozen.plan.host_memory import host_bytes
from unfrozen.plan.step_time import job_gpu
from unfrozen.units import GB

USUAL_HOST_GB: Final = 250
"""Assumed host memory for each GPU with fast links: a DGX H100 has 2 TB for eight (NVIDIA, DGX
H100/H200 user guide, hardware overview)."""
PLAIN_HOST_GB: Final = 64
"""Assumed host memory for each GPU without such links: of a workstation, or of a cloud's machine
with one (64 GB beside an L4 in AWS g6.4xlarge)."""
_IN_PARTS: Final = (UNFROZEN, TORCHTITAN, MEGATRON, "")
EVALUATED: Final = 8
"""Sequences that transformers evaluates at once unless told otherwise
(`per_device_eval_batch_size`, `training_args.py`)."""


@dataclass(frozen=True, slots=True)
class Needs:
    """Bytes of a machine's host while weights are read, steps run and a checkpoint is written; of a
    checkpoint and of the finished model on disk.
    """

    load: int
    steps: int
    save: int
    checkpoint: int
    finished: int

    @property
    def host(self) -> int:
        """The most at once: what is offloaded stays while a checkpoint is written."""
        return max(self.load, self.steps + self.save)


def usual_host_bytes(gpu: Gpu, gpus: int) -> int:
    """Return the host memory that a machine with so many of a GPU usually has."""
    return min(gpus, gpu.node_gpus) * (USUAL_HOST_GB if gpu.link_gb_s else PLAIN_HOST_GB) * GB


def needs(job: Job, framework: str) -> Needs:
    """Return what a job needs beside its GPUs in a framework ("": any)."""
    cluster, sizes = job.cluster, state_bytes(job.model, job.recipe)
    local = min(cluster.gpus, job_gpu(job).node_gpus)
    spread = cluster.tensor_parallel * cluster.pipeline_parallel
    spread *= cluster.shards if cluster.stage == 3 else 1
    fsdp = framework in (ACCELERATE, AXOLOTL) and cluster.stage > 0
    whole = framework not in _IN_PARTS and (fsdp or cluster.stage < 3)
    readers = 1 if fsdp and job.recipe.base is None else local
    found = host_bytes(
        job.model,
        job.recipe,
        parts=spread,
        local=local,
        reading="whole" if whole else "parts",
        writing="shards" if cluster.stage == 3 else "whole",
    ).machine
    trained = ("adapters", "master", "moments")
    frozen = job.recipe.lora is not None
    kept = sum(sizes[name] for name in (trained if frozen else (*trained, "params")))
    return Needs(
        found["load"] * readers // local,
        _offloaded(job, framework, local),
        found["save"],
        kept,
        sizes["adapters"] if frozen else sizes["params"],
    )


def _offloaded(job: Job, framework: str, local: int) -> int:
    """Return the bytes of states and activations that wait in the host of one machine.

    Those of the runner are gradients in fp32, unless it steps in backward, and a copy of weights
    that are fp32 on the GPU.
    """
    cluster, recipe = job.cluster, job.recipe
    sizes = state_bytes(job.model, recipe)
    if framework == UNFROZEN:
        wide = sizes["grads"] * BYTES["fp32"] // BYTES[recipe.grads]
        sizes["grads"] = 0 if recipe.optimizer_in_backward else wide
        sizes["master"] = sizes["master"] or sizes["params"]
    away = {
        "none": (),
        "optimizer": ("master", "moments"),
        "params": ("master", "moments", "params"),
    }
    names = list(away[cluster.offload])
    if names and cluster.stage >= 2:
        names.append("grads")
    copies = 1 if cluster.stage else cluster.alike
    states = copies * sum(sizes[name] for name in names) * local // cluster.gpus
    if recipe.paged:
        states += sizes["moments"] * local // cluster.gpus
    if not recipe.activation_offload:
        return states
    kept = plan_job(replace(job, recipe=replace(recipe, activation_offload=False)))
    here, there = (
        one.instants["end_of_forward"].get("activations", 0) for one in (plan_job(job), kept)
    )
    return states + local * max(0, there - here)


def evaluation_bytes(job: Job, sequences: int) -> int:
    """Return what a GPU holds while so many sequences are evaluated at once: at most the end of a
    forward pass that keeps a hidden state a layer, without gradients.
    """
    recipe = replace(
        job.recipe,
        micro_batch=sequences,
        grad_accum=1,
        checkpointing="full",
        activation_offload=False,
    )
    found = plan_job(
        replace(
            job,
            recipe=recipe,
            cluster=replace(job.cluster, pipeline_schedule="1f1b", pipeline_chunks=None),
        )
    )
    parts = found.instants["end_of_forward"]
    held = sum(size for name, size in parts.items() if name != "grads")
    return held + found.roomy_bytes - found.allocated_bytes

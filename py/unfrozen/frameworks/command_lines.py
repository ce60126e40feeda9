"""Shared parts of the frameworks' commands: checks, launchers, line breaks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from unfrozen.errors import PlanError
from unfrozen.job import Job
from unfrozen.plan.step_time import job_gpu
from unfrozen.planner.runner import RENDEZVOUS

FIRST_HOST: Final = "FIRST_HOST"
"""A placeholder for the name of one machine that the others can reach."""
_COMMON: Final = {"method": "full", "optimizer": "adamw", "rounding": "nearest"}
_OFF: Final = ("paged", "optimizer_in_backward", "activation_offload", "packed", "no_sync")


def refuse(job: Job, framework: str, **allowed: tuple[Any, ...]) -> None:
    """Raises PlanError where a key of the cluster or the recipe has a value that is not allowed."""
    for key, values in allowed.items():
        part = "cluster" if hasattr(job.cluster, key) else "recipe"
        value = getattr(getattr(job, part), key)
        if value not in values:
            bound = f"{framework} has no option for it"
            options = ", ".join("null" if each is None else str(each) for each in values)
            raise PlanError(f"{part}.{key}", value, bound, f"use {options}")


def trained_by_adamw(job: Job, framework: str, **own: Any) -> Job:
    """Return a job of AdamW with all weights, in the dtypes of a framework. Raises PlanError."""
    refuse(job, framework, **{key: (value,) for key, value in _COMMON.items()})
    refuse(job, framework, compute=("bf16", "fp32"), device_map=(False,))
    off = dict.fromkeys(_OFF, False)
    own = {"compute": "bf16", "moments": "fp32", "step": "fused", **off, **own}
    return replace(job, recipe=replace(job.recipe, **own))


def machines(job: Job) -> tuple[int, int]:
    """Return the number of machines of a job, and of GPUs in each."""
    gpus, each = job.cluster.gpus, job_gpu(job).node_gpus
    count = -(-gpus // each)
    return (count, each) if gpus % count else (count, gpus // count)


def torchrun(job: Job) -> str:
    """Return the launcher that starts a process per GPU, the same line on every machine."""
    count, each = machines(job)
    if count == 1:
        return f"torchrun --standalone --nproc-per-node {each}"
    return f"torchrun --nnodes {count} --nproc-per-node {each} {RENDEZVOUS}"


def accelerate_launch(job: Job) -> str:
    """Return accelerate's launcher; RANK is the machine's number, from 0."""
    count, _ = machines(job)
    text = f"accelerate launch --num_machines {count} --num_processes {job.cluster.gpus}"
    reach = f" --machine_rank RANK --main_process_ip {FIRST_HOST} --main_process_port 29500"
    return text + (reach if count > 1 else "")


def lines(*parts: str) -> str:
    """Return the parts of a command, one per line."""
    return " \\\n  ".join(part for part in parts if part)

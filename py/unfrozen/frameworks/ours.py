"""`gpu_runner`, typed as `unfrozen train`: FSDP2 over all cards, each with sequences of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from unfrozen.errors import PlanError
from unfrozen.frameworks.words import refuse
from unfrozen.job import Job
from unfrozen.planner.command import typed_command
from unfrozen.planner.launch import launch
from unfrozen.planner.runner import can_train, run_of

NAME: Final = "unfrozen"


def takes(job: Job) -> Job:
    """The job as the runner trains it. Raises PlanError where it cannot."""
    cluster, recipe = job.cluster, job.recipe
    refuse(
        job,
        NAME,
        method=("full",),
        tensor_parallel=(1,),
        context_parallel=(1,),
        pipeline_parallel=(1,),
        expert_parallel=(1,),
        shard_size=(None, cluster.alike),
        device_map=(False,),
        offload=("none",),
        sharding=("none",) if cluster.gpus == 1 else ("zero3",),
    )
    model_type, found = job.model.architecture.model_type, launch(job)
    if not can_train(job.model.architecture):
        raise PlanError("model.model_type", model_type, "the runner cannot train it", "use another")
    run = run_of(job, found)
    same = (recipe.micro_batch, recipe.grad_accum, recipe.seq_len, cluster.gpus)
    if same != (run.recipe.micro_batch, run.recipe.grad_accum, run.recipe.seq_len, found.cards):
        bound = "the runner cannot deal these sequences out so"
        raise PlanError("recipe.micro_batch", recipe.micro_batch, bound, "use another")
    spread = replace(run.cluster, shard_size=cluster.shard_size)
    return replace(run, cluster=spread)


def command(job: Job) -> str:
    """What to type on every machine; MODEL is a name of the hub or a folder."""
    groups = job.cluster.shard_size
    grouped = f" \\\n  --set shard_size={groups}" if groups else ""
    return typed_command(job, launch(job), "MODEL") + grouped

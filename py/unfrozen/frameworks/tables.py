"""A layout in letters, and inverse questions as text and as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from unfrozen.answer.text import solved_text as largest_text
from unfrozen.errors import PlanError
from unfrozen.frameworks.registry import FRAMEWORKS
from unfrozen.job import Job
from unfrozen.plan import Plan, format_gpu
from unfrozen.plan.layouts import Route, clusters, job_on_fewest_gpus, with_cluster
from unfrozen.plan.solve import MOST, largest, min_gpus
from unfrozen.plan.step_time import job_gpu

MESH: Final = {
    "tensor_parallel": "tp",
    "context_parallel": "cp",
    "pipeline_parallel": "pp",
    "expert_parallel": "ep",
}
"""Parallelisms beside data, in the letters that every framework uses."""


def mesh(job: Job) -> str:
    """Return the sizes of each parallelism: "dp32 tp2", replicas first."""
    cluster = job.cluster
    counts = {name: getattr(cluster, key) for key, name in MESH.items()}
    shared = [f"{name}{count}" for name, count in counts.items() if count > 1]
    if cluster.pipeline_parallel > 1 and cluster.pipeline_schedule == "interleaved":
        shared[-1 - (cluster.expert_parallel > 1)] += f"×{cluster.chunks}"
    return " ".join([f"dp{cluster.replicas}", *shared])


def zero_stage(job: Job) -> str:
    """Return the ZeRO stage of a job: "–", "3", in groups of eight "3/8"."""
    cluster = job.cluster
    if not cluster.stage:
        return "–"
    grouped = f"/{cluster.shards}" if cluster.shards < cluster.alike else ""
    return f"{cluster.stage}{grouped}"


def refusal(ways: Sequence[Route], gpus: int, framework: str = "") -> str:
    """Return why the framework runs no layout of a job, and who does; without one, why none of
    them does. "" where it runs one.
    """
    found = {one.name: _first_refusal(one, gpus) for one in ways}
    runs = [FRAMEWORKS[name].label for name, why in found.items() if why is None]
    first = found[framework] if framework else next(iter(found.values()))
    if first is None or (runs and not framework):
        return ""
    if framework:
        who = FRAMEWORKS[framework].label
    else:  # what most of them refuse
        who, refused = "No framework here", [one for one in found.values() if one]
        keys = [one.key for one in refused]
        first = max(refused, key=lambda one: keys.count(one.key))
    does = "does not run" if framework else "runs"
    rest = f" This job runs in {', '.join(runs)}." if runs else ""
    return f"{who} {does} {first.key} = {first.value}: {first.bound}; {first.remedy}.{rest}"


def _first_refusal(way: Route, gpus: int) -> PlanError | None:
    """Return what a way refuses of the layouts that share most; None where it takes one."""
    refused = None
    for cluster in clusters(way.job, gpus):
        try:
            assert way.takes
            way.takes(with_cluster(way.job, cluster))
        except PlanError as error:
            refused = refused or error
        else:
            return None
    return refused


KEYS: Final = (*MOST, "gpus")


def solved_data(planned: Plan, key: str) -> dict[str, Any]:
    """Return the answer under the key that was asked for. Raises PlanError as the solvers do."""
    if key != "gpus":
        return {key: largest(planned, key)}
    found = job_on_fewest_gpus(planned)
    count = found.cluster.gpus if found else 0
    recipe = {"checkpointing": found.recipe.checkpointing} if found else None
    return {"gpus": count, "cluster": asdict(found.cluster) if found else None, "recipe": recipe}


def solved_text(planned: Plan, key: str) -> str:
    """Return the answer as text. Raises PlanError as the solvers do."""
    if key == "gpus":
        return fewest_text(planned, job_on_fewest_gpus(planned))
    return largest_text(planned, key, largest(planned, key))


def fewest_text(planned: Plan, found: Job | None) -> str:
    """Return the fewest GPUs in a sentence: their mesh, sharding and recomputation, and how many
    the job itself takes under ZeRO-3 where that is more.
    """
    gpu = job_gpu(planned.job)
    if found is None:
        return f"No number of GPUs holds this job on the {format_gpu(gpu)}, however sharded."
    stage, again = zero_stage(found), found.recipe.checkpointing
    how = [mesh(found)] if found.cluster.gpus > 1 else []
    how += [f"ZeRO-{stage}"] if stage != "–" else []
    how += [f"checkpointing {again}"] if again != planned.job.recipe.checkpointing else []
    text = f"Fewest GPUs: {found.cluster.gpus:,} × {gpu.name}"
    text += f" ({', '.join(how)})." if how else "."
    own = min_gpus(planned)
    if own == found.cluster.gpus:
        return text
    if not own:
        return f"{text} As it is, no number of them holds the job under ZeRO-3 alone."
    return f"{text} As it is, under ZeRO-3: {own:,}."

"""Ranked layouts and inverse questions, as text for a terminal of 80 columns and as plain data."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from unfrozen.answer.text import solved_text as largest_text
from unfrozen.answer.text import table
from unfrozen.errors import PlanError
from unfrozen.frameworks.registry import FRAMEWORKS, LAUNCHED, Framework, commands
from unfrozen.job import Job
from unfrozen.plan import Plan, format_gpu
from unfrozen.plan.layouts import (
    Layout,
    clusters,
    job_on_fewest_gpus,
    layouts,
    with_cluster,
)
from unfrozen.plan.record import band
from unfrozen.plan.solve import MOST, largest, min_gpus
from unfrozen.plan.step_time import job_gpu
from unfrozen.units import gib, sig3

WIDEST: Final = 80
SHOWN: Final = 10
"""Layouts of a table; data has them all."""
CAUSES: Final = {
    "products": "matmuls",
    "attention": "attention",
    "memory": "memory",
    "launches": "launches",
    "update": "update",
    "host": "host",
    "inside": "links",
    "between": "network",
    "bubbles": "pipeline",
}
"""What binds a step, in a word for each cause of `StepTime`."""
RECOMPUTED: Final = {"none": "–", "selective": "some", "full": "all"}
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


def layouts_text(
    job: Job, gpus: int, found: Sequence[Layout], framework: str | None, price: float | None
) -> str:
    """Return the best layouts, a line each, and the command of the first."""
    gpu = job_gpu(job)
    if not found:
        if framework and (refused := _refused(job, gpus, FRAMEWORKS[framework])):
            return refused
        run = f" that {FRAMEWORKS[framework].label} runs" if framework else ""
        return f"No layout{run} fits {gpus:,} × {format_gpu(gpu)}; --solve gpus finds how many do."
    first = found[0]
    head = (
        f"{gpus:,} × {gpu.name}, {first.sequences:,} × {first.job.recipe.seq_len:,} tokens a step:"
        " the fastest layouts that fit"
    )
    rows = [_head(price), *(_row(one, price) for one in found[:SHOWN])]
    lines = table(rows, left=3)
    if max(map(len, lines.splitlines())) > WIDEST:
        lines = table([[*cells, last.partition(" ")[0]] for *cells, last in rows], left=3)
    return "\n".join([head, "", lines, "", _notes(first.job, price), "", _typed(first, framework)])


def _refused(job: Job, gpus: int, framework: Framework) -> str:
    """Return why a framework runs no layout of a job, and who does; "" where it runs one."""
    found = {name: _first_refusal(job, gpus, one) for name, one in FRAMEWORKS.items()}
    refused = found[framework.name]
    if refused is None:
        return ""
    others = [FRAMEWORKS[name].label for name, why in found.items() if why is None]
    rest = f" This job runs in {', '.join(others)}." if others else ""
    text = f"{framework.label} does not run {refused.key} = {refused.value}: {refused.bound};"
    text += f" {refused.remedy}.{rest}"
    return textwrap.fill(text, WIDEST - 1)


def _first_refusal(job: Job, gpus: int, framework: Framework) -> PlanError | None:
    """Return what a framework refuses of the layouts that share most; None where it takes one."""
    refused = None
    for cluster in clusters(job, gpus):
        try:
            framework.adapt(with_cluster(job, cluster))
        except PlanError as error:
            refused = refused or error
        else:
            return None
    return refused


def layouts_data(found: Sequence[Layout], price: float | None) -> list[dict[str, Any]]:
    """Return every layout, fastest first: recipe, cluster, sizes, times and commands."""
    return [_data(one, price) for one in found]


def _data(one: Layout, price: float | None) -> dict[str, Any]:
    cause, share = one.binds
    return {
        "cluster": asdict(one.job.cluster),
        "recipe": one.job.recipe.as_json(),
        "device_gib": gib(one.device_bytes),
        "step_seconds": one.seconds,
        "seconds": asdict(one.time),
        "tokens_per_second": one.tokens_per_second,
        "card_hours_per_billion_tokens": one.gpu_hours,
        "cost_per_billion_tokens": None if price is None else price * one.gpu_hours,
        "bound_by": cause,
        "bound_share": share,
        "commands": commands(one.job),
    }


def _head(price: float | None) -> list[str]:
    cost = "h/B" if price is None else "cost/B"
    return ["layout", "ZeRO", "redo", "batch", "GiB", "tokens/s", cost, "bound by"]


def _row(one: Layout, price: float | None) -> list[str]:
    recipe, (cause, share) = one.job.recipe, one.binds
    cost = one.gpu_hours * (1 if price is None else price)
    return [
        mesh(one.job),
        zero_stage(one.job),
        RECOMPUTED[recipe.checkpointing],
        f"{recipe.grad_accum}×{recipe.micro_batch}",
        sig3(gib(one.device_bytes)),
        f"{one.tokens_per_second:,.0f}",
        f"{cost:,.0f}" if cost >= 100 else sig3(cost),
        f"{CAUSES[cause]} {100 * share:.0f}%",
    ]


def _notes(job: Job, price: float | None) -> str:
    cost = "h/B: GPU-hours" if price is None else "cost/B: what"
    text = (
        "dp data, tp tensor, cp context, pp pipeline, ep expert parallel. redo: what backward"
        " recomputes. batch: micro-batches of a replica × sequences in each."
        f" {cost} a billion tokens take. Estimates: {band(job)}."
    )
    return textwrap.fill(text, WIDEST - 1)


def _typed(first: Layout, framework: str | None) -> str:
    """Return the command of the named framework, or of each that starts the first as is."""
    if framework:
        chosen = FRAMEWORKS[framework]
        return f"The first, by {chosen.label}:\n\n{chosen.command(first.job)}"
    known = commands(first.job)
    if not known:
        names = ", ".join(FRAMEWORKS)
        return f"For a command, name the framework, which may change the recipe: --run-by\n{names}."
    parts = [f"The first, by {FRAMEWORKS[name].label}:\n\n{text}" for name, text in known.items()]
    return "\n\n".join(parts)


KEYS: Final = (*MOST, "gpus", "layout")
MOST_PRICE: Final = 10_000


@dataclass(frozen=True, slots=True)
class Inverse:
    """What is solved, one of KEYS; of layouts, for how many GPUs (None: the job's) and sequences
    of a step (None: the job's, in proportion), run by whom, and what a GPU costs an hour.
    """

    key: str
    gpus: int | None = None
    sequences: int | None = None
    run_by: str | None = None
    price: float | None = None


def solved_data(planned: Plan, asked: Inverse) -> dict[str, Any]:
    """Return the answer under the key that was asked for. Raises PlanError as the solvers do."""
    if asked.key == "layout":
        return {"layout": layouts_data(_layouts(planned, asked), asked.price)}
    if asked.key != "gpus":
        return {asked.key: largest(planned, asked.key)}
    found = job_on_fewest_gpus(planned)
    count = found.cluster.gpus if found else 0
    return {"gpus": count, "cluster": asdict(found.cluster) if found else None}


def solved_text(planned: Plan, asked: Inverse) -> str:
    """Return the answer as text. Raises PlanError as the solvers do."""
    if asked.key == "layout":
        found = _layouts(planned, asked)
        gpus, by = _gpus(planned, asked), _by(planned, asked)
        return layouts_text(planned.job, gpus, found, by, asked.price)
    if asked.key == "gpus":
        return fewest_text(planned, job_on_fewest_gpus(planned))
    return largest_text(planned, asked.key, largest(planned, asked.key))


def fewest_text(planned: Plan, found: Job | None) -> str:
    """Return the fewest GPUs in a sentence, and their sharding where it differs from the job's."""
    job, gpu = planned.job, job_gpu(planned.job)
    own = f"ZeRO-{job.cluster.stage}" if job.cluster.stage else "not sharded"
    if found is None:
        return f"No number of GPUs holds this job on the {format_gpu(gpu)}, however sharded."
    count = f"{found.cluster.gpus:,} × {gpu.name}"
    if found.cluster.stage == job.cluster.stage or found.cluster.alike == 1:
        return f"Fewest GPUs, {own}: {count}."
    if min_gpus(planned):
        return f"Fewest GPUs, ZeRO-3: {count}; {own}, no number of them holds the job."
    stage = zero_stage(found)
    how = mesh(found) if stage == "–" else f"{mesh(found)}, ZeRO-{stage}"
    return f"Fewest GPUs: {count} ({how}); under ZeRO-3 alone, no number of them holds the job."


def _layouts(planned: Plan, asked: Inverse) -> list[Layout]:
    if asked.price is not None and not 0 <= asked.price <= MOST_PRICE:
        bound = f"it must lie in 0 … {MOST_PRICE:,}"
        raise PlanError("price", asked.price, bound, "correct it")
    by = _by(planned, asked)
    takes = FRAMEWORKS[by].adapt if by else None
    return layouts(planned.job, _gpus(planned, asked), asked.sequences, takes)


def _by(planned: Plan, asked: Inverse) -> str | None:
    """Return the framework that runs the job: the named one, else that of its defaults."""
    chosen = planned.job.framework
    return asked.run_by or (LAUNCHED.get(chosen.name) if chosen else None)


def _gpus(planned: Plan, asked: Inverse) -> int:
    return planned.job.cluster.gpus if asked.gpus is None else asked.gpus

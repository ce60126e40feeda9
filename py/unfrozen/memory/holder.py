"""Whose memory a plan tells, where cards hold different layers: that of the one that needs most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from unfrozen.job.cluster import Cluster
from unfrozen.memory.explain import Question
from unfrozen.memory.instants import Step, fullest_rank

SCHEDULES: Final = {
    "gpipe": "GPipe",
    "1f1b": "1F1B",
    "interleaved": "interleaved 1F1B",
    "zero_bubble": "ZB-H1",
    "zb_h2": "ZB-H2",
    "zb_v": "ZB-V",
    "dualpipe_v": "DualPipeV",
    "dualpipe": "DualPipe",
}


@dataclass(frozen=True, slots=True)
class Holder:
    """The rank, from 0, of `ranks`; the numbers of its layers, from 0; which ends it has; and the
    stages' micro-batches in flight on it beside the one at work.
    """

    rank: int
    ranks: int
    layers: tuple[int, ...]
    embedding: bool
    head: bool
    in_flight: int


def holder(job: Question) -> Holder | None:
    """The rank that a plan of the job is of; None where all cards hold the same layers."""
    cluster = job.cluster
    if not cluster.device_map and cluster.pipeline_parallel == 1:
        return None
    rank = fullest_rank(job.model, job.recipe, cluster)
    step = Step(job.model, job.recipe, cluster, rank=rank)
    a = step.local.architecture
    layers = a.part.layers if a.part else tuple(range(a.layers))
    ranks = cluster.gpus if cluster.device_map else cluster.pipeline_parallel
    return Holder(rank, ranks, layers, a.has_embedding, a.has_head, step.in_flight)


def holder_words(job: Question) -> str:
    """The same as a sentence; empty where all cards hold the same layers."""
    found = holder(job)
    if found is None:
        return ""
    cluster = job.cluster
    where = "cards" if cluster.device_map else f"ranks ({SCHEDULES[cluster.pipeline_schedule]})"
    ends = [name for name in ("embedding", "head") if getattr(found, name)]
    parts = [f"layers {_ranges(found.layers)}", *(f"the {end}" for end in ends)]
    held = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
    first = f"Of {found.ranks} {where} number {found.rank + 1} needs most: it has {held}"
    if not found.in_flight:
        return f"{first}."
    of = " of one of its stages each" if cluster.chunks > 1 else ""
    return f"{first}, and {found.in_flight} more micro-batches{of} in flight."


def layout_words(cluster: Cluster) -> list[str]:
    """Layers, experts and copies of a cluster that is more than sharded, in a few words each."""
    asked = (
        (cluster.shards < cluster.alike, f"among {cluster.shards} of them"),
        (
            cluster.pipeline_parallel > 1,
            f"pipeline of {cluster.pipeline_parallel} ({SCHEDULES[cluster.pipeline_schedule]})",
        ),
        (cluster.expert_parallel > 1, f"experts shared by {cluster.expert_parallel}"),
        (cluster.device_map, "layers spread by device map"),
    )
    return [words for holds, words in asked if holds]


def _ranges(layers: tuple[int, ...]) -> str:
    """Numbers from 1 in runs: "1–4, 17–20"."""
    runs: list[list[int]] = []
    for layer in sorted(layers):
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    return ", ".join(
        f"{run[0] + 1}–{run[-1] + 1}" if len(run) > 1 else str(run[0] + 1) for run in runs
    )

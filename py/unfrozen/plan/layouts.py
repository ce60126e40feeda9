"""Layouts of a job over a number of GPUs: those that a model and a step allow, and the fastest that
fit, found by search.

A layout is a mesh (GPUs that share a layer, a sequence, the depth) and how the states of GPUs that
hold the same are sharded. What does not divide is left out, and so is what nobody would run: tensor
parallelism beyond the GPUs that fast links join, or else the machine (Narayanan et al., arXiv
2104.04473, takeaway 1; Llama 3, arXiv 2407.21783, section 3.3.2). The sequences of a step stay the
same, so that all layouts train alike and compare by time; of each cluster the fastest is kept.

The search goes by the least time that a cluster could take, and ends where that is more than what
was found. Within a cluster, not planned is what cannot win:

- recomputation where the same micro-batch fits with less of it;
- q sequences shared by q times as many GPUs, where each could take one of its own: a GPU computes
  the same, and only has more to send;
- larger micro-batches where a smaller one is too large with everything recomputed. Memory never
  falls with the micro-batch while gradients are accumulated: a pipeline that has fewer of them in
  flight has larger ones. The step without accumulation, which frees gradients earlier, is planned
  apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from heapq import heappop, heappush
from math import gcd, inf, prod
from typing import Any, Final

from unfrozen.errors import ModelError, PlanError
from unfrozen.job import Job
from unfrozen.job.cluster import SHARDINGS, Cluster
from unfrozen.job.layout import check_layout
from unfrozen.plan import Plan, plan_job
from unfrozen.plan.solve import fewest_gpus, min_gpus
from unfrozen.plan.step_time import StepTime, job_gpu, step_time

MOST_GPUS: Final = 4096
RECOMPUTED: Final = ("none", "selective", "full")
"""Of `recipe.checkpointing`, the fastest first."""
WHOLE_LOGITS: Final = ("logits_fp32", "logits_bf16")
SCHEDULES: Final = ("1f1b", "interleaved")
"""Those that both torchtitan and Megatron-LM run; the second with two stages a GPU."""


def clusters(job: Job, gpus: int) -> Iterator[Cluster]:
    """Yield every layout of this many GPUs that can be planned, with the job's offload.

    Raises PlanError for a number of GPUs that cannot be searched.
    """
    if type(gpus) is not int or not 1 <= gpus <= MOST_GPUS:
        bound = f"layouts are searched for 1 … {MOST_GPUS:,} GPUs"
        raise PlanError("gpus", gpus, bound, "name a number in between")
    for mesh in _meshes(job, gpus, DIMENSIONS):
        for sharing in _other_settings(job, mesh, gpus):
            try:
                yield Cluster.read(_fixed_settings(job.cluster) | mesh | sharing | {"gpus": gpus})
            except PlanError:
                continue


def divisors(number: int) -> list[int]:
    """Return the divisors of a whole number above 0, ascending."""
    low = [d for d in range(1, int(number**0.5) + 1) if number % d == 0]
    return low + [number // d for d in reversed(low) if d * d != number]


def linked_gpus(job: Job) -> int:
    """Return how many GPUs fast links join; those of a machine without such links."""
    gpu = job_gpu(job)
    return gpu.linked_gpus if gpu.link_gb_s else gpu.node_gpus


def _meshes(job: Job, gpus: int, dimensions: tuple[Dimension, ...]) -> Iterator[dict[str, int]]:
    """Yield every mesh of the GPUs; data parallelism takes those that are left."""
    if not dimensions:
        yield {}
        return
    (key, allows), *rest = dimensions
    for ranks in divisors(gpus):
        if allows(job, ranks):
            for others in _meshes(job, gpus // ranks, tuple(rest)):
                yield {key: ranks, **others}


def _shares_layers(job: Job, ranks: int) -> bool:
    if ranks > linked_gpus(job):
        return False
    try:
        job.model.split(ranks)
    except ModelError:
        return False
    return True


def _divides_sequences(job: Job, ranks: int) -> bool:
    """Return whether context parallelism divides a sequence: each takes a chunk from its head and
    one from its tail, as torchtitan and Megatron-LM demand.
    """
    return ranks == 1 or job.recipe.seq_len % (2 * ranks) == 0


def _shares_depth(job: Job, ranks: int) -> bool:
    return ranks <= job.model.architecture.layers


Dimension = tuple[str, Callable[[Job, int], bool]]
DIMENSIONS: Final[tuple[Dimension, ...]] = (
    ("tensor_parallel", _shares_layers),
    ("context_parallel", _divides_sequences),
    ("pipeline_parallel", _shares_depth),
)
"""Keys of a cluster that multiply to its GPUs, each with what a job allows; innermost first."""


def _other_settings(job: Job, mesh: dict[str, int], gpus: int) -> Iterator[dict[str, Any]]:
    """Yield the other settings of a layout: sharding, experts, pipeline schedule."""
    alike, tensor = gpus // prod(mesh.values()), mesh["tensor_parallel"]
    alike *= mesh["context_parallel"]
    experts = job.model.architecture.experts
    counts = divisors(experts.count) if experts else [1]
    for spread in _zero_stages(alike, linked_gpus(job) // tensor):
        for schedule in SCHEDULES if mesh["pipeline_parallel"] > 1 else SCHEDULES[:1]:
            for count in counts:
                if count <= alike * tensor:
                    # GPUs that hold experts of their own hold them whole
                    whole = {"expert_tensor_parallel": 1} if count > 1 and tensor > 1 else {}
                    yield {
                        **spread,
                        **whole,
                        "pipeline_schedule": schedule,
                        "expert_parallel": count,
                        "sequence_parallel": tensor > 1,
                    }


def _zero_stages(alike: int, near: int) -> Iterator[dict[str, Any]]:
    """Yield the ZeRO stages over all replicas, and over those that fast links join."""
    if alike == 1:
        yield {"sharding": "none"}
        return
    for sharding in SHARDINGS:
        yield {"sharding": sharding}
    if 1 < near < alike and alike % near == 0:
        yield {"sharding": "zero3", "shard_size": near}


def _fixed_settings(cluster: Cluster) -> dict[str, Any]:
    """Return the settings that are not part of a layout: offload, and how a framework gathers."""
    own = {entry.name: getattr(cluster, entry.name) for entry in fields(cluster)}
    return {key: value for key, value in own.items() if key not in LAID_OUT}


LAID_OUT: Final = frozenset(
    {"gpus", "sharding", "shard_size", "tensor_parallel", "sequence_parallel", "context_parallel"}
    | {"pipeline_parallel", "pipeline_schedule", "pipeline_chunks", "pipeline_layers"}
    | {"expert_parallel", "expert_tensor_parallel", "device_map"}
)
"""What a layout says of a cluster, or leaves at its default."""


def with_cluster(job: Job, cluster: Cluster, **recipe: Any) -> Job:
    """Return the job on a cluster, full logits split by the vocabulary under tensor parallelism.

    Whole logits are split by the vocabulary where GPUs share a layer, as Megatron-LM, torchtitan
    and accelerate do.
    """
    if cluster.tensor_parallel > 1 and job.recipe.loss in WHOLE_LOGITS:
        recipe["loss"] = "vocab_parallel"
    return replace(job, cluster=cluster, recipe=replace(job.recipe, **recipe))


MOST_SEQUENCES: Final = 1_000_000
MOST_KEPT: Final = 20
Takes = Callable[[Job], Job]
"""What a framework makes of a job; raises PlanError where it cannot run it."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A layout that fits: its job, what a GPU holds (bytes), and seconds of a step by cause."""

    job: Job
    device_bytes: int
    time: StepTime

    @property
    def seconds(self) -> float:
        """Of one step."""
        return self.time.seconds

    @property
    def tokens_per_second(self) -> float:
        """All GPUs together."""
        return self.sequences * self.job.recipe.seq_len / self.seconds

    @property
    def sequences(self) -> int:
        """Of one step, all GPUs together."""
        return step_sequences(self.job, self.job.cluster.gpus)

    @property
    def gpu_hours(self) -> float:
        """Of a billion tokens."""
        return self.job.cluster.gpus * 1e9 / self.tokens_per_second / 3600

    @property
    def binds(self) -> tuple[str, float]:
        """What takes the largest share of a step: a cause of `StepTime`, and that share."""
        cause, seconds = next(iter(self.time.parts().items()))
        return cause, seconds / self.seconds


def layouts(
    job: Job,
    gpus: int,
    sequences: int | None = None,
    takes: Takes | None = None,
    most: int = MOST_KEPT,
) -> list[Layout]:
    """Return the fastest layouts of this many GPUs that fit, at most `most`; see `Search`."""
    search = Search(job, gpus, sequences, takes, most)
    while search.advance():
        pass
    return search.found


class Search:
    """A search for layouts that can pause between two plans.

    `sequences` of a step default to the job's own, in proportion where the number of GPUs is
    another. The GPU is the job's, or one of 80 GB where it names none. Raises PlanError for a
    number that cannot be searched. `found` has the fastest layouts so far, `most` at the end.
    """

    def __init__(
        self,
        job: Job,
        gpus: int,
        sequences: int | None = None,
        takes: Takes | None = None,
        most: int = MOST_KEPT,
    ) -> None:
        self.sequences = step_sequences(job, gpus) if sequences is None else sequences
        if type(self.sequences) is not int or not 1 <= self.sequences <= MOST_SEQUENCES:
            bound = f"a step has a whole number of them in 1 … {MOST_SEQUENCES:,}"
            raise PlanError("sequences", self.sequences, bound, "correct it")
        self.found: list[Layout] = []
        self.looked = self.planned = 0  # clusters that can run the step; plans of their jobs
        self.over = False
        self._work: Iterator[bool] = iter(())
        self._job, self._takes, self._most = job, takes, most
        self._left = clusters(job, gpus)
        self._queue: list[tuple[float, int, list[list[Job]]]] = []

    def advance(self) -> bool:
        """Look at one more cluster, or one more plan of it; return whether anything is left."""
        if next(self._work, None) is not None:
            return True
        cluster = next(self._left, None)
        if cluster is not None:
            return self._enqueue(cluster)
        least, _, jobs = heappop(self._queue) if self._queue else (inf, 0, [])
        if not jobs or (len(self.found) == self._most and least > self.found[-1].seconds):
            self._queue.clear()
            self.over = True
            return False
        self._work = self._find_fastest(jobs)
        return True

    def _enqueue(self, cluster: Cluster) -> bool:
        if self.sequences % cluster.replicas == 0:
            jobs = _jobs(self._job, cluster, self.sequences // cluster.replicas, self._takes)
            if jobs:
                self.looked += 1
                heappush(self._queue, (_least_seconds(jobs), len(self._queue), jobs))
        return True

    def _find_fastest(self, jobs: list[list[Job]]) -> Iterator[bool]:
        """Find the fastest plan of a cluster that fits and could be kept, a plan at a time."""
        limit = self.found[-1].seconds if len(self.found) == self._most else inf
        best: Layout | None = None
        first, last = jobs[0], jobs[-1]
        too_large = self._holds(first[-1]) is None
        yield True
        for taken in jobs:
            if too_large and taken is not last:
                continue
            for job in taken:
                time = step_time(job)
                if time.seconds > limit:  # and so are those that recompute more
                    break
                device_bytes = self._holds(job)
                yield True
                if device_bytes is not None:
                    layout = Layout(job, device_bytes, time)
                    best = layout if best is None else min(best, layout, key=_rank)
                    limit = best.seconds
                    break
            else:
                too_large = True
        if best:
            self.found = sorted([*self.found, best], key=_rank)[: self._most]

    def _holds(self, job: Job) -> int | None:
        """Return the bytes of a job on a GPU; None where it does not fit."""
        self.planned += 1
        size = plan_job(job).device_bytes
        return size if size <= job_gpu(job).capacity_bytes else None


def step_sequences(job: Job, gpus: int) -> int:
    """Return the sequences of a step, scaled to a number of GPUs; at least one."""
    recipe, cluster = job.recipe, job.cluster
    own = recipe.micro_batch * recipe.grad_accum * cluster.replicas
    return max(1, own * gpus // cluster.gpus)


def job_on_fewest_gpus(planned: Plan) -> Job | None:
    """Return the job on the fewest GPUs that hold it; None where no number does.

    As it is sharded, else with everything sharded (ZeRO-3), else by the fastest layout of the
    fewest GPUs in powers of two.
    """
    job = planned.job
    for sharding, count in ((job.cluster.sharding, fewest_gpus), ("zero3", min_gpus)):
        if gpus := count(planned):
            over_all = replace(job.cluster, gpus=gpus, device_map=False, shard_size=None)
            shared = sharding if over_all.alike > 1 else "none"
            return replace(job, cluster=replace(over_all, sharding=shared))
    gpus = 1
    while gpus <= MOST_GPUS:
        if _holds(job, gpus) and (found := layouts(job, gpus, most=1)):
            return found[0].job
        gpus *= 2
    return None


def _holds(job: Job, gpus: int) -> bool:
    """Return whether some layout of this many GPUs holds the job."""
    capacity, sequences = job_gpu(job).capacity_bytes, step_sequences(job, gpus)
    for cluster in clusters(job, gpus):
        least = cluster.sharding == "zero3" or cluster.alike == 1
        if least and not cluster.shard_size and sequences % cluster.replicas == 0:
            jobs = _jobs(job, cluster, sequences // cluster.replicas, None)
            ends = (jobs[0][-1], jobs[-1][-1]) if jobs else ()
            if any(plan_job(one).device_bytes <= capacity for one in ends):
                return True
    return False


def _jobs(job: Job, cluster: Cluster, own: int, takes: Takes | None) -> list[list[Job]]:
    """Return jobs on a cluster with `own` sequences a replica, by micro-batch and recompute."""
    found = []
    for micro in divisors(own):
        if gcd(micro, cluster.context_parallel) == 1:
            size = {"micro_batch": micro, "grad_accum": own // micro}
            asked = (with_cluster(job, cluster, checkpointing=name, **size) for name in RECOMPUTED)
            taken = [legal for one in asked if (legal := _adapt(one, takes))]
            found += [taken] if taken else []
    return found


def _least_seconds(jobs: list[list[Job]]) -> float:
    """Return a lower bound of the step time of any job of a cluster.

    The time per token falls with the micro-batch, the pipeline bubble grows with it, and
    recomputation takes time.
    """
    small, large = step_time(jobs[0][0]), step_time(jobs[-1][0])
    return large.seconds - large.bubbles + min(small.bubbles, large.bubbles)


def _adapt(job: Job, takes: Takes | None) -> Job | None:
    """Return the job as the framework runs it; None where it cannot."""
    try:
        check_layout(job.model, job.recipe, job.cluster)
        _check_rounds(job)
        return takes(job) if takes else job
    except PlanError:
        return None


def _check_rounds(job: Job) -> None:
    """Interleaved pipelines take micro-batches in rounds of one a rank, and nothing that is updated
    early waits for a second micro-batch.
    """
    cluster, count = job.cluster, job.recipe.grad_accum
    rounds = cluster.pipeline_parallel if cluster.pipeline_schedule == "interleaved" else 1
    if count % rounds or (job.recipe.early_update and count > 1):
        raise PlanError("recipe.grad_accum", count, "it cannot be dealt out so", "use another")


def _rank(one: Layout) -> tuple[float, int, int, int, int]:
    cluster = one.job.cluster
    shared = cluster.tensor_parallel * cluster.context_parallel * cluster.pipeline_parallel
    seconds = float(f"{one.seconds:.9g}")  # sums in another order differ in the last digits
    return seconds, one.device_bytes, shared, cluster.expert_parallel, cluster.stage

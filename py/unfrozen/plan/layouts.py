"""Layouts of a job over a number of GPUs: those that a model and a step allow, and the fastest that
fit, found by search.

A layout is a mesh (GPUs that share a layer, a sequence, the depth) and how the states of GPUs that
hold the same are sharded. What does not divide is left out, and so is what nobody would run: tensor
parallelism beyond the GPUs that fast links join, or else the machine (Narayanan et al., arXiv
2104.04473, takeaway 1; Llama 3, arXiv 2407.21783, section 3.3.2), and context parallelism of short
sequences (`LEAST_CHUNK`). The sequences of a step stay the
same, so that all layouts train alike and compare by time; of each cluster the fastest is kept, and
the simplest of those that no estimate can tell apart goes first (`NEAR`).

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

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from heapq import heappop, heappush
from math import gcd, inf, prod
from typing import Any, Final, NamedTuple

from unfrozen.errors import ModelError, PlanError
from unfrozen.job import Job
from unfrozen.job.cluster import SHARDINGS, Cluster
from unfrozen.job.layout import check_layout
from unfrozen.job.recipe import Recipe
from unfrozen.plan import Plan, plan_job
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


LEAST_CHUNK: Final = 4096
"""Tokens that each GPU of context parallelism has at least: Megatron Bridge 0.3.1 splits no
sequence below 8,192 tokens in any of its recipes, and that one in two."""


def _divides_sequences(job: Job, ranks: int) -> bool:
    """Return whether context parallelism divides a sequence: each takes a chunk from its head and
    one from its tail, as torchtitan and Megatron-LM demand, and enough of them.
    """
    length = job.recipe.seq_len
    return ranks == 1 or (length % (2 * ranks) == 0 and length >= ranks * LEAST_CHUNK)


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
    for spread in _zero_stages(alike, linked_gpus(job) // tensor, job.cluster.offload):
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


def _zero_stages(alike: int, near: int, offload: str) -> Iterator[dict[str, Any]]:
    """Yield the ZeRO stages over all replicas, and over those that fast links join.

    One GPU has nothing to shard, but gradients and weights to offload by the stages that do it.
    """
    if alike == 1:
        for sharding in SHARDINGS if offload != "none" else SHARDINGS[:1]:
            yield {"sharding": sharding}
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
    | {"expert_parallel", "expert_tensor_parallel"}
)
"""What a layout says of a cluster, or leaves at its default."""


def with_cluster(job: Job, cluster: Cluster) -> Job:
    """Return the job on a cluster, full logits split by the vocabulary under tensor parallelism.

    Whole logits are split by the vocabulary where GPUs share a layer, as Megatron-LM, torchtitan
    and accelerate do.
    """
    recipe = job.recipe
    if cluster.tensor_parallel > 1 and recipe.loss in WHOLE_LOGITS:
        recipe = replace(recipe, loss="vocab_parallel")
    return replace(job, cluster=cluster, recipe=recipe)


MOST_SEQUENCES: Final = 1_000_000
MOST_KEPT: Final = 20
NEAR: Final = 0.1
"""Share of its time by which an estimate does not tell two layouts apart: half of the published
speeds on GPUs with fast links lie within 5 to 7% of theirs, and a comparison has two estimates."""
Takes = Callable[[Job], Job]
"""What a framework makes of a job; raises PlanError where it cannot run it."""


class Route(NamedTuple):
    """A way to run a job: a recipe and an offload, in a framework that `takes` it (None: any)."""

    job: Job
    takes: Takes | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class Layout:
    """A layout that fits: its job, what a GPU holds (bytes), seconds of a step by cause, and the
    name of the way it is run.
    """

    job: Job
    device_bytes: int
    time: StepTime
    way: str = ""

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


def layouts(
    job: Job,
    gpus: int,
    sequences: int | None = None,
    takes: Takes | None = None,
    most: int = MOST_KEPT,
) -> list[Layout]:
    """Return the fastest layouts of this many GPUs that fit, at most `most`; see `Search`."""
    return Search((Route(job, takes),), gpus, sequences, most).finish()


class Search:
    """A search for layouts of a job, run in one of several ways, that can pause between two plans.

    `sequences` of a step default to the first job's own, in proportion where the number of GPUs is
    another. The GPU is the job's, or one of 80 GB where it names none. Raises PlanError for a
    number that cannot be searched. `found` has the layouts so far; at the end `most` of
    them, the simplest of the fastest first.
    """

    def __init__(
        self,
        ways: Sequence[Route],
        gpus: int,
        sequences: int | None = None,
        most: int = MOST_KEPT,
    ) -> None:
        self.sequences = step_sequences(ways[0].job, gpus) if sequences is None else sequences
        if type(self.sequences) is not int or not 1 <= self.sequences <= MOST_SEQUENCES:
            bound = f"a step has a whole number of them in 1 … {MOST_SEQUENCES:,}"
            raise PlanError("sequences", self.sequences, bound, "correct it")
        self.found: list[Layout] = []
        self.looked = self.planned = 0  # clusters that can run the step; plans of their jobs
        self.over = False
        self._work: Iterator[bool] = iter(())
        self._most = most
        self._seen: set[tuple[str, Job]] = set()
        self._names = [way.name for way in ways]
        self._left = ((way, cluster) for way in ways for cluster in clusters(way.job, gpus))
        self._queue: list[tuple[float, int, str, list[list[Job]]]] = []

    def finish(self) -> list[Layout]:
        """Search to the end; return the layouts."""
        while self.advance():
            pass
        return self.found

    def advance(self) -> bool:
        """Look at one more cluster, or one more plan of it; return whether anything is left."""
        if next(self._work, None) is not None:
            return True
        if (one := next(self._left, None)) is not None:
            return self._enqueue(*one)
        least, _, name, jobs = heappop(self._queue) if self._queue else (inf, 0, "", [])
        if not jobs or least > self._limit():
            self._queue.clear()
            self.found = simplest_first(self.found, self._names)[: self._most]
            self.over = True
            return False
        self._work = self._find_fastest(name, jobs)
        return True

    def _limit(self) -> float:
        """Return the seconds above which a layout is neither kept nor near the fastest."""
        if len(self.found) < self._most:
            return inf
        return max(self.found[self._most - 1].seconds, (1 + NEAR) * self.found[0].seconds)

    def _enqueue(self, way: Route, cluster: Cluster) -> bool:
        own, rest = divmod(self.sequences, cluster.replicas)
        if rest or self._is_seen(way, cluster, own):
            return True
        jobs = _jobs(way.job, cluster, own, way.takes)
        if jobs:
            self.looked += 1
            heappush(self._queue, (_least_seconds(jobs), len(self._queue), way.name, jobs))
        return True

    def _is_seen(self, way: Route, cluster: Cluster, own: int) -> bool:
        """Return whether a framework makes of a way what it made of an earlier one."""
        recipe = _batch(way.job.recipe, 1, own, "full")
        try:
            probe = _adapt(with_cluster(replace(way.job, recipe=recipe), cluster), way.takes)
        except PlanError:
            return False
        seen = (way.name, probe) in self._seen
        self._seen.add((way.name, probe))
        return seen

    def _find_fastest(self, name: str, jobs: list[list[Job]]) -> Iterator[bool]:
        """Find the fastest plan of a cluster that fits and could be kept, a plan at a time."""
        limit = self._limit()
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
                    layout = Layout(job, device_bytes, time, name)
                    best = layout if best is None else min(best, layout, key=_rank)
                    limit = best.seconds
                    break
            else:
                too_large = True
        if best:
            self.found = sorted([*self.found, best], key=_rank)

    def _holds(self, job: Job) -> int | None:
        """Return the bytes of a job on a GPU; None where it does not fit."""
        self.planned += 1
        planned = plan_job(job)
        holds = planned.safe_bytes <= job_gpu(job).capacity_bytes
        return planned.device_bytes if holds else None


def simplest_first(found: Sequence[Layout], names: Sequence[str] = ()) -> list[Layout]:
    """Return layouts, the fastest first, with the simplest of those near it in front: the one with
    the fewest kinds of parallelism beside data and experts, then of the way that `names` has first.
    """
    ranked = sorted(found, key=lambda one: (1 / one.tokens_per_second, _rank(one)))
    least = ranked[0].tokens_per_second / (1 + NEAR) if ranked else 0.0
    near = [one for one in ranked if one.tokens_per_second >= least]
    order = {name: place for place, name in reversed(list(enumerate(names)))}
    first = sorted(near, key=lambda one: (_kinds(one.job.cluster), order.get(one.way, len(order))))[
        :1
    ]
    return [*first, *(one for one in ranked if one not in first)]


def _kinds(cluster: Cluster) -> int:
    shared = (cluster.tensor_parallel, cluster.context_parallel, cluster.pipeline_parallel)
    return sum(count > 1 for count in shared)


def step_sequences(job: Job, gpus: int) -> int:
    """Return the sequences of a step, scaled to a number of GPUs; at least one."""
    recipe, cluster = job.recipe, job.cluster
    own = recipe.micro_batch * recipe.grad_accum * cluster.replicas
    return max(1, own * gpus // cluster.gpus)


def job_on_fewest_gpus(planned: Plan) -> Job | None:
    """Return the job on the fewest GPUs that hold it, by the first of their layouts; None where no
    number does.

    Sharding, parallelism, micro-batch and recomputation are searched; a machine's GPUs are counted
    one by one, more of them by whole machines.
    """
    job, each = planned.job, job_gpu(planned.job).node_gpus
    for gpus in range(1, each + 1):
        if _holds(job, gpus) and (found := layouts(job, gpus, most=1)):
            return found[0].job
    machines = 2
    while machines * each <= MOST_GPUS and not _holds(job, machines * each):
        machines *= 2
    if machines * each > MOST_GPUS:
        return None
    low = machines // 2
    while machines - low > 1:
        middle = (low + machines) // 2
        low, machines = (low, middle) if _holds(job, middle * each) else (middle, machines)
    found = layouts(job, machines * each, most=1)
    return found[0].job if found else None


def _holds(job: Job, gpus: int) -> bool:
    """Return whether some layout of this many GPUs holds the job."""
    capacity, sequences = job_gpu(job).capacity_bytes, step_sequences(job, gpus)
    for cluster in clusters(job, gpus):
        least = cluster.sharding == "zero3" or cluster.alike == 1
        if least and not cluster.shard_size and sequences % cluster.replicas == 0:
            jobs = _jobs(job, cluster, sequences // cluster.replicas, None)
            ends = (jobs[0][-1], jobs[-1][-1]) if jobs else ()
            if any(plan_job(one).safe_bytes <= capacity for one in ends):
                return True
    return False


def _jobs(job: Job, cluster: Cluster, own: int, takes: Takes | None) -> list[list[Job]]:
    """Return jobs on a cluster with `own` sequences a replica, by micro-batch and recompute."""
    found: list[list[Job]] = []
    for micro in divisors(own):
        if gcd(micro, cluster.context_parallel) > 1:
            continue
        taken = []
        for name in RECOMPUTED:
            recipe = _batch(job.recipe, micro, own // micro, name)
            try:
                taken.append(_adapt(with_cluster(replace(job, recipe=recipe), cluster), takes))
            except PlanError as error:
                if error.key.startswith("cluster."):  # whatever the batch
                    return []
        found += [taken] if taken else []
    return found


@lru_cache(maxsize=1024)
def _batch(recipe: Recipe, micro_batch: int, grad_accum: int, checkpointing: str) -> Recipe:
    return replace(
        recipe, micro_batch=micro_batch, grad_accum=grad_accum, checkpointing=checkpointing
    )


def _least_seconds(jobs: list[list[Job]]) -> float:
    """Return a lower bound of the step time of any job of a cluster.

    The time per token falls with the micro-batch, the pipeline bubble grows with it, and
    recomputation takes time.
    """
    small, large = step_time(jobs[0][0]), step_time(jobs[-1][0])
    return large.seconds - large.bubbles + min(small.bubbles, large.bubbles)


def _adapt(job: Job, takes: Takes | None) -> Job:
    """Return the job as the framework runs it. Raises PlanError where it cannot."""
    found = takes(job) if takes else job
    check_layout(found.model, found.recipe, found.cluster)
    _check_rounds(found)
    return found


def _check_rounds(job: Job) -> None:
    """Interleaved pipelines take micro-batches in rounds of one a rank, and nothing that is updated
    early waits for a second micro-batch.
    """
    cluster, count = job.cluster, job.recipe.grad_accum
    rounds = cluster.pipeline_parallel if cluster.pipeline_schedule == "interleaved" else 1
    if count % rounds or (job.recipe.optimizer_in_backward and count > 1):
        raise PlanError("recipe.grad_accum", count, "it cannot be dealt out so", "use another")


def _rank(one: Layout) -> tuple[float, int, int, int, int]:
    cluster = one.job.cluster
    shared = cluster.tensor_parallel * cluster.context_parallel * cluster.pipeline_parallel
    seconds = float(f"{one.seconds:.9g}")  # sums in another order differ in the last digits
    return seconds, one.device_bytes, shared, cluster.expert_parallel, cluster.stage

"""The layouts of a job over a number of cards that fit them, the fastest first.

A layout says which cards share a layer, a sequence, the depth or the experts (`dimensions`), how
states are spread, what is recomputed, and how many sequences go through at once. The sequences of a
step stay the same, so that all layouts train alike and compare by time.

Not searched is what cannot win:

- recomputation where the same micro-batch fits with less of it;
- q sequences shared by q times as many cards, where each could take one of its own: a card computes
  the same, and only has more to send;
- larger micro-batches where a smaller one is too large, and all of them where the smallest is even
  with everything recomputed. Memory never falls with the micro-batch while gradients are
  accumulated; the step without accumulation, which frees them earlier, and pipelines, which keep
  fewer micro-batches where there are fewer, are planned each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from math import gcd
from typing import Final

from unfrozen.errors import PlanError
from unfrozen.job import Job
from unfrozen.job.cluster import Cluster
from unfrozen.job.layout import check_layout
from unfrozen.plan.dimensions import MOST_CARDS, RECOMPUTED, clusters, divisors, laid_out
from unfrozen.plan.fit import Plan, plan_job
from unfrozen.plan.solve import fewest_gpus, min_gpus
from unfrozen.plan.step_time import StepTime, card_of, step_time

MOST_SEQUENCES: Final = 1_000_000
Takes = Callable[[Job], Job]
"""What a framework makes of a job; raises PlanError where it cannot run it."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A layout that fits: its job, what a card holds (bytes), and seconds of a step by cause."""

    job: Job
    device_bytes: int
    time: StepTime

    @property
    def seconds(self) -> float:
        """Of one step."""
        return self.time.seconds

    @property
    def tokens_per_second(self) -> float:
        """All cards together."""
        return self.sequences * self.job.recipe.seq_len / self.seconds

    @property
    def sequences(self) -> int:
        """Of one step, all cards together."""
        return step_sequences(self.job, self.job.cluster.gpus)

    @property
    def card_hours(self) -> float:
        """Of a billion tokens."""
        return self.job.cluster.gpus * 1e9 / self.tokens_per_second / 3600

    @property
    def binds(self) -> tuple[str, float]:
        """What takes the largest share of a step: a cause of `StepTime`, and that share."""
        causes = asdict(self.time)
        cause = max(causes, key=lambda name: causes[name])
        return cause, causes[cause] / self.seconds


def layouts(
    job: Job, gpus: int, sequences: int | None = None, takes: Takes | None = None
) -> list[Layout]:
    """Layouts of this many cards that fit, the fastest first; see `search`."""
    return ranked([one for some in search(job, gpus, sequences, takes) for one in some])


def search(
    job: Job, gpus: int, sequences: int | None = None, takes: Takes | None = None
) -> Iterator[list[Layout]]:
    """Layouts that fit the job's card (80 GB where it names none), cluster by cluster.

    `sequences` of a step default to the job's own, in proportion where the number of cards is
    another. Raises PlanError for a number that cannot be searched.
    """
    if sequences is None:
        sequences = step_sequences(job, gpus)
    if type(sequences) is not int or not 1 <= sequences <= MOST_SEQUENCES:
        bound = f"a step has a whole number of them in 1 … {MOST_SEQUENCES:,}"
        raise PlanError("sequences", sequences, bound, "correct it")
    capacity = card_of(job).capacity_bytes
    for cluster in clusters(job, gpus):
        if sequences % cluster.replicas == 0:
            own = sequences // cluster.replicas
            yield [
                Layout(found, size, step_time(found))
                for found, size in _fitting(job, cluster, own, takes, capacity)
            ]


def step_sequences(job: Job, gpus: int) -> int:
    """Sequences of a step of the job, scaled to a number of cards; at least one."""
    recipe, cluster = job.recipe, job.cluster
    own = recipe.micro_batch * recipe.grad_accum * cluster.replicas
    return max(1, own * gpus // cluster.gpus)


def ranked(found: list[Layout]) -> list[Layout]:
    """The fastest first; of equals those that hold less, then those that share out fewer things."""
    return sorted(found, key=_rank)


def fewest_cards(planned: Plan) -> Job | None:
    """The job on the fewest cards that hold it; None where no number does.

    As it is sharded, else with everything sharded (ZeRO-3), else by the fastest layout of the fewest
    cards in powers of two.
    """
    job = planned.job
    for sharding, count in ((job.cluster.sharding, fewest_gpus), ("zero3", min_gpus)):
        if gpus := count(planned):
            over_all = replace(job.cluster, gpus=gpus, device_map=False, shard_size=None)
            shared = sharding if over_all.alike > 1 else "none"
            return replace(job, cluster=replace(over_all, sharding=shared))
    gpus = 1
    while gpus <= MOST_CARDS:
        if found := layouts(job, gpus):
            return found[0].job
        gpus *= 2
    return None


def _fitting(
    job: Job, cluster: Cluster, own: int, takes: Takes | None, capacity: int
) -> Iterator[tuple[Job, int]]:
    """Jobs of one cluster that fit, and their bytes; `own` sequences a replica in each step."""
    too_large = False
    for micro in divisors(own):
        if gcd(micro, cluster.context_parallel) > 1 or (too_large and micro < own):
            continue
        size = {"micro_batch": micro, "grad_accum": own // micro}
        asked = [laid_out(job, cluster, checkpointing=name, **size) for name in RECOMPUTED]
        taken = [found for one in asked if (found := _taken(one, takes))]
        fitting = _least_recomputed(taken, capacity)
        if fitting:
            yield fitting
        elif taken:
            too_large = cluster.pipeline_parallel == 1


def _least_recomputed(jobs: list[Job], capacity: int) -> tuple[Job, int] | None:
    """The first of jobs that fits, with its bytes; the last is the smallest."""
    if not jobs or plan_job(jobs[-1]).device_bytes > capacity:
        return None
    for job in jobs:
        device_bytes = plan_job(job).device_bytes
        if device_bytes <= capacity:
            return job, device_bytes
    return None


def _taken(job: Job, takes: Takes | None) -> Job | None:
    """The job as it will run, or None where it cannot."""
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

"""How a plan is started: its cards as processes on machines, and its step in the runner's words.

The plan counts micro-batches a replica, the runner those of all cards together, so that the number
of cards never changes what a step computes (docs/scale.md). The runner shards everything over all
cards and lets no two of them share a layer or a sequence: each takes sequences of its own. The
product `micro_batch · grad_accum` is therefore the plan's sequences of a step, dealt out evenly.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import Final

from unfrozen.hardware.gpus import NODE_GPUS
from unfrozen.job import Job
from unfrozen.job.cluster import Cluster
from unfrozen.planner.elsewhere import copies, experts, pipeline
from unfrozen.runner import MOST_AT_ONCE, MOST_MICRO_BATCHES

PROGRAM: Final = "unfrozen"
TORCHRUN: Final = "torchrun"
"""Both without a path: the page puts one before them where its server knows it."""
RENDEZVOUS: Final = "--rdzv-id 1 --rdzv-backend c10d --rdzv-endpoint FIRST_HOST:29500"


@dataclass(frozen=True, slots=True)
class Launch:
    """Processes, one a card, and a step as the runner is told it.

    cards        all processes; fewer than the plan's where a step has too few sequences for all
    sequences    of one step of the plan, all cards together
    micro_batch  sequences that one card computes at once
    grad_accum   micro-batches of a step, all cards together: a multiple of `cards`
    machine      cards that a machine has
    """

    cards: int
    sequences: int
    micro_batch: int
    grad_accum: int
    machine: int = NODE_GPUS

    @property
    def machines(self) -> int:
        """How many machines hold them."""
        return -(-self.cards // self.machine)

    @property
    def each(self) -> int:
        """Cards of each machine; where they differ, of each but the last."""
        return self.machine if self.cards % self.machines else self.cards // self.machines

    @property
    def last(self) -> int:
        """Cards of the last machine."""
        return self.cards - self.each * (self.machines - 1)


def launch(job: Job) -> Launch:
    """The most cards of the plan that can take an equal part of its step, and that part."""
    recipe, cluster = job.recipe, job.cluster
    sequences = recipe.micro_batch * recipe.grad_accum * cluster.replicas
    cards = min(gcd(sequences, cluster.gpus), MOST_MICRO_BATCHES)
    own = sequences // cards
    most = min(recipe.micro_batch, own, MOST_AT_ONCE)
    at_once = next(size for size in range(most, 0, -1) if own % size == 0)
    rounds = min(own // at_once, MOST_MICRO_BATCHES // cards)
    machine = job.gpu.node_gpus if job.gpu else NODE_GPUS
    return Launch(cards, sequences, at_once, rounds * cards, machine)


def start(found: Launch) -> list[str]:
    """The command up to `train`, a line at a time."""
    if found.cards == 1:
        return [f"{PROGRAM} train"]
    if found.machines == 1:
        return [f"{TORCHRUN} --standalone --nproc-per-node {found.each}", "-m gpu_runner train"]
    nodes = f"--nnodes {found.machines} --nproc-per-node {found.each}"
    return [TORCHRUN, nodes, RENDEZVOUS, "-m gpu_runner train"]


def where(found: Launch) -> str:
    """Where to type it, and what is counted how; nothing to say for one card."""
    if found.cards == 1:
        return ""
    counted = f"--grad-accum counts the micro-batches of all {found.cards:,} cards together."
    if found.machines == 1:
        return f"This starts {found.cards} processes, one a card. {counted}"
    last = f", on the last with --nproc-per-node {found.last}" if found.last != found.each else ""
    return (
        f"Type it on each of {found.machines:,} machines{last}; {found.machine} cards in a machine"
        " are assumed. The same files lie in the same place, and runs/ where all machines see it."
        " FIRST_HOST is the name of one of them, whose port 29500 the others reach."
        f" {counted} docs/scale.md has scripts for Slurm and SkyPilot."
    )


def differences(job: Job, found: Launch) -> list[str]:
    """What the plan's cards do and the runner's do not."""
    cluster, recipe = job.cluster, job.recipe
    shared = found.cards > 1
    told = found.micro_batch * found.grad_accum
    asked = (
        (cluster.gpus == 1 and cluster.stage > 0, "one card has nothing to share out"),
        (
            shared and cluster.stage < 3,
            "it shards weights, gradients and moments over all cards (FSDP2, as zero3)",
        ),
        (
            shared and cluster.stage == 3 and not cluster.outer_apart,
            "it gathers embedding and head on their own",
        ),
        (
            cluster.tensor_parallel > 1,
            "no two cards share a layer (tensor and sequence parallel): each takes sequences of"
            " its own",
        ),
        (
            cluster.context_parallel > 1,
            "no two cards share a sequence (context parallel)",
        ),
        *_layouts(cluster, found),
        (
            found.cards < cluster.gpus,
            f"it starts {found.cards:,} of {cluster.gpus:,} cards, the most that take an equal"
            f" number of the step's sequences ({found.sequences:,})",
        ),
        (
            found.micro_batch != recipe.micro_batch,
            f"its micro-batch is {found.micro_batch:,}, not {recipe.micro_batch:,}",
        ),
        (
            told != found.sequences,
            f"a step has {told:,} sequences, not {found.sequences:,}: it adds up at most"
            f" {MOST_MICRO_BATCHES:,} micro-batches",
        ),
    )
    return [words for differs, words in asked if differs]


def copies_of(cluster: Cluster, cards: int) -> int | None:
    """Cards that hold one copy of the model together, where the runner keeps several copies."""
    size = cluster.shard_size
    fits = size is not None and 1 < size < cards and cards % size == 0
    return size if fits and cluster.stage == 3 else None


def _layouts(cluster: Cluster, found: Launch) -> tuple[tuple[bool, str], ...]:
    """Layers and experts that lie on cards of their own, and copies."""

    def told(words: str, elsewhere: str) -> str:
        return f"{words}; {elsewhere}" if elsewhere else words

    shares = cluster.shard_size is not None and cluster.shards < cluster.alike
    same = copies_of(cluster, found.cards) is not None
    return (
        (
            cluster.pipeline_parallel > 1,
            told("no card has layers of its own (pipeline parallel)", pipeline(cluster)),
        ),
        (
            cluster.expert_parallel > 1 or cluster.expert_ranks != cluster.tensor_parallel,
            told("no card has experts of its own (expert parallel)", experts(cluster)),
        ),
        (
            shares and not same,
            told("all its cards hold one copy together", copies(cluster)),
        ),
        (
            cluster.device_map,
            "its cards work at the same time, each on sequences of its own (device_map)",
        ),
    )

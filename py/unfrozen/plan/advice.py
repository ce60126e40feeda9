"""Changes of a job that save memory: each alone, and the smallest set that makes the job fit.

What a change saves is a second plan; what it costs is the step time after over before, by
`step_time` and its assumptions. A change is legal where the job can be read with it. Changes differ
in what they cost besides time:

    same      the same arithmetic, elsewhere or later
    rounding  the optimizer remembers less exactly
    less      fewer weights train: no longer full fine-tuning
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from itertools import combinations
from operator import sub
from typing import Any, Final, NamedTuple

from unfrozen.errors import PlanError
from unfrozen.hardware import find
from unfrozen.job import Job
from unfrozen.job.cluster import SHARDINGS, Cluster
from unfrozen.job.recipe import Recipe
from unfrozen.number_formats import stall_share
from unfrozen.plan import DEFAULT_GPU, Plan, plan_job
from unfrozen.plan.step_time import replicas, step_time, step_tokens
from unfrozen.units import gib

Patch = dict[str, dict[str, Any]]

_RANK: Final = 16  # of advised adapters


@dataclass(frozen=True, slots=True)
class Change:
    """A patch of the recipe or the cluster, and what it means; kinds are those of the module."""

    key: str
    label: str
    note: str = ""
    recipe: dict[str, Any] = field(default_factory=dict)
    cluster: dict[str, Any] = field(default_factory=dict)
    kind: str = "same"

    @property
    def patch(self) -> Patch:
        """The keys it sets, by part of the job."""
        parts = {"recipe": self.recipe, "cluster": self.cluster}
        return {name: part for name, part in parts.items() if part}


CHANGES: Final = (
    Change(
        "checkpointing_selective",
        "Selective activation checkpointing",
        "Attention scores are recomputed in the backward pass.",
        {"checkpointing": "selective"},
    ),
    Change(
        "checkpointing_full",
        "Full activation checkpointing",
        "Each layer's forward pass runs a second time.",
        {"checkpointing": "full"},
    ),
    Change(
        "flash",
        "FlashAttention",
        "No score matrix, no mask: sequences must be packed or padded on the right.",
        {"attention": "flash"},
    ),
    Change(
        "kernels",
        "Fused kernels",
        "torch.compile, Liger or Transformer Engine.",
        {"kernels": "fused"},
    ),
    Change(
        "step", "Fused optimizer step", "No temporaries for all tensors at once.", {"step": "fused"}
    ),
    Change(
        "loss_chunked",
        "Chunked cross-entropy",
        "Logits are upcast one chunk at a time.",
        {"loss": "chunked"},
    ),
    Change(
        "loss_fused",
        "Fused linear cross-entropy",
        "The full logits never exist.",
        {"loss": "fused_linear"},
    ),
    Change(
        "activation_offload",
        "Offload activations to CPU",
        "They are copied to host memory and back.",
        {"activation_offload": True},
    ),
    Change(
        "optimizer_in_backward",
        "Optimizer step in backward",
        "No clipping by the global norm, no gradient accumulation.",
        {"optimizer_in_backward": True},
    ),
    Change(
        "paged",
        "Paged optimizer states",
        "They stay in host memory and are copied to the GPU in each step.",
        {"paged": True},
    ),
    Change(
        "offload",
        "Offload optimizer to CPU",
        "The CPU updates the weights; optimizer states stay in host memory.",
        cluster={"offload": "optimizer"},
    ),
    Change(
        "sync",
        "Reduce gradients after each micro-batch",
        "Each GPU holds only its shard of them, and communicates more often.",
        {"no_sync": False},
    ),
    Change(
        "outputs",
        "Free the logits before backward",
        "`del` the model output as soon as the loss is computed.",
        {"keeps_outputs": False},
    ),
    Change(
        "moments_int8",
        "8-bit optimizer states",
        "One fp32 scale per 256 values.",
        {"moments": "int8"},
        kind="rounding",
    ),
    Change(
        "moments_bf16",
        "bf16 optimizer states",
        "Slow moving averages lose their last digits.",
        {"moments": "bf16"},
        kind="rounding",
    ),
)


def patched(job: Job, patch: Patch) -> Job:
    """Return a job after a patch of its recipe and cluster. Raises PlanError."""
    recipe, cluster = job.recipe, job.cluster
    if patch.get("recipe"):
        recipe = Recipe.read(_plain(recipe) | patch["recipe"])
    if patch.get("cluster"):
        cluster = Cluster.read(_plain(cluster) | patch["cluster"])
    return replace(job, recipe=recipe, cluster=cluster)


def _plain(part: Recipe | Cluster) -> dict[str, Any]:
    """Return a part of a job as plain data."""
    values = {entry.name: getattr(part, entry.name) for entry in fields(part)}
    return {
        name: asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
        for name, value in values.items()
    }


def candidates(job: Job) -> Iterator[Change]:
    """Yield the changes that would change something here."""
    now = {"recipe": job.recipe, "cluster": job.cluster}
    for change in (*CHANGES, *_of_this_job(job)):
        if job.recipe.rounds and "moments" in change.recipe and change.recipe["moments"] == "int8":
            change = replace(change, note=_BYTES)
        parts = change.patch.items()
        if any(getattr(now[part], key) != v for part, patch in parts for key, v in patch.items()):
            yield change


def _of_this_job(job: Job) -> Iterator[Change]:
    """Yield smaller micro-batches at the same tokens per step, adapters, more sharding."""
    batch, accum = job.recipe.micro_batch, job.recipe.grad_accum
    halves = {batch // 2, 1} if batch % 2 == 0 else {1}
    for fewer in sorted(halves - {batch}, reverse=True):
        more = accum * batch // fewer
        label = f"Micro-batch {fewer}, accumulated {more} times"
        yield Change(
            f"micro_batch_{fewer}",
            label,
            "The same tokens per step.",
            {"micro_batch": fewer, "grad_accum": more},
        )
    if _rounds_at_random(job.recipe):
        yield replace(_PURE, note=_BYTES) if job.recipe.moments == "int8" else _PURE
    yield from _adapters(job)
    if job.cluster.tensor_parallel > 1:
        yield from _BESIDE_TENSOR_PARALLEL
    if replicas(job) > 1:
        for name in SHARDINGS[job.cluster.stage + 1 :]:
            label = f"ZeRO-{name[-1]} over {replicas(job)} GPUs"
            yield Change(name, label, _ZERO[name], cluster={"sharding": name})


_PURE: Final = Change(
    "pure_bf16",
    "Stochastic rounding instead of a master copy",
    f"Rounded to nearest, {stall_share(2e-5, 1000):.0%} of weights could stall at 2 × 10⁻⁵.",
    {"master": None, "rounding": "stochastic"},
    kind="rounding",
)


_BYTES: Final = "torchao's AdamW8bit does both; bitsandbytes and the runner round to nearest."


def is_unimplemented(recipe: Recipe) -> bool:
    """Return whether no optimizer implements a recipe: paged moments are those of bitsandbytes
    (PagedAdamW), which rounds 16-bit weights to the nearest.
    """
    return recipe.paged and recipe.rounds


def _rounds_at_random(recipe: Recipe) -> bool:
    """Return whether the master weights can go, which takes stochastic rounding: a bf16 weight
    rounded to the nearest loses small updates.
    """
    asked = replace(recipe, master=None, rounding="stochastic")
    return recipe.params == "bf16" and recipe.master is not None and asked.rounds


def _adapters(job: Job) -> Iterator[Change]:
    recipe = job.recipe
    lora = _plain(recipe)["lora"] or {"rank": _RANK}
    frozen = {"lora": lora, "master": None}
    if recipe.method == "full":
        note = "Only adapters train; the model's weights are frozen."
        yield Change("lora", "LoRA", note, {"method": "lora", **frozen}, kind="less")
    if recipe.method != "qlora":
        note = "Only adapters train; frozen weights are quantized to 4 bits."
        four_bits = {"method": "qlora", "base": "nf4", **frozen}
        if job.framework and job.model.architecture.experts:
            four_bits["whole_experts"] = True
            note = "Only adapters train; frozen weights but the experts are quantized to 4 bits."
        yield Change("qlora", "QLoRA", note, four_bits, kind="less")


_BESIDE_TENSOR_PARALLEL: Final = (
    Change(
        "sequence_parallel",
        "Sequence parallelism",
        "Norms and the residual stream are sharded, too.",
        cluster={"sequence_parallel": True},
    ),
    Change(
        "loss_vocab_parallel",
        "Vocab-parallel cross-entropy",
        "Each rank holds the logits of its part of the vocabulary.",
        {"loss": "vocab_parallel"},
    ),
)
_ZERO: Final = {
    "zero1": "Optimizer states are sharded.",
    "zero2": "Gradients are sharded, too.",
    "zero3": "Weights are sharded, too: all-gathered layer by layer, twice per step.",
}


FREE: Final = 0.01
"""Changes that cost less time than this share rank alike, by what they save."""
MOST_CHANGES: Final = 4  # in a set that fits
MOST_TRIED: Final = 300  # sets looked at closely
_HOPE: Final = 1.2  # changes may save more together than one by one


@dataclass(frozen=True, slots=True)
class Advice:
    """One change. `saved_gib` counts where GPUs have room to spare; `time_ratio` is step time a
    token after it over before; `fits` is None where no GPU is named.
    """

    key: str
    label: str
    patch: Patch
    saved_gib: float
    device_gib: float
    time_ratio: float
    fits: bool | None
    note: str
    kind: str = "same"

    def as_json(self) -> dict[str, object]:
        """Return plain data."""
        return asdict(self)


def advise(planned: Plan) -> list[Advice]:
    """Return every single change that saves memory, most GiB saved per cost in time first."""
    pace = _pace(planned.job)
    found = [
        _advice(change, changed, planned.roomy_bytes, pace)
        for change, changed in _legal(planned)
        if changed.roomy_bytes < planned.roomy_bytes
    ]
    return sorted(found, key=lambda a: (-a.saved_gib / max(FREE, a.time_ratio - 1), a.key))


def cheapest_fit(planned: Plan) -> list[Advice] | None:
    """Return the changes, at most four, that fit the GPU with the least time; None if none do.

    Sets that go on training every weight come first, however long they take. `saved_gib`,
    `device_gib` and `time_ratio` count on top of the changes before; an empty list means that the
    job fits as it is.
    """
    if planned.job.gpu is None:
        return None
    if planned.fits:
        return []
    pace = _pace(planned.job)
    for changes in _promising(planned, pace):
        result = _applied(planned.job, changes)
        if result is not None and result.fits:
            return _chain(planned, _needed(planned.job, changes), pace)
    return None


def _legal(planned: Plan) -> list[tuple[Change, Plan]]:
    """Return the changes the job allows, each with its plan."""
    found = ((change, _applied(planned.job, (change,))) for change in candidates(planned.job))
    return [(change, changed) for change, changed in found if changed is not None]


def _applied(job: Job, changes: tuple[Change, ...]) -> Plan | None:
    """Return the plan after changes; None where they are not allowed or not implemented."""
    recipe = {key: value for change in changes for key, value in change.recipe.items()}
    cluster = {key: value for change in changes for key, value in change.cluster.items()}
    try:
        changed = patched(job, {"recipe": recipe, "cluster": cluster})
        return None if is_unimplemented(changed.recipe) else plan_job(changed)
    except PlanError:
        return None


def _pace(job: Job) -> float:
    """Return the seconds per token."""
    return step_time(job).seconds / step_tokens(job)


def _advice(change: Change, changed: Plan, before_bytes: int, pace: float) -> Advice:
    return Advice(
        key=change.key,
        label=change.label,
        patch=change.patch,
        saved_gib=gib(before_bytes - changed.roomy_bytes),
        device_gib=gib(changed.device_bytes),
        time_ratio=_pace(changed.job) / pace,
        fits=changed.fits,
        note=change.note,
        kind=change.kind,
    )


class _Single(NamedTuple):
    """A change, what it saves at each instant, and step time after over before."""

    change: Change
    saved: list[int]
    ratio: float
    keys: frozenset[str]


class _Set(NamedTuple):
    """Changes together: what they are estimated to leave at each instant, and to cost in time."""

    changes: tuple[Change, ...]
    left: list[int]
    cost: float  # of those that cost time
    time: float  # of all
    keys: frozenset[str]
    last: int  # place of the last change

    def rank(self) -> tuple[bool, float, int, bool, float]:
        """Return the order of trying: saved time is no reason to add a change, and bf16 moments
        come before 8-bit ones, whose optimizers seldom round stochastically.
        """
        less = any(change.kind == "less" for change in self.changes)
        coarse = any(change.recipe.get("moments") == "int8" for change in self.changes)
        return less, round(self.cost, 2), len(self.changes), coarse, self.time


def _promising(planned: Plan, pace: float) -> list[tuple[Change, ...]]:
    """Return the sets that may fit by the sum of their single savings, the least time first."""
    totals = {name: sum(parts.values()) for name, parts in planned.instants.items()}
    single = []
    for change, changed in _legal(planned):
        saved = [n - sum(changed.instants.get(name, {}).values()) for name, n in totals.items()]
        if max(saved) > 0:
            keys = frozenset((*change.recipe, *change.cluster))
            single.append(_Single(change, saved, _pace(changed.job) / pace, keys))
    gpu = planned.job.gpu or find(DEFAULT_GPU)
    room = _HOPE * planned.allocated_bytes * gpu.capacity_bytes / planned.safe_bytes
    sets = [_Set((), list(totals.values()), 1.0, 1.0, frozenset(), -1)]
    found: list[_Set] = []
    for _ in range(MOST_CHANGES):
        sets = [grown for one in sets for grown in _grown(one, single)]
        found += [one for one in sets if max(one.left) <= room]
    found.sort(key=_Set.rank)
    return [one.changes for one in found[:MOST_TRIED]]


def _grown(one: _Set, single: list[_Single]) -> Iterator[_Set]:
    """Yield a set extended by each later change that sets other keys."""
    for place in range(one.last + 1, len(single)):
        change, saved, ratio, keys = single[place]
        if one.keys.isdisjoint(keys):
            left = list(map(sub, one.left, saved))
            cost, time = one.cost * max(1.0, ratio), one.time * ratio
            yield _Set((*one.changes, change), left, cost, time, one.keys | keys, place)


def _needed(job: Job, changes: tuple[Change, ...]) -> tuple[Change, ...]:
    """Return the changes without those that are not needed to fit."""
    for size in range(1, len(changes)):
        for fewer in combinations(changes, size):
            result = _applied(job, fewer)
            if result is not None and result.fits:
                return fewer
    return changes


def _chain(planned: Plan, changes: tuple[Change, ...], pace: float) -> list[Advice]:
    """Return each change on top of those before it."""
    steps, before = [], planned
    for count in range(1, len(changes) + 1):
        after = _applied(planned.job, changes[:count]) or before
        steps.append(_advice(changes[count - 1], after, before.roomy_bytes, pace))
        before, pace = after, _pace(after.job)
    return steps

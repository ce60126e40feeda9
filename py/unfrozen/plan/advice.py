"""Changes of a job that save memory, each alone.

What a change saves is a second plan; what it costs is the step time after over before, by
`step_time` and its assumptions. A change is legal where the job can be read with it. Changes differ
in what they cost besides time:

    same      the same arithmetic, elsewhere or later
    rounding  the optimizer remembers less exactly
    less      fewer weights train: no longer full fine-tuning
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any, Final

from unfrozen.errors import PlanError
from unfrozen.job import Job
from unfrozen.job.cluster import SHARDINGS, Cluster
from unfrozen.job.recipe import Recipe
from unfrozen.number_formats import stall_share
from unfrozen.plan import Plan, plan_job
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
        "efficient",
        "Memory-efficient attention",
        "PyTorch's kernel without a score matrix, for GPUs before Ampere.",
        {"attention": "efficient"},
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
    changed = replace(job, recipe=recipe, cluster=cluster)
    return changed if job.gpu is None else changed.on(job.gpu)  # which may lack a precision


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
        if change.key == "efficient" and (job.gpu is None or job.gpu.bf16):
            continue
        parts = change.patch.items()
        if any(getattr(now[part], key) != v for part, patch in parts for key, v in patch.items()):
            yield change


def _of_this_job(job: Job) -> Iterator[Change]:
    """Yield smaller micro-batches at the same tokens per step, adapters, more sharding."""
    batch, accum = job.recipe.micro_batch, job.recipe.grad_accum
    halves = {batch // 2, 1} if batch % 2 == 0 else {1}
    if job.recipe.objective == "embedding":  # whose negatives are the other pairs of a micro-batch
        halves = set()
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


def _legal(planned: Plan) -> list[tuple[Change, Plan]]:
    """Return the changes the job allows, each with its plan."""
    found = []
    for change in candidates(planned.job):
        with suppress(PlanError):
            changed = patched(planned.job, change.patch)
            if not is_unimplemented(changed.recipe):
                found.append((change, plan_job(changed)))
    return found


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

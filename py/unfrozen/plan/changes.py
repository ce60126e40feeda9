"""Every single change of a job that may save memory, and how a job reads after it.

A change is legal where the job can be read with it. Changes differ in what they cost besides time:

    same      the same arithmetic, elsewhere or later
    rounding  the optimizer remembers less exactly
    less      fewer weights train: no longer full fine-tuning
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any, Final

from unfrozen.job import Job
from unfrozen.job.cluster import SHARDINGS, Cluster
from unfrozen.job.recipe import Recipe
from unfrozen.plan.step_time import replicas
from unfrozen.training.optimizers import stall_share

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
        "Recompute attention scores",
        "They are computed again in the backward pass.",
        {"checkpointing": "selective"},
    ),
    Change(
        "checkpointing_full",
        "Recompute every layer",
        "Each layer's forward pass runs a second time.",
        {"checkpointing": "full"},
    ),
    Change(
        "flash",
        "Flash attention",
        "No score matrix, no mask: rows must be packed or padded on the right.",
        {"attention": "flash"},
    ),
    Change(
        "kernels",
        "Fused kernels",
        "torch.compile, Liger or Transformer Engine.",
        {"kernels": "fused"},
    ),
    Change("step", "Fused optimizer step", "No list of temporaries.", {"step": "fused"}),
    Change(
        "loss_chunked",
        "Loss in chunks",
        "Logits are upcast a chunk at a time.",
        {"loss": "chunked"},
    ),
    Change(
        "loss_fused",
        "Loss fused with the head",
        "Whole logits never exist.",
        {"loss": "fused_linear"},
    ),
    Change(
        "activation_offload",
        "Activations in host memory",
        "They cross to the host and back.",
        {"activation_offload": True},
    ),
    Change(
        "optimizer_in_backward",
        "Update within the backward pass",
        "No clipping by the global norm, no accumulation.",
        {"optimizer_in_backward": True},
    ),
    Change(
        "paged",
        "Paged moments",
        "They wait in host memory and cross over in each step.",
        {"paged": True},
    ),
    Change(
        "offload",
        "Optimizer in host memory",
        "The host's processors update; it holds what the card no longer does.",
        cluster={"offload": "optimizer"},
    ),
    Change(
        "sync",
        "Gradients summed after each micro-batch",
        "Each card waits with its share of them, and talks more often.",
        {"no_sync": False},
    ),
    Change(
        "outputs",
        "Logits let go of before the backward pass",
        "`del` what the model answered once the loss is there.",
        {"keeps_outputs": False},
    ),
    Change(
        "moments_int8",
        "8-bit moments",
        "One scale for 256 values.",
        {"moments": "int8"},
        kind="rounding",
    ),
    Change(
        "moments_bf16",
        "bf16 moments",
        "Slow averages lose their last digits.",
        {"moments": "bf16"},
        kind="rounding",
    ),
)


def patched(job: Job, patch: Patch) -> Job:
    """A job after a patch of its recipe and cluster. Raises PlanError where it is not legal."""
    recipe, cluster = job.recipe, job.cluster
    if patch.get("recipe"):
        recipe = Recipe.read(_plain(recipe) | patch["recipe"])
    if patch.get("cluster"):
        cluster = Cluster.read(_plain(cluster) | patch["cluster"])
    return replace(job, recipe=recipe, cluster=cluster)


def _plain(part: Recipe | Cluster) -> dict[str, Any]:
    """A part of a job as it would be given."""
    values = {entry.name: getattr(part, entry.name) for entry in fields(part)}
    return {
        name: asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
        for name, value in values.items()
    }


def candidates(job: Job) -> Iterator[Change]:
    """Changes that would change something here."""
    now = {"recipe": job.recipe, "cluster": job.cluster}
    for change in (*CHANGES, *_of_this_job(job)):
        if job.recipe.rounds and "moments" in change.recipe and change.recipe["moments"] == "int8":
            change = replace(change, note=_BYTES)
        parts = change.patch.items()
        if any(getattr(now[part], key) != v for part, patch in parts for key, v in patch.items()):
            yield change


def _of_this_job(job: Job) -> Iterator[Change]:
    """Smaller micro-batches with the same tokens a step, adapters, more of what is sharded."""
    batch, accum = job.recipe.micro_batch, job.recipe.grad_accum
    halves = {batch // 2, 1} if batch % 2 == 0 else {1}
    for fewer in sorted(halves - {batch}, reverse=True):
        more = accum * batch // fewer
        label = f"Micro-batch {fewer}, accumulated {more} times"
        yield Change(
            f"micro_batch_{fewer}",
            label,
            "The same tokens a step.",
            {"micro_batch": fewer, "grad_accum": more},
        )
    if _rounds_at_random(job.recipe):
        yield replace(_PURE, note=_BYTES) if job.recipe.moments == "int8" else _PURE
    yield from _adapters(job.recipe)
    if job.cluster.tensor_parallel > 1:
        yield from _BESIDE_TENSOR_PARALLEL
    if replicas(job) > 1:
        for name in SHARDINGS[job.cluster.stage + 1 :]:
            label = f"ZeRO-{name[-1]} over {replicas(job)} cards"
            yield Change(name, label, _ZERO[name], cluster={"sharding": name})


_PURE: Final = Change(
    "pure_bf16",
    "Stochastic rounding instead of a master copy",
    f"To the nearest, {stall_share(2e-5, 1000):.0%} of weights could stand still at 2 × 10⁻⁵.",
    {"master": None, "rounding": "stochastic"},
    kind="rounding",
)


_BYTES: Final = "torchao's AdamW8bit does both; bitsandbytes and the runner round to the nearest."


def nobody_has(recipe: Recipe) -> bool:
    """Whether no optimizer does what a recipe asks for: moments that wait in the host are those of
    bitsandbytes (its PagedAdamW), which rounds 16-bit weights to the nearest.
    """
    return recipe.paged and recipe.rounds


def _rounds_at_random(recipe: Recipe) -> bool:
    """Whether the master copy can go: a bf16 weight whose updates are rounded to the nearest loses
    the small ones, so that nobody should be told to do without a copy who cannot round at random.
    """
    asked = replace(recipe, master=None, rounding="stochastic")
    return recipe.params == "bf16" and recipe.master is not None and asked.rounds


def _adapters(recipe: Recipe) -> Iterator[Change]:
    lora = _plain(recipe)["lora"] or {"rank": _RANK}
    frozen = {"lora": lora, "master": None}
    if recipe.method == "full":
        note = "Adapters train, the model's own weights stay."
        yield Change("lora", "LoRA", note, {"method": "lora", **frozen}, kind="less")
    if recipe.method != "qlora":
        note = "Adapters train; frozen weights keep 4 bits."
        four_bits = {"method": "qlora", "base": "nf4", **frozen}
        yield Change("qlora", "QLoRA", note, four_bits, kind="less")


_BESIDE_TENSOR_PARALLEL: Final = (
    Change(
        "sequence_parallel",
        "Sequence parallelism",
        "Norms and the residual stream are split, too.",
        cluster={"sequence_parallel": True},
    ),
    Change(
        "loss_vocab_parallel",
        "Loss split by vocabulary",
        "Each rank keeps the logits of its share.",
        {"loss": "vocab_parallel"},
    ),
)
_ZERO: Final = {
    "zero1": "Each card updates its share.",
    "zero2": "Each card keeps the gradients of its share.",
    "zero3": "Weights are gathered layer by layer, twice a step.",
}

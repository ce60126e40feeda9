"""The accuracy of the plan: measured peaks of steps beside its predictions.

A row is a step with a known peak: measured on a GPU and published, or traced tensor by tensor. No
constant of the memory model is fitted to a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from unfrozen.answer.text import recipe_words
from unfrozen.job import Job
from unfrozen.memory.explain import format_layout
from unfrozen.plan import Plan, plan
from unfrozen.units import GIB

GROUPS: Final = {
    "full": "Full fine-tuning on one GPU",
    "sharded": "Sharded, tensor and context parallel",
    "adapters": "LoRA and QLoRA",
    "later": "Published, looked at afterwards",
    "reference": "Ten published models, traced",
    "traced": "Steps traced here",
}
"""Classes of rows, in the order in which they are shown: four measured, two traced."""

PUBLISHED: Final = ("full", "sharded", "adapters", "later")
TRACED: Final = ("reference", "traced")

_CHECKPOINTING = {"selective": "selective recomputation", "full": "full recomputation"}
_LOSS = {
    "chunked": "loss in chunks",
    "fused_linear": "fused loss",
    "vocab_parallel": "loss split over the vocabulary",
}
_ATTENTION = {"eager": "eager attention", "flash": "flash attention"} | {
    f"flash{version}": f"FlashAttention-{version}" for version in (2, 3, 4)
}
_NAMES = {"adamw": "AdamW"}
_SHARDING = {"zero1": "ZeRO-1", "zero2": "ZeRO-2", "zero3": "ZeRO-3"}


@dataclass(frozen=True, slots=True)
class MeasuredStep:
    """A step and its peak in bytes, by the `counter` that measured it.

    `quality` is A (every setting is stated), B (one is inferred), C (a bound or a recalled cell)
    or "traced". `parameters` is None where they were not counted.
    """

    id: str
    name: str
    group: str
    job: Mapping[str, Any]
    measured_bytes: float
    counter: str
    quality: str
    source: str
    framework: str
    parameters: int | None

    @classmethod
    def published(cls, given: Mapping[str, Any]) -> MeasuredStep:
        """Return a row of measured.json or further.json, which state the peak in GiB.

        One whose `seen` is false was first compared when the model was finished: a separate class.
        """
        recipe, cluster = given["job"]["recipe"], given["job"]["cluster"]
        by_gpus = "sharded" if cluster["gpus"] > 1 else "full"
        group = by_gpus if recipe["method"] == "full" else "adapters"
        return cls(
            id=given["id"],
            name=given["name"],
            group=group if given.get("seen", True) else "later",
            job=given["job"],
            measured_bytes=given["measured_peak_gib"] * GIB,
            counter=given["counter"],
            quality=given["quality"],
            source=given["source"],
            framework=given["framework"],
            parameters=None,
        )

    @classmethod
    def traced(cls, given: Mapping[str, Any], group: str, source: str) -> MeasuredStep:
        """Return a row of traced.json or steps.json, which count bytes and parameters."""
        return cls(
            id=given["id"],
            name=given["id"],
            group=group,
            job=given["job"],
            measured_bytes=given["peak_bytes"],
            counter="allocated",
            quality="traced",
            source=source,
            framework="transformers",
            parameters=given["params"],
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """A step with its plan. `unjudged` says why the step does not count, or is empty."""

    row: MeasuredStep
    plan: Plan
    predicted_bytes: int
    unjudged: str

    @property
    def error(self) -> float:
        """The signed error relative to the measurement: +0.02 is two per cent too much."""
        return self.predicted_bytes / self.row.measured_bytes - 1


@dataclass(frozen=True, slots=True)
class Summary:
    """One class: the number of its rows, of those that count, and the relative errors of those.

    `median` is of the errors without their sign; `worst` keeps its sign.
    """

    group: str
    label: str
    rows: int
    judged: int
    median: float
    worst: float


def judge(row: MeasuredStep) -> Verdict:
    """Plan a measured step, and return its verdict by the counter it was measured with."""
    planned = plan(row.job)
    predicted: int = getattr(planned, f"{row.counter}_bytes")
    return Verdict(row, planned, predicted, _unjudged(row, planned.job))


def _unjudged(row: MeasuredStep, job: Job) -> str:
    if row.quality == "C":
        return "a recalled or summed figure, not a measured peak"
    if row.quality == "traced" and job.recipe.dropout and job.recipe.attention == "sdpa":
        return "a CPU runs sdpa with dropout as another kernel than a GPU"
    return ""


def summarize(verdicts: Iterable[Verdict]) -> list[Summary]:
    """Return a summary of each class that has a row that counts, in the order of `GROUPS`."""
    found = list(verdicts)
    summaries = []
    for group, label in GROUPS.items():
        rows = [verdict for verdict in found if verdict.row.group == group]
        errors = [verdict.error for verdict in rows if not verdict.unjudged]
        if errors:
            middle = median(map(abs, errors))
            summaries.append(
                Summary(group, label, len(rows), len(errors), middle, max(errors, key=abs))
            )
    return summaries


def median_error(verdicts: Sequence[Verdict], groups: Sequence[str]) -> float:
    """Return the median absolute error, as a ratio, over the rows of some classes that count."""
    chosen = [v for v in verdicts if v.row.group in groups and not v.unjudged]
    return median(abs(verdict.error) for verdict in chosen)


def setting(job: Job) -> str:
    """Return a description of a step: batch, recipe, what differs from the defaults, GPUs."""
    recipe, cluster = job.recipe, job.cluster
    parts = [
        f"{recipe.micro_batch} × {recipe.seq_len:,} tokens",
        recipe_words(job).replace(recipe.optimizer, _NAMES.get(recipe.optimizer, recipe.optimizer)),
        "8-bit moments" if recipe.moments == "int8" else "",
        "updates during backward" if recipe.optimizer_in_backward else "",
        _ATTENTION.get(recipe.attention, ""),
        "fused kernels" if recipe.kernels == "fused" else "",
        _LOSS.get(recipe.loss, ""),
        _CHECKPOINTING.get(recipe.checkpointing, ""),
        "activations offloaded" if recipe.activation_offload else "",
        f"{recipe.grad_accum} micro-batches" if recipe.grad_accum > 1 else "",
        f"{cluster.gpus} GPUs" if cluster.gpus > 1 else "",
        _SHARDING.get(cluster.sharding, ""),
        f"tensor parallel {cluster.tensor_parallel}" if cluster.tensor_parallel > 1 else "",
        f"context parallel {cluster.context_parallel}" if cluster.context_parallel > 1 else "",
        *format_layout(cluster),
    ]
    return ", ".join(part for part in parts if part)

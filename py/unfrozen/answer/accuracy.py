"""The accuracy of the plan: steps whose memory or speed is known beside its predictions.

A row is a step that others measured on GPUs and published, or one traced tensor by tensor. No
constant of the memory model is fitted to a row. What the job of a row lacked when it was first
compared stands beside it: `documented`, settings, and `unsupported`, what no setting says.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from typing import Any, Final

from unfrozen.answer.text import recipe_words
from unfrozen.job import Job
from unfrozen.memory.explain import format_layout
from unfrozen.plan import plan_job
from unfrozen.plan.compute import estimate
from unfrozen.plan.record import KINDS, Spread, kind_of
from unfrozen.units import GIB

Json = Mapping[str, Any]

MEMORY: Final = "memory"
SPEED: Final = "speed"
GROUPS: Final = {
    "full": "Full fine-tuning on one GPU",
    "sharded": "Sharded, tensor and context parallel",
    "adapters": "LoRA and QLoRA",
    "exam": "Published, looked at afterwards",
    "reference": "Ten published models, traced",
    "traced": "Steps traced here",
}
"""Classes of the first peaks, in the order in which they are shown: four measured, two traced."""
PUBLISHED: Final = ("full", "sharded", "adapters", "exam")
TRACED: Final = ("reference", "traced")

LATER: Final = "later"
THIRD: Final = "third"
FOURTH: Final = "fourth"
GIVEN: Final = (LATER, THIRD, FOURTH)
"""Collections of peaks and speeds that were given to us when the planner was done, and each time
again when it had been changed for those before."""
FOUND: Final = "found"
"""Rows of further kinds that we searched for ourselves."""
COLLECTIONS: Final = (*GIVEN, FOUND)

_MEASURES: Final = (
    (MEMORY, "measured_peak_gib", GIB),
    (MEMORY, "peak_bytes", 1),
    (SPEED, "measured_tokens_per_second_per_gpu", 1),
)
"""Quantities that a row may state: each with its key and its unit."""
_TOKENS: Final = 1e9  # of an estimate; its speed is the same for any number
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
class MeasuredRun:
    """A step, and its peak in bytes (`memory`) or its tokens per second and GPU (`speed`).

    `group` is one of `GROUPS` or of the collections; `kind` is the source's name for such runs.
    `counter` names the counter of a memory. `quality` is A (every setting is stated), B (one is
    inferred), C (a bound or a recalled cell) or "traced". `documented` is merged into the job.
    """

    id: str
    of: str
    group: str
    job: Json
    measured: float
    quality: str
    source: str
    counter: str = ""
    name: str = ""
    framework: str = ""
    kind: str = ""
    quote: str = ""
    parameters: int | None = None
    documented: Json = field(default_factory=dict)
    unsupported: str = ""

    @classmethod
    def read(cls, given: Json, group: str = "", documented: Sequence[Json] = ()) -> MeasuredRun:
        """Return a row of a file; its class is that of its job where no group is given.

        Entries of documented.json name their rows by pattern; a row may carry one of its own.
        """
        of, key, unit = next(measure for measure in _MEASURES if measure[1] in given)
        about = [given["documented"]] if "documented" in given else []
        about += [entry for entry in documented if _is_about(entry, of, given["id"])]
        settings: dict[str, Any] = {}
        for entry in about:
            settings = merge_settings(settings, entry.get("job", {}))
        as_given = {own.name: given[own.name] for own in fields(cls) if own.name in given}
        found = {
            "of": of,
            "group": group or _group(given),
            "measured": given[key] * unit,
            "documented": settings,
            "unsupported": "; ".join(e["unsupported"] for e in about if "unsupported" in e),
        }
        return cls(**as_given | found)

    @property
    def project(self) -> str:
        """Whose run it is: the repository that published it."""
        return self.source.partition(" ")[0]

    @property
    def key(self) -> str:
        """A unique key: one run may have published its peak and its speed."""
        return f"{self.of} {self.id}"


def _is_about(entry: Json, of: str, row_id: str) -> bool:
    return entry.get("of", of) == of and any(fnmatchcase(row_id, name) for name in entry["rows"])


def _group(given: Json) -> str:
    """Return the class of a published row; one first compared when the model was done is "exam"."""
    recipe, cluster = given["job"]["recipe"], given["job"]["cluster"]
    if not given.get("seen", True):
        return "exam"
    by_gpus = "sharded" if cluster["gpus"] > 1 else "full"
    return by_gpus if recipe["method"] == "full" else "adapters"


def merge_settings(job: Json, documented: Json) -> dict[str, Any]:
    """Return a job with further settings, merged into its parts."""
    new = {
        key: merge_settings(job[key], value)
        if isinstance(value, Mapping) and isinstance(job.get(key), Mapping)
        else value
        for key, value in documented.items()
    }
    return {**job, **new}


@dataclass(frozen=True, slots=True)
class Comparison:
    """A row, its job with the documented settings, and what the planner predicts for it."""

    row: MeasuredRun
    job: Job
    predicted: float

    @property
    def error(self) -> float:
        """The signed error relative to the measurement: +0.02 is two per cent too much."""
        return self.predicted / self.row.measured - 1

    @property
    def kind(self) -> str:
        """The kind of the job, one of `unfrozen.plan.record.KINDS`."""
        return kind_of(self.job)

    @property
    def unjudged(self) -> str:
        """Why the row does not count, or nothing."""
        recipe = self.job.recipe
        if self.row.quality == "C":
            return "a recalled or summed figure, not a measured peak"
        if self.row.quality == "traced" and recipe.dropout and recipe.attention == "sdpa":
            return "a CPU runs sdpa with dropout as another kernel than a GPU"
        return ""


def compare(row: MeasuredRun) -> Comparison:
    """Plan the job of a row, and predict what was measured of it by the same counter."""
    job = Job.read(merge_settings(row.job, row.documented))
    if row.of == SPEED:
        return Comparison(row, job, estimate(job, _TOKENS).tokens_per_second / job.cluster.gpus)
    return Comparison(row, job, getattr(plan_job(job), f"{row.counter}_bytes"))


def spread(found: Iterable[Comparison]) -> Spread:
    """Return the spread of the errors of the rows that count, at least one."""
    return Spread.of([item.error for item in found if not item.unjudged])


def worst_error(found: Iterable[Comparison]) -> float:
    """Return the largest error of the rows that count, with its sign."""
    return max((item.error for item in found if not item.unjudged), key=abs)


def by_kind(found: Iterable[Comparison]) -> dict[str, list[Comparison]]:
    """Return the rows by the kind that their sources name, the largest kind first."""
    kinds: dict[str, list[Comparison]] = defaultdict(list)
    for item in found:
        kinds[item.row.kind].append(item)
    return dict(sorted(kinds.items(), key=lambda kind: -len(kind[1])))


def errors_by_project(
    found: Iterable[Comparison], of: str = SPEED
) -> dict[str, dict[str, list[float]]]:
    """Return the errors of speeds or peaks by kind of job and project, with every kind."""
    errors: dict[str, dict[str, list[float]]] = {kind: defaultdict(list) for kind in KINDS}
    for item in found:
        if item.row.of == of:
            errors[item.kind][item.row.project].append(item.error)
    return errors


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

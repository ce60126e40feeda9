"""Names that the trainer writes and the page reads: event kinds, metrics, units.

This is the only place where the two halves of Unfrozen meet by name. `gpu_runner.log.writer`
refuses a name that is not here, and the site builder exports `schema()` to the page, so
a metric that is renamed on one side cannot silently vanish on the other.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

VERSION: Final = 1

Unit = Literal[
    "nats", "ratio", "bytes", "seconds", "tokens", "tokens/second", "steps", "W", "°C", "money", "1"
]
"""`money` is in the currency that `run.start` names."""
RunStatus = Literal["finished", "stopped", "failed", "oom"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One scalar series: its name in the log, its unit, and how the page shows it.

    `chart` is the title of the chart that draws it: metrics with the same title share one chart,
    and without a title no chart draws it. `fact` is the note below its newest value at the head of
    a run; without a note the head does not show it.
    """

    name: str
    unit: Unit
    label: str
    meaning: str
    chart: str = ""
    fact: str = ""


KINDS: Final[dict[str, str]] = {
    "run.start": "Configuration, versions, hardware, predicted memory, planned learning rates; of a"
    " run of another tool, which, what its numbers mean and what it lacks.",
    "predicted": "Memory predicted for later steps, where that is known only after the launch.",
    "metrics": "Scalars of one optimizer step, and what they are where a name does not say it.",
    "mem": "Measured memory at one instant of the step, by component.",
    "sys": "Measurements of the machine: memory, processors, GPUs.",
    "eval": "Loss on a held-out set, with its change since step 0.",
    "drift": "Distance of the weights from the pre-trained ones, by layer.",
    "rows": "The training examples: trained tokens, lengths, loss before training.",
    "sample": "Text generated from a fixed prompt, before or after training.",
    "answer": "The answers of the model now and before training to a prompt somebody asked.",
    "checkpoint": "A checkpoint that is complete and verified on disk.",
    "alert": "Something the user should know.",
    "beat": "The trainer lives: when its next event is due, if it is paused, what it does else.",
    "run.resume": "A new attempt resumes from a checkpoint.",
    "run.end": "The run is over, and why.",
    "blend": "After a run: models between θ₀ and the trained one, scored, and the one chosen.",
}

METRICS: Final[tuple[Metric, ...]] = (
    Metric("train/loss", "nats", "Training loss", "Mean cross-entropy per trained token."),
    Metric("train/tokens", "tokens", "Tokens seen", "Trained tokens seen so far."),
    Metric("train/samples", "1", "Examples seen", "Trained examples that are no text, so far."),
    Metric(
        "train/token_accuracy",
        "ratio",
        "Accuracy",
        "Share of trained tokens that were the likeliest.",
    ),
    Metric(
        "train/grad_norm",
        "1",
        "Gradient norm",
        "Global L2 norm before clipping, in fp32.",
        chart="Gradient norm",
        fact="before clipping",
    ),
    Metric(
        "train/skipped",
        "steps",
        "Skipped steps",
        "Steps left out because gradients were not finite.",
        fact="gradients not finite",
    ),
    Metric("opt/lr", "1", "Learning rate", "The rate the optimizer used in this step."),
    Metric(
        "opt/lr_planned",
        "1",
        "Scheduled learning rate",
        "The rate the schedule gives for this step.",
    ),
    Metric(
        "opt/stalled_ratio",
        "ratio",
        "Stalled weights",
        "Share of bf16 weights that the step left unchanged.",
        chart="Stalled weights",
        fact="of bf16 weights, unchanged",
    ),
    Metric(
        "router/balance_loss",
        "1",
        "Router balance loss",
        "Spreads tokens over experts; 1 is even.",
        chart="Router balance loss",
    ),
    Metric(
        "router/load_max",
        "1",
        "Busiest expert",
        "Its load over an even share, in the layer with the highest.",
        chart="Busiest expert",
        fact="times an even share",
    ),
    Metric(
        "router/load_min",
        "1",
        "Least used expert",
        "Its load over an even share, in the layer with the lowest.",
    ),
    Metric(
        "router/load_drift",
        "ratio",
        "Routing changed",
        "Choices that go to other experts than at step 0.",
        chart="Routing changed",
    ),
    Metric("eval/task_loss", "nats", "Task loss", "Held-out loss on the task being learned."),
    Metric("eval/general_loss", "nats", "General loss", "Held-out loss on the general sets."),
    Metric(
        "eval/task_kl",
        "nats",
        "KL, task",
        "KL divergence a token on held-out examples of the task, at least: of likely tokens.",
        chart="KL from the model before",
    ),
    Metric(
        "eval/general_kl",
        "nats",
        "KL, general",
        "KL divergence a token on the general sets, at least: of likely tokens.",
        chart="KL from the model before",
    ),
    Metric(
        "eval/ema_task_loss",
        "nats",
        "Task loss, EMA",
        "Held-out loss of the moving average of the weights on the task being learned.",
        chart="Averaged weights",
    ),
    Metric(
        "eval/ema_general_loss",
        "nats",
        "General loss, EMA",
        "Held-out loss of the moving average of the weights on the general sets.",
        chart="Averaged weights",
    ),
    Metric(
        "eval/ema_task_kl",
        "nats",
        "KL, task, EMA",
        "KL divergence a token of the moving average, on held-out examples of the task.",
        chart="KL from the model before",
    ),
    Metric(
        "eval/ema_general_kl",
        "nats",
        "KL, general, EMA",
        "KL divergence a token of the moving average, on the general sets.",
        chart="KL from the model before",
    ),
    Metric("drift/total", "ratio", "Drift", "Norm of the weight change over the initial norm."),
    Metric(
        "perf/step_seconds",
        "seconds",
        "Step time",
        "Wall time of one optimizer step.",
        chart="Step time",
        fact="of one step",
    ),
    Metric(
        "perf/mfu",
        "ratio",
        "MFU",
        "Model FLOPs utilization: the model's FLOPs over the processor's.",
    ),
    Metric("perf/tokens_per_second", "tokens/second", "Speed", "Trained tokens per second."),
    Metric(
        "perf/samples_per_second",
        "1",
        "Examples per second",
        "Trained examples that are no text per second.",
        fact="trained examples",
    ),
    Metric("mem/peak_bytes", "bytes", "Peak memory", "Largest measured sum of live tensors."),
    Metric(
        "sys/rss_bytes",
        "bytes",
        "Process memory (RSS)",
        "Resident memory of the process.",
        chart="Process memory (RSS)",
        fact="as the system measures it",
    ),
    Metric(
        "sys/process_cpu",
        "ratio",
        "CPU, this process",
        "Share of all cores busy with this process.",
        chart="CPU",
    ),
    Metric(
        "sys/machine_cpu",
        "ratio",
        "CPU, machine",
        "Share of all cores busy with anything.",
        chart="CPU",
    ),
    Metric(
        "sys/ram_bytes", "bytes", "RAM in use", "Of the machine, or under its limit.", chart="RAM"
    ),
    Metric(
        "sys/ram_total_bytes", "bytes", "RAM in total", "In the machine, or its limit.", chart="RAM"
    ),
    Metric(
        "gpu/memory_bytes",
        "bytes",
        "GPU memory",
        "In use on the GPU, by all processes.",
        chart="GPU memory",
    ),
    Metric(
        "gpu/busy",
        "ratio",
        "GPU utilization",
        "Share of the time in which a kernel ran.",
        chart="GPU utilization",
    ),
    Metric("gpu/power", "W", "GPU power", "What the GPU draws.", chart="GPU power"),
    Metric("gpu/temperature", "°C", "GPU temperature", "Of the chip.", chart="GPU temperature"),
    Metric(
        "gpu/throttled",
        "1",
        "GPU throttled",
        "1 while power or heat holds the clocks back, else 0.",
        chart="GPU throttled",
    ),
    Metric("cost/spent", "money", "Cost so far", "Since the first event, pauses counted."),
    Metric("cost/total", "money", "Cost to the end", "So far, and the steps still to run."),
)

PER_GPU: Final = frozenset(metric.name for metric in METRICS if metric.name.startswith("gpu/"))
"""A series of theirs ends in the number of its GPU: `gpu/power/0`."""

INSTANTS: Final[dict[str, str]] = {
    "load": "Model loaded",
    "end_of_forward": "End of forward",
    "backward": "Backward",
    "end_of_backward": "End of backward",
    "optimizer_step": "Optimizer step",
}

COMPONENTS: Final[dict[str, str]] = {
    "params": "Weights",
    "reference": "Reference model",
    "quant_constants": "Quantisation constants",
    "adapters": "Adapters",
    "master": "Master copy",
    "moments": "Optimizer moments",
    "grads": "Gradients",
    "activations": "Activations",
    "logits_loss": "Logits and loss",
    "workspace": "Workspace",
    "gathered": "Gathered shards",
    "context": "Device context",
}
"""In the order of every table and figure: persistent ones before transient ones."""

_PLACES: Final = {name: place for place, name in enumerate(COMPONENTS)}
METRIC_NAMES: Final = frozenset(metric.name for metric in METRICS)
OTHER: Final = "other/"
"""Prefix of a metric that has no name here: of an imported run, or of a watched loop's own."""
STATUSES: Final[tuple[RunStatus, ...]] = ("finished", "stopped", "failed", "oom")
LIVE_STATUSES: Final = ("running", "paused", "stalled")
RESUMABLE_STATUSES: Final = ("stopped", "failed", "oom", "gone")
"""Of runs that can be resumed from their newest checkpoint; `gone`: killed before `run.end`."""

DEFAULT_BEAT_SECONDS: Final = 30.0
"""When the next event of a log without a `beat` is expected."""
PATIENCE: Final = 3.0
"""A run is stalled when it is silent for so many times what it announced."""


def metric_of(series: str) -> str:
    """Return the metric of a series: "gpu/power/3" → "gpu/power"; other names stay."""
    name, _, gpu = series.rpartition("/")
    return name if name in PER_GPU and gpu.isascii() and gpu.isdecimal() else series


def unknown_metrics(series: Collection[str]) -> list[str]:
    """Return the names that are no metric of ours, sorted."""
    if METRIC_NAMES.issuperset(series):
        return []
    others = (name for name in series if not name.startswith(OTHER))
    return sorted(name for name in others if metric_of(name) not in METRIC_NAMES)


def in_order(components: Iterable[str]) -> list[str]:
    """Return components in the order of `COMPONENTS`, unknown ones last."""
    return sorted(components, key=lambda name: _PLACES.get(name, len(_PLACES)))


def schema() -> dict[str, object]:
    """Return everything above as plain data for the page (JSON, stable key order)."""
    return {
        "version": VERSION,
        "kinds": dict(KINDS),
        "metrics": [asdict(metric) for metric in METRICS],
        "per_gpu": sorted(PER_GPU),
        "instants": dict(INSTANTS),
        "components": dict(COMPONENTS),
        "statuses": list(STATUSES),
        "resumable": list(RESUMABLE_STATUSES),
        "other": OTHER,
        "silence": {"default_seconds": DEFAULT_BEAT_SECONDS, "patience": PATIENCE},
    }


def line(event: Mapping[str, Any]) -> str:
    """Return one line of a log: JSON with NaN and infinities as strings."""
    return json.dumps(finite(event), separators=(",", ":"), ensure_ascii=False) + "\n"


def finite(value: Any) -> Any:
    """Return plain data with non-finite numbers as strings that JavaScript's `Number()` reads."""
    if isinstance(value, dict):
        return {key: finite(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [finite(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value

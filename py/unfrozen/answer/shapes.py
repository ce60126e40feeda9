"""The shapes of a job and of every JSON answer, with units: what `unfrozen plan --schema` prints.

The settings of a job are those that `Recipe`, `Lora` and `Cluster` declare. A change that a reader
of the old answers would trip over raises `VERSION`; a new key does not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from unfrozen.job.cluster import Cluster
from unfrozen.job.lora import Lora
from unfrozen.job.recipe import Recipe
from unfrozen.job.settings import Setting, settings_of
from unfrozen.plan import VERDICTS
from unfrozen.schema.json_schema import DRAFT, json_schema, noted
from unfrozen.schema.shapes import (
    BOOLEAN,
    NULL,
    Shape,
    any_of,
    array,
    enum,
    integer,
    json,
    mapping,
    number,
    record,
    string,
)

VERSION: Final = 1
_NAME: Final = string(1024)
_TEXT: Final = string(100_000)
_ANYTHING: Final = json(64, 1_000_000, 1_000_000)
_MOST: Final = 100_000


def _value(setting: Setting) -> Shape:
    """Return the shape of a setting's values."""
    least, most = setting.least, setting.most or 1
    whole = integer(int(least), int(most))
    shapes: dict[str, Callable[[], Shape]] = {
        "flag": lambda: BOOLEAN,
        "whole": lambda: whole,
        "real": lambda: number(least, most),
        "names": lambda: any_of(_NAME, array(_NAME, 1000)),
        "counts": lambda: array(whole, 1000),
        "capacity": lambda: any_of(enum("fullest"), number(least, most)),
        "choice": lambda: enum(*(str(one) for one in setting.values if one is not None)),
    }
    shape = shapes[setting.kind]()
    nullable = setting.optional or None in setting.values or setting.default is None
    return noted(any_of(shape, NULL) if nullable else shape, f"{setting.label}. {setting.help}")


def _part(part: type, path: str, **more: Shape) -> Shape:
    own = {name: _value(setting) for name, setting in settings_of(part, path).items()}
    return record(own | more, closed=True)


_LORA: Final = _part(Lora, "recipe.lora")
JOB: Final = record(
    {
        "model": noted(
            any_of(_NAME, _ANYTHING),
            "The name of a published model, or the content of a Hugging Face config.json.",
        ),
        "recipe": noted(_part(Recipe, "recipe", lora=any_of(_LORA, NULL)), "How it is trained."),
        "cluster": noted(_part(Cluster, "cluster"), "How many GPUs, and what each holds."),
        "gpu": noted(any_of(_NAME, _ANYTHING), "A GPU of the table, or its numbers."),
        "framework": noted(_NAME, "Whose defaults apply to keys that are left out."),
    },
    required=("model",),
    closed=True,
)


def _gib(text: str) -> Shape:
    return noted(number(0), text, "GiB")


_BYTES: Final = noted(number(0), "Memory by component.", "bytes")
_COMPONENTS: Final = mapping(_NAME, _BYTES, 1000)
_CHANCE: Final = noted(number(0, 1), "Probability that it runs on its GPU.", "1")
_BAND: Final = noted(array(number(0), 2), "Least and most memory that it may show.", "GiB")
_FLAVOR: Final = record(
    {
        "provider": _NAME,
        "flavor": _NAME,
        "usd_per_hour": noted(number(0), "Price of the whole flavor on that day.", "USD/hour"),
        "usd": noted(number(0), "Price of the estimate with the time to start.", "USD"),
        "usd_most": noted(number(0), "Price of the whole timeout.", "USD"),
        "read": noted(_NAME, "The day on which the price was read."),
        "source": _NAME,
        "timeout": noted(_NAME, "What to type so that the run is not ended sooner."),
        "note": _NAME,
    },
    required=("provider", "flavor", "usd_per_hour", "usd", "usd_most", "read", "source"),
)
_RENT: Final = record(
    {
        "timeout_seconds": noted(integer(), "When the run may be ended.", "seconds"),
        "timeout": _NAME,
        "holds": noted(_NAME, "Which share of published runs ended by then."),
        "flavors": array(_FLAVOR, 1000),
    },
    required=("timeout_seconds", "timeout", "holds", "flavors"),
)
_CHOICE: Final = record(
    {
        "cluster": _ANYTHING,
        "recipe": _ANYTHING,
        "gpu": _NAME,
        "device_gib": _gib("Memory of a GPU that it takes."),
        "band": _BAND,
        "fits": BOOLEAN,
        "chance": _CHANCE,
        "untested": noted(_TEXT, "That no GPU has run what the command starts."),
        "tokens_per_second": noted(number(0), "Of all GPUs.", "tokens/second"),
        "seconds": noted(number(0), "The whole run.", "seconds"),
        "gpu_hours": noted(number(0), "Of all GPUs.", "GPU-hours"),
        "cost": noted(number(0), "In dollars, or the currency of the price given.", "USD"),
        "rent": _RENT,
        "host": noted(_ANYTHING, "Memory and disk of each machine.", "bytes"),
        "framework": _NAME,
        "command": noted(_TEXT, "What to type."),
    },
    required=("cluster", "recipe", "gpu", "device_gib", "band", "fits", "tokens_per_second"),
)
_SOURCE: Final = noted(
    record(
        {
            "name": _NAME,
            "planned_as": any_of(_NAME, NULL),
            "origin": enum("catalogue", "hub", "cache", "size"),
            "revision": any_of(_NAME, NULL),
            "note": _TEXT,
        }
    ),
    "Where the config of a model is from that the catalogue lacks.",
)
PROJECT: Final = record(
    {
        "plan": _CHOICE,
        "others": array(_CHOICE, 100),
        "adapters": array(_CHOICE, 100),
        "lacks_host_memory": _CHOICE,
        "job": JOB,
        "source": _SOURCE,
    },
    required=("others", "adapters", "job"),
)
PLAN: Final = record(
    {
        "allocated_gib": _gib("Tensors at the highest instant."),
        "reserved_gib": _gib("What the caching allocator takes for them."),
        "device_gib": _gib("Memory of the GPU in all."),
        "peak_instant": _NAME,
        "instants": mapping(_NAME, _COMPONENTS, 100),
        "fits": BOOLEAN,
        "chance": _CHANCE,
        "verdict": enum(*VERDICTS),
        "min_gpus": noted(integer(), "Fewest GPUs of this kind; 0 for none."),
        "band": _BAND,
        "family": noted(
            enum("exact", "traced", "bounded"), "Whether the model's tensors are counted."
        ),
        "advice": noted(array(_ANYTHING, _MOST), "Changes: what each saves in GiB and costs."),
        "job": JOB,
        "rent": _RENT,
        "compute": noted(_ANYTHING, "Seconds, FLOPs, GPU-hours and kWh of the tokens."),
        "explain": array(_ANYTHING, _MOST),
        "gpus": array(_ANYTHING, _MOST),
        "solve": noted(_ANYTHING, "The largest value that fits, or the fewest GPUs."),
        "holder": noted(_ANYTHING, "The rank of a pipeline that the plan describes."),
        "framework": noted(_ANYTHING, "What a framework set where the job does not say it."),
        "compare": mapping(_NAME, _ANYTHING, 1000),
        "plan": _CHOICE,
        "adapters": array(_CHOICE, 100),
        "read": noted(_ANYTHING, "How a trainer's file was read: format, used and unknown keys."),
        "task": noted(_TEXT, "What a model is that is no causal language model."),
        "source": _SOURCE,
    },
    required=("allocated_gib", "reserved_gib", "device_gib", "peak_instant", "instants", "job"),
)
RUN_CHECK: Final = record(
    {
        "run": _NAME,
        "model": _NAME,
        "status": noted(_NAME, "finished, running, paused, stalled, gone, stopped, failed or oom."),
        "standing": _TEXT,
        "step": noted(integer(), "The newest.", "steps"),
        "steps": noted(integer(), "Of the whole run; 0 where it is not known.", "steps"),
        "live": BOOLEAN,
        "problems": array(
            record(
                {"symptom": _NAME, "shows": _TEXT, "remedy": _TEXT, "step": integer()},
                required=("symptom", "shows", "remedy", "step"),
            ),
            1000,
        ),
        "alerts": array(record({"level": _NAME, "text": _TEXT, "step": integer()}), 1000),
        "take": record(
            {
                "path": string(100_000),
                "step": integer(),
                "task_loss": noted(number(), "Held-out loss of the task.", "nats"),
                "general_delta": noted(number(), "General loss over that at step 0.", "nats"),
                "why": _TEXT,
            },
            required=("path", "step", "why"),
        ),
        "resume": noted(_TEXT, "What to type to go on."),
    },
    required=("run", "status", "standing", "step", "steps", "problems", "alerts"),
)
_WORD: Final = string(100)
_PEAK: Final = integer(1)
MEASURED_RUN: Final = record(
    {
        "month": string(7, "20[0-9][0-9]-(0[1-9]|1[0-2])", "a month such as 2026-12,"),
        "framework": _WORD,
        "model": record(
            {
                "type": _WORD,
                "config_sha256": string(64, "[0-9a-f]{64}", "a SHA-256 in hexadecimal,"),
                "num_parameters": _PEAK,
                "num_trained": _PEAK,
            },
            required=("num_parameters",),
            closed=True,
        ),
        "recipe": JOB["properties"]["recipe"],
        "gpu": noted(_WORD, "The GPU as its driver names it; the processor where there is none."),
        "gpus": integer(1, 10**6),
        "versions": record(
            dict.fromkeys(("python", "torch", "transformers", "unfrozen"), _WORD), closed=True
        ),
        "counter": noted(enum("allocated", "tensors"), "What counted the peak."),
        "measured_peak_bytes": noted(_PEAK, "Of the GPU that had the most.", "bytes"),
        "predicted_peak_bytes": noted(_PEAK, "As the run began.", "bytes"),
        "tokens_per_second": noted(number(0), "The median step's, on all GPUs.", "tokens/s"),
    },
    required=(
        *("month", "framework", "model", "recipe", "gpu", "gpus", "versions", "counter"),
        "measured_peak_bytes",
    ),
    closed=True,
)
SHAPES: Final = {
    **{"job": JOB, "plan": PLAN, "project": PROJECT, "check": RUN_CHECK},
    "report": MEASURED_RUN,
}
"""The shapes by name: a job, `plan`, `plan` with data or a budget, `check` and `report`."""


def schemas() -> dict[str, dict[str, Any]]:
    """Return every shape as a JSON Schema with its version."""
    return {
        name: {"$schema": DRAFT, "$id": f"urn:unfrozen:{name}:{VERSION}", **json_schema(shape)}
        for name, shape in SHAPES.items()
    }

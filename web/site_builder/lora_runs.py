"""Our comparison of full fine-tuning and LoRA: table and numbers of chapter 5; see docs/lora.md.

`::: lora-runs methods` is a table of each method at its best learning rate, the lowest that learned
the task, from web/measurements/lora.json. A seed decides the order of the examples, the same for
every method.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from site_builder.formats import rate
from site_builder.measurements import read_json
from site_builder.rendering import RenderQueue, data_element

FULL: Final = "full"


@dataclass(frozen=True, slots=True)
class Method:
    """One method at its best rate, means over seeds; losses in nats a token, spreads are ±.

    `task_right` and `general_right` are held-out rows that are answered exactly.
    """

    id: str
    title: str
    rank: int | None
    rate: float
    seeds: int
    trained: int
    task: float
    task_spread: float
    general: float
    general_spread: float
    task_right: float
    general_right: float
    drift: float
    predicted_bytes: int
    measured_bytes: int


def read_study() -> dict[str, Any]:
    """Return what `python docs/experiments/compare_lora.py` published."""
    study: dict[str, Any] = read_json("lora.json")
    return study


@cache
def read_methods() -> dict[str, Method]:
    """Return the methods by id, full fine-tuning first, then by rank."""
    return {given["id"]: Method(**given) for given in read_study()["methods"]}


def read_rates(method: str) -> dict[float, dict[str, Any]]:
    """Return the runs of a method with the first seed, by rate, the lowest first."""
    study = read_study()
    runs = [
        run for run in study["runs"] if (run["method"], run["seed"]) == (method, study["seeds"][0])
    ]
    return {run["rate"]: run for run in sorted(runs, key=lambda run: run["rate"])}


def run_above(method: str) -> dict[str, Any]:
    """Return the run of a method at the next rate above its own, with the first seed."""
    own = read_methods()[method].rate
    return next(run for rate, run in read_rates(method).items() if rate > own)


def best_rate_ratios() -> tuple[float, float]:
    """Return the lowest and highest ratio of a LoRA method's best rate to full fine-tuning's."""
    methods = read_methods()
    found = [one.rate / methods[FULL].rate for one in methods.values() if one.rank is not None]
    return min(found), max(found)


def _methods(where: str, queue: RenderQueue) -> str:
    before, rows = read_study()["before"], read_study()["rows"]
    table = {
        "headers": ["Trained", "Weights", "Rate", "Task", "Capitals", "English", "Memory"],
        "units": [
            "",
            "million",
            "",
            f"right of {rows['task']}",
            f"right of {rows['general']}",
            "nats",
            "GB",
        ],
        "align": ["left", *["right"] * 6],
        "rows": [
            [
                "nothing yet",
                "",
                "",
                f"{before['task_right']}",
                f"{before['general_right']}",
                f"{before['general']:.2f}",
                "",
            ],
            *(_method_row(method) for method in read_methods().values()),
        ],
    }
    return data_element("table", table, where, queue)


def _method_row(method: Method) -> list[Any]:
    return [
        method.title,
        f"{method.trained / 1e6:.3g}",
        rate(method.rate),
        f"{method.task_right:.1f}",
        f"{method.general_right:.1f}",
        f"{method.general:.2f}",
        f"{method.measured_bytes / 1e9:.2f}",
    ]


PARTS: Final[dict[str, Callable[[str, RenderQueue], str]]] = {
    "methods": _methods,
}
"""Functions that return the HTML of a part, given "chapter.md:line" and the render queue."""

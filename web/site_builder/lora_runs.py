"""Our comparison of full fine-tuning and LoRA: figures and numbers of chapter 5; see docs/lora.md.

Each entry of `PARTS` is an `::: lora-runs NAME` block, drawn from web/measurements/lora.json:

    methods   a table: each method at its best learning rate, means over seeds
    learned   a plot: the task loss at every rate that was tried, first seed
    lost      a plot: the loss on English at every rate
    all       every run, in a table that sorts

A seed decides the order of the examples, the same for every method.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Literal

from site_builder.formats import NO_BREAK, rate
from site_builder.measurements import read_json
from site_builder.rendering import RenderQueue, data_element, fold

FULL: Final = "full"
Loss = Literal["task", "general"]


@dataclass(frozen=True, slots=True)
class Method:
    """One method at its best rate; losses in nats a token, means over seeds; spreads are ±."""

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
    drift: float
    predicted_bytes: int
    measured_bytes: int
    seconds: float

    @property
    def forgotten(self) -> float:
        """The increase of the loss on what the model knew; negative when it fell."""
        return self.general - float(read_study()["before"]["general"])


def read_study() -> dict[str, Any]:
    """Return what `python docs/experiments/compare_lora.py` published."""
    study: dict[str, Any] = read_json("lora.json")
    return study


@cache
def read_methods() -> dict[str, Method]:
    """Return the methods by id, full fine-tuning first, then by rank."""
    return {given["id"]: Method(**given) for given in read_study()["methods"]}


def losses_by_rate(method: str, loss: Loss = "task") -> dict[float, float | None]:
    """Return the loss at every rate tried with the first seed; None where the run diverged."""
    first = read_study()["seeds"][0]
    found = {
        run["rate"]: run[loss]
        for run in read_study()["runs"]
        if (run["method"], run["seed"]) == (method, first)
    }
    return dict(sorted(found.items()))


def forgetting_between(method: str, low: float, high: float) -> list[float]:
    """Return the increase of the loss on English in every run whose rate lies in [low, high].

    `method` is the first word of its id: `full` or `lora`.
    """
    return [
        run["general"] - read_study()["before"]["general"]
        for run in read_study()["runs"]
        if run["method"].partition("-")[0] == method
        and low <= run["rate"] <= high
        and run["general"] is not None
    ]


def best_rate_ratios() -> tuple[float, float]:
    """Return the lowest and highest ratio of a LoRA method's best rate to full fine-tuning's."""
    methods = read_methods()
    found = [one.rate / methods[FULL].rate for one in methods.values() if one.rank is not None]
    return min(found), max(found)


def count_dominated() -> tuple[int, int]:
    """Return how many LoRA runs have both losses above those of some full run, and of how many.

    A run that diverged is dominated.
    """
    runs = read_study()["runs"]
    full = [run for run in runs if run["method"] == FULL and run["task"] is not None]
    lora = [run for run in runs if run["method"] != FULL]

    def is_dominated(run: dict[str, Any]) -> bool:
        if run["task"] is None:
            return True
        return any(one["task"] < run["task"] and one["general"] < run["general"] for one in full)

    return sum(map(is_dominated, lora)), len(lora)


def _methods(where: str, queue: RenderQueue) -> str:
    before = read_study()["before"]
    table = {
        "headers": ["Trained", "Numbers", "Best rate", "Task", "English", "Change", "Memory"],
        "units": ["", "million", "", "nats", "nats", "nats", "GB"],
        "align": ["left", *["right"] * 6],
        "rows": [
            ["nothing yet", "", "", f"{before['task']:.2f}", f"{before['general']:.2f}", "", ""],
            *(_method_row(method) for method in read_methods().values()),
        ],
    }
    return data_element("table", table, where, queue)


def _method_row(method: Method) -> list[Any]:
    return [
        method.title,
        f"{method.trained / 1e6:.3g}",
        rate(method.rate),
        _format_spread(method.task, method.task_spread),
        _format_spread(method.general, method.general_spread),
        format_change(method.forgotten),
        f"{method.measured_bytes / 1e9:.2f}",
    ]


def _format_spread(mean: float, half: float) -> str:
    return f"{mean:.2f}{NO_BREAK}±{NO_BREAK}{half:.2f}"


def format_change(nats: float) -> str:
    """Return the change of a loss: "−0.12", "+0.30"; one that rounds to zero has no sign."""
    text = f"{nats:+.2f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def _learned(where: str, queue: RenderQueue) -> str:
    plot = _rate_plot("task", "Learned: the task, by rate", "Task loss after the last step")
    return data_element("plot", plot, where, queue)


def _lost(where: str, queue: RenderQueue) -> str:
    line = {"label": "Before", "value": round(read_study()["before"]["general"], 2)}
    plot = _rate_plot("general", "Lost: English, by rate", "Loss on English after the last step")
    return data_element("plot", plot | {"thresholds": [line]}, where, queue)


def _rate_plot(loss: Loss, title: str, y_label: str) -> dict[str, Any]:
    by_rate = {method.id: losses_by_rate(method.id, loss) for method in read_methods().values()}
    x = sorted({tried for losses in by_rate.values() for tried in losses})
    return {
        "title": title,
        "x_label": "Peak learning rate",
        "y_label": y_label,
        "y_unit": "nats",
        "x_log": True,
        "y_log": True,
        "x_data": x,
        "lines": [
            {
                "label": read_methods()[name].title,
                "data": [losses.get(tried) for tried in x],
                "dashed": name == FULL,
            }
            for name, losses in by_rate.items()
        ],
    }


def _all(where: str, queue: RenderQueue) -> str:
    runs = read_study()["runs"]
    table = {
        "headers": ["Trained", "Rate", "Seed", "Task", "English", "Drift"],
        "units": ["", "", "", "nats", "nats", "%"],
        "rows": [
            [
                read_methods()[run["method"]].title,
                run["rate"],
                run["seed"],
                None if run["task"] is None else round(run["task"], 3),
                None if run["general"] is None else round(run["general"], 3),
                round(100 * run["drift"], 2),
            ]
            for run in runs
        ],
    }
    return fold(f"All {len(runs)} runs", data_element("table", table, where, queue))


PARTS: Final[dict[str, Callable[[str, RenderQueue], str]]] = {
    "methods": _methods,
    "learned": _learned,
    "lost": _lost,
    "all": _all,
}
"""Functions that return the HTML of a part, given "chapter.md:line" and the render queue."""

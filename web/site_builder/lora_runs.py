"""Our comparison of full fine-tuning and LoRA: table and numbers of chapter 5; see docs/lora.md.

`::: lora-runs methods` is a table of each method at its best learning rate, from
web/measurements/lora.json. A seed decides the order of the examples, the same for every method.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from site_builder.formats import NO_BREAK, rate
from site_builder.measurements import read_json
from site_builder.rendering import RenderQueue, data_element

FULL: Final = "full"


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


def best_rate_ratios() -> tuple[float, float]:
    """Return the lowest and highest ratio of a LoRA method's best rate to full fine-tuning's."""
    methods = read_methods()
    found = [one.rate / methods[FULL].rate for one in methods.values() if one.rank is not None]
    return min(found), max(found)


def _methods(where: str, queue: RenderQueue) -> str:
    before = read_study()["before"]
    table = {
        "headers": ["Trained", "Weights", "Best rate", "Task", "English", "Change", "Memory"],
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


PARTS: Final[dict[str, Callable[[str, RenderQueue], str]]] = {
    "methods": _methods,
}
"""Functions that return the HTML of a part, given "chapter.md:line" and the render queue."""

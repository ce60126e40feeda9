"""Full fine-tuning beside LoRA, as run here: what chapter 5 draws and says; see docs/lora.md.

`draw(part, where, renderings)` makes the HTML of one part, all from web/measurements/lora.json:

    methods   a table: each method at its best rate, means over seeds
    learned   a plot: the task loss of every rate that was tried, first seed
    lost      a plot: the loss on English of every rate
    all       every run, in a table that sorts

What the prose says of the methods is worked out here as well. A seed is an order of the rows, the
same for every method, so two methods are compared seed by seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Literal

from site_builder.cells import data_element
from site_builder.errors import SiteError
from site_builder.formats import NO_BREAK
from site_builder.formats import rate as power
from site_builder.measurements import read_json
from site_builder.renderings import Renderings

FULL: Final = "full"
Loss = Literal["task", "general"]


@dataclass(frozen=True, slots=True)
class Best:
    """One method at its best rate; losses in nats a token, means over seeds, spreads ±."""

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
        """How much the loss on what the model knew has grown; below zero it has fallen."""
        return self.general - float(known()["before"]["general"])

    def seeds_of(self, loss: Loss) -> list[float]:
        """That loss at the best rate, seed by seed."""
        runs = [r for r in known()["runs"] if (r["method"], r["rate"]) == (self.id, self.rate)]
        return [run[loss] for run in sorted(runs, key=lambda run: run["seed"])]


@cache
def known() -> dict[str, Any]:
    """What `python docs/experiments/compare_lora.py` published."""
    found: dict[str, Any] = read_json("lora.json")
    return found


@cache
def best() -> dict[str, Best]:
    """The methods by id, full fine-tuning first, then by rank."""
    return {given["id"]: Best(**given) for given in known()["methods"]}


def rates(method: str, loss: Loss = "task") -> dict[float, float | None]:
    """Rate → loss of every rate tried with the first seed, None where the run diverged."""
    first = known()["seeds"][0]
    found = {
        run["rate"]: run[loss]
        for run in known()["runs"]
        if (run["method"], run["seed"]) == (method, first)
    }
    return dict(sorted(found.items()))


def lower(one: str, other: str, loss: Loss) -> int:
    """With how many orders of the rows `one` ends lower than `other`, each at its best rate."""
    pairs = zip(best()[one].seeds_of(loss), best()[other].seeds_of(loss), strict=True)
    return sum(here < there for here, there in pairs)


def changes(method: str, least: float, most: float) -> list[float]:
    """How much the loss on English grew in every run at a rate between two, both included.

    `method` is the first word of its id: `full` or `lora`.
    """
    return [
        run["general"] - known()["before"]["general"]
        for run in known()["runs"]
        if run["method"].partition("-")[0] == method
        and least <= run["rate"] <= most
        and run["general"] is not None
    ]


def ratios() -> tuple[float, float]:
    """The least and the most that a best rate of adapters is above that of full fine-tuning."""
    found = [one.rate / best()[FULL].rate for one in best().values() if one.rank is not None]
    return min(found), max(found)


def beaten() -> tuple[int, int]:
    """How many runs with adapters some run with every weight beats at both losses, and of how many.

    A run that diverged is beaten.
    """
    whole = [run for run in known()["runs"] if run["method"] == FULL and run["task"] is not None]
    others = [run for run in known()["runs"] if run["method"] != FULL]

    def is_beaten(run: dict[str, Any]) -> bool:
        if run["task"] is None:
            return True
        return any(one["task"] < run["task"] and one["general"] < run["general"] for one in whole)

    return sum(map(is_beaten, others)), len(others)


def draw(part: str, where: str, renderings: Renderings) -> str:
    """The HTML of a part; SiteError for one that does not exist."""
    parts = {
        "methods": ("table", _methods),
        "learned": ("plot", _learned),
        "lost": ("plot", _lost),
        "all": ("table", _all),
    }
    if part not in parts:
        raise SiteError(where, f"there is no ::: lora-runs {part}; choose {', '.join(parts)}")
    kind, data = parts[part]
    drawn = data_element(kind, data(), where, renderings)
    if part != "all":
        return drawn
    return (
        f'<details class="accuracy-details"><summary>All {len(known()["runs"])} runs</summary>\n'
        f"{drawn}</details>\n"
    )


def _methods() -> dict[str, Any]:
    before = known()["before"]
    return {
        "headers": ["Trained", "Numbers", "Best rate", "Task", "English", "Change", "Memory"],
        "units": ["", "million", "", "nats", "nats", "nats", "GB"],
        "align": ["left", *["right"] * 6],
        "rows": [
            ["nothing yet", "", "", f"{before['task']:.2f}", f"{before['general']:.2f}", "", ""],
            *(_row(found) for found in best().values()),
        ],
    }


def _row(found: Best) -> list[Any]:
    return [
        found.title,
        f"{found.trained / 1e6:.3g}",
        power(found.rate),
        spread(found.task, found.task_spread),
        spread(found.general, found.general_spread),
        signed(found.forgotten),
        f"{found.measured_bytes / 1e9:.2f}",
    ]


def spread(mean: float, half: float) -> str:
    """A mean and half of what its seeds span: 1.12 ± 0.06, on one line."""
    return f"{mean:.2f}{NO_BREAK}±{NO_BREAK}{half:.2f}"


def signed(nats: float) -> str:
    """A change of a loss as a reader sees it: −0.12, +0.30; what rounds to nothing has no sign."""
    text = f"{nats:+.2f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def _learned() -> dict[str, Any]:
    return _by_rate("task", "Learned: the task, by rate", "Task loss after the last step")


def _lost() -> dict[str, Any]:
    line = {"label": "Before", "value": round(known()["before"]["general"], 2)}
    plot = _by_rate("general", "Lost: English, by rate", "Loss on English after the last step")
    return plot | {"thresholds": [line]}


def _by_rate(loss: Loss, title: str, y_label: str) -> dict[str, Any]:
    names = list(best())
    x = sorted({rate for name in names for rate in rates(name, loss)})
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
                "label": best()[name].title,
                "data": [rates(name, loss).get(rate) for rate in x],
                "dashed": name == FULL,
            }
            for name in names
        ],
    }


def _all() -> dict[str, Any]:
    titles = {found.id: found.title for found in best().values()}
    return {
        "headers": ["Trained", "Rate", "Seed", "Task", "English", "Drift"],
        "units": ["", "", "", "nats", "nats", "%"],
        "rows": [
            [
                titles.get(run["method"], run["method"]),
                run["rate"],
                run["seed"],
                None if run["task"] is None else round(run["task"], 3),
                None if run["general"] is None else round(run["general"], 3),
                round(100 * run["drift"], 2),
            ]
            for run in known()["runs"]
        ],
    }

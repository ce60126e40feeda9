"""Full fine-tuning beside LoRA, as run here: what chapter 5 draws and says; see docs/lora.md.

`draw(part, where, renderings)` makes the HTML of one part, all from web/truth/lora.json:

    methods   a table: each method at its best rate, means over seeds
    rates     a plot: the task loss of every rate that was tried
    plane     a plot: what every run learned against what it forgot
    all       every run, in a table that sorts

What the prose says of two methods is worked out here as well: they are told apart where no seed of
the one lies among the seeds of the other.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Literal

from press.assets import WEB
from press.cells import data_element
from press.errors import PressError
from press.formats import rate as power
from press.renderings import Renderings

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
        """That loss of every seed at the best rate."""
        return [
            run[loss]
            for run in known()["runs"]
            if (run["method"], run["rate"]) == (self.id, self.rate)
        ]


@cache
def known() -> dict[str, Any]:
    """What `python -m gpu_runner.lora` published."""
    found: dict[str, Any] = json.loads((WEB / "truth" / "lora.json").read_text(encoding="utf-8"))
    return found


@cache
def best() -> dict[str, Best]:
    """The methods by id, full fine-tuning first, then by rank."""
    return {given["id"]: Best(**given) for given in known()["methods"]}


def rates(method: str) -> dict[float, float | None]:
    """Rate → task loss of every rate tried with the first seed, None where the run diverged."""
    first = known()["seeds"][0]
    found = {
        run["rate"]: run["task"]
        for run in known()["runs"]
        if (run["method"], run["seed"]) == (method, first)
    }
    return dict(sorted(found.items()))


def compared(one: str, other: str, loss: Loss) -> int:
    """Whether the loss of `one` is lower (−1) or higher (1) with every seed, or neither (0)."""
    here, there = best()[one].seeds_of(loss), best()[other].seeds_of(loss)
    return (min(here) > max(there)) - (max(here) < min(there))


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
    """The HTML of a part; PressError for one that does not exist."""
    parts = {
        "methods": ("table", _methods),
        "rates": ("plot", _rates),
        "plane": ("plot", _plane),
        "all": ("table", _all),
    }
    if part not in parts:
        raise PressError(where, f"there is no ::: lora-runs {part}; choose {', '.join(parts)}")
    kind, data = parts[part]
    drawn = data_element(kind, data(), where, renderings)
    if part != "all":
        return drawn
    return (
        f'<details class="truth-details"><summary>All {len(known()["runs"])} runs</summary>\n'
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
        f"{found.task:.2f} ± {found.task_spread:.2f}",
        f"{found.general:.2f} ± {found.general_spread:.2f}",
        signed(found.forgotten),
        f"{found.measured_bytes / 1e9:.2f}",
    ]


def signed(nats: float) -> str:
    """A change of a loss as a reader sees it: −0.12, +0.30; what rounds to nothing has no sign."""
    text = f"{nats:+.2f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def _rates() -> list[dict[str, Any]]:
    names = list(best())
    x = sorted({rate for name in names for rate in rates(name)})
    return [
        {
            "title": "Task loss at each rate that was tried",
            "x_label": "Peak learning rate",
            "y_label": "Task loss after the last step",
            "y_unit": "nats",
            "x_log": True,
            "y_log": True,
            "x_data": x,
            "lines": [
                {
                    "label": best()[name].title,
                    "data": [rates(name).get(rate) for rate in x],
                    "dashed": name == FULL,
                }
                for name in names
            ],
        }
    ]


def _plane() -> list[dict[str, Any]]:
    """A dot for each run that did not diverge; no two have the same task loss."""
    ended = [run for run in known()["runs"] if run["task"] is not None]
    x = sorted({run["task"] for run in ended})
    return [
        {
            "title": "Learned and forgotten, every run",
            "x_label": "Task loss after the last step (nats)",
            "y_label": "English",
            "y_unit": "nats",
            "x_log": True,
            "y_log": True,
            "x_data": x,
            "lines": [
                {"label": found.title, "data": [_english(found.id, task, ended) for task in x]}
                for found in best().values()
            ],
            "thresholds": [{"label": "Before", "value": known()["before"]["general"]}],
        }
    ]


def _english(method: str, task: float, ended: list[dict[str, Any]]) -> float | None:
    """The loss on English of the method's run with that task loss, if there is one."""
    found = [run["general"] for run in ended if (run["method"], run["task"]) == (method, task)]
    return found[0] if found else None


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

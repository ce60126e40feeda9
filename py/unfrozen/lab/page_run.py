"""What `<page-run>` shows before anything runs: its dials, presets and challenge, in words.

Every sentence of a preset is a claim about the runs that it starts; a test holds each of them for
five seeds. `skills` of a run are its losses by held-out set, before and after.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from unfrozen.lab.choices import DIALS, Choices, Dial
from unfrozen.units import format_power

DEFAULT: Final = Choices()
SEEDS: Final = (7, 0, 1, 2, 3)
"""What the presets say holds for each of them."""


@dataclass(frozen=True, slots=True)
class RunPreset:
    """A setting of the dials with what it shows."""

    id: str
    label: str
    choices: Mapping[str, float]
    says: str


PRESETS: Final = (
    RunPreset(
        "plain",
        "As it comes",
        {},
        "The loss on the task falls to a tenth or less; on capitals it rises twentyfold or more.",
    ),
    RunPreset(
        "gentle",
        "A third of the rate",
        {"lr": 2e-4},
        "Nothing is lost to speak of, and the numerals come half-way.",
    ),
    RunPreset(
        "fast",
        "Eight times the rate",
        {"lr": 5e-3},
        "The task is learned better still, and nothing else is left.",
    ),
    RunPreset(
        "replay",
        "10% replay",
        {"replay_share": 0.1},
        "With a token in ten from old rows, half of the forgetting is gone; the task pays little.",
    ),
    RunPreset(
        "held",
        "Held to θ₀",
        {"l2sp": 0.03},
        "The weights move half as far, most of the old stays; the task is learned a little less.",
    ),
    RunPreset(
        "frozen",
        "λ → ∞",
        {"l2sp": 1e9},
        "Nothing moves: nothing is forgotten, and nothing is learned.",
    ),
    RunPreset(
        "ewc",
        "EWC",
        {"ewc": 1.0},
        "The weights move almost as far as without it, and most of the forgetting is gone.",
    ),
    RunPreset(
        "decay",
        "Weight decay",
        {"weight_decay": 10.0},
        "Pulled to zero and not to θ₀, the model forgets more than without any pull.",
    ),
)


@dataclass(frozen=True, slots=True)
class Challenge:
    """A region of the plane that the defaults miss and some setting of the dials reaches."""

    task: float = 0.9
    general: float = 0.045


CHALLENGE: Final = Challenge()


def view() -> dict[str, Any]:
    """Everything the element draws, as plain data."""
    return {
        "dials": [_dial(dial) for dial in DIALS],
        "presets": [
            {"id": p.id, "label": p.label, "choices": dict(p.choices), "says": p.says}
            for p in PRESETS
        ],
        "challenge": {
            "task": CHALLENGE.task,
            "general": CHALLENGE.general,
            "says": f"Challenge: a task loss below {CHALLENGE.task:g} with less than"
            f" {CHALLENGE.general:g} on what it knew.",
        },
    }


def _dial(dial: Dial) -> dict[str, Any]:
    default = getattr(DEFAULT, dial.name)
    return {
        "name": dial.name,
        "label": dial.label,
        "note": dial.note,
        "stops": list(dial.stops),
        "texts": [stop_text(dial, stop) for stop in dial.stops],
        "at": dial.stops.index(default),
    }


def stop_text(dial: Dial, stop: float) -> str:
    """A stop as its reader sees it: 2 × 10⁻⁴, 10%, off, 120."""
    if dial.name == "replay_share":
        return f"{100 * stop:g}%" if stop else "none"
    if dial.name in ("l2sp", "ewc", "weight_decay") and not stop:
        return "off"
    if dial.whole or 0.01 <= stop < 10_000:
        return f"{stop:,g}"
    return format_power(stop, 0)


def title(choices: Choices) -> str:
    """What a run is called: the preset it is, else what it does otherwise than the defaults."""
    changed = {
        dial.name: getattr(choices, dial.name)
        for dial in DIALS
        if getattr(choices, dial.name) != getattr(DEFAULT, dial.name)
    }
    preset = next((p for p in PRESETS if dict(p.choices) == changed), None)
    if preset is not None:
        return preset.label
    dials = {dial.name: dial for dial in DIALS}
    return ", ".join(
        f"{dials[name].label.lower()} {stop_text(dials[name], value)}"
        for name, value in changed.items()
    )

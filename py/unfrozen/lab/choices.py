"""The choices of a fine-tune in the lab, with their bounds, dials, presets and a challenge.

The names are those of the runner's choices (`gpu_runner train --set …`), so that a run of the page
can be repeated with PyTorch; `command` returns the command line. The bounds are wider here: a dial
is there to be turned too far.

Every sentence of a preset is a claim about the runs that it starts; a test checks each of them for
five seeds. `<page-run>` draws what `view` returns.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Final

from unfrozen.errors import PlanError
from unfrozen.units import format_power


@dataclass(frozen=True, slots=True)
class Dial:
    """One choice: its bounds, and the stops of its dial."""

    name: str
    label: str
    low: float
    high: float
    stops: tuple[float, ...]
    note: str
    whole: bool = False


DIALS: Final = (
    Dial("lr", "Learning rate", 1e-6, 10.0,
         (1e-5, 3e-5, 1e-4, 2e-4, 4e-4, 6e-4, 1e-3, 2e-3, 3e-3, 5e-3, 1e-2, 1e-1, 1.0, 10.0),
         "Peak of the schedule, after a warm-up."),
    Dial("steps", "Steps", 0, 400, (0, 20, 40, 60, 120, 240, 400),
         "Updates of all weights, 16 rows each.", whole=True),
    Dial("replay_share", "Replay", 0.0, 1.0, (0.0, 0.02, 0.05, 0.1, 0.2, 0.5, 0.9, 1.0),
         "Share of the tokens that come from rows like those of pre-training."),
    Dial("l2sp", "L2-SP, λ", 0.0, 1e9, (0.0, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 1.0, 1e3, 1e9),
         "Strength of λ/2 ‖θ − θ₀‖² in the loss."),
    Dial("ewc", "EWC, λ", 0.0, 1e9, (0.0, 0.01, 0.1, 0.3, 1.0, 3.0, 10.0, 1e3, 1e9),
         "The same pull, weight by weight as strong as the old skills need it."),
    Dial("weight_decay", "Weight decay", 0.0, 100.0, (0.0, 0.01, 0.1, 1.0, 10.0, 100.0),
         "A pull of all matrices to zero, not to θ₀."),
    Dial("seed", "Seed", 0, 1_000_000, tuple(range(20)), "The order of the rows.", whole=True),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """One full fine-tune of the demo model. Raises PlanError for a value beyond its bound."""

    lr: float = 1e-3
    steps: int = 240
    replay_share: float = 0.0
    l2sp: float = 0.0
    ewc: float = 0.0
    weight_decay: float = 0.01
    seed: int = 7
    rows_per_step: int = 16
    warmup: int = 20
    floor_ratio: float = 0.1
    clip: float = 1.0
    eval_every: int = 30
    eval_rows: int = 32
    """Rows of each held-out set that are scored."""
    sample_tokens: int = 12
    fisher_rows: int = 64

    def __post_init__(self) -> None:
        for dial in DIALS:
            _check(dial.name, getattr(self, dial.name), dial.low, dial.high, dial.whole)
        for name, low, high in (
            ("rows_per_step", 1, 64),
            ("warmup", 0, 10_000),
            ("eval_every", 1, 10_000),
            ("eval_rows", 1, 64),
            ("sample_tokens", 0, 64),
            ("fisher_rows", 1, 256),
        ):
            _check(name, getattr(self, name), low, high, True)
        _check("floor_ratio", self.floor_ratio, 0, 1, False)
        _check("clip", self.clip, 0, 1e9, False)

    @classmethod
    def read(cls, given: Mapping[str, object]) -> Choices:
        """Return choices from plain data; missing keys, and None, take their defaults."""
        known = {field.name for field in fields(cls)}
        if unknown := sorted(given.keys() - known):
            dials = ", ".join(dial.name for dial in DIALS)
            raise PlanError("choices", unknown[0], f"the choices are {dials}", "leave it out")
        values: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        chosen = cls(**values)
        return replace(chosen, **{d.name: int(getattr(chosen, d.name)) for d in DIALS if d.whole})

    def as_json(self) -> dict[str, object]:
        """Return the `config` of the run's first event."""
        return asdict(self)

    def command(self) -> str:
        """Return the runner's command of the same fine-tune; "" where it would refuse it."""
        beyond = self.lr > 1 or self.replay_share > 0.9 or self.weight_decay > 1
        if beyond or not self.steps or max(self.l2sp, self.ewc) > 1e6:
            return ""
        parts = [f"--steps {self.steps} --lr {self.lr:g} --seed {self.seed}"]
        if self.replay_share:
            parts.append(f"--replay demo --replay-share {self.replay_share:g}")
        sets = {
            "micro_batch": self.rows_per_step,
            "warmup": min(self.warmup, self.steps),
            "eval_rows": self.eval_rows,
        }
        usual = {"l2sp": 0.0, "ewc": 0.0, "weight_decay": 0.01, "floor_ratio": 0.1}
        usual |= {"clip": 1.0, "eval_every": 20}
        sets |= {n: getattr(self, n) for n, default in usual.items() if getattr(self, n) != default}
        parts += [f"--set {name}={value:g}" for name, value in sets.items()]
        if self.ewc:
            parts.append(f"--set fisher_data=demo --set fisher_rows={self.fisher_rows}")
        return f"unfrozen train --model demo {' '.join(parts)}"


def _check(name: str, value: object, low: float, high: float, whole: bool) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or (whole and value != int(value)):  # type: ignore[arg-type, call-overload]
        what = "a whole number" if whole else "a number"
        raise PlanError(name, value, f"it must be {what} in {low:g} … {high:g}", "correct it")
    if not low <= value <= high:  # type: ignore[operator]
        raise PlanError(name, value, f"it must lie in {low:g} … {high:g}", "choose one there")


DEFAULT: Final = Choices()
SEEDS: Final = (7, 0, 1, 2, 3)
"""What the presets say holds for each of them."""


@dataclass(frozen=True, slots=True)
class RunPreset:
    """Positions of the dials, with a sentence on what they show."""

    id: str
    label: str
    choices: Mapping[str, float]
    says: str


PRESETS: Final = (
    RunPreset(
        "plain",
        "Default",
        {},
        "It learns nine numbers in ten, and a third of its sums or more come out wrong.",
    ),
    RunPreset(
        "longer",
        "A lower rate, longer",
        {"lr": 4e-4, "steps": 400},
        "In 400 steps it learns about as much and keeps four sums in five.",
    ),
    RunPreset(
        "fast",
        "Five times the rate",
        {"lr": 5e-3},
        "It learns the dashes, and next to nothing else is left.",
    ),
    RunPreset(
        "replay",
        "20% replay",
        {"replay_share": 0.2},
        "It keeps five sums in six and learns nine numbers in ten.",
    ),
    RunPreset(
        "held",
        "Held to θ₀",
        {"l2sp": 0.03},
        "It keeps two sums in three or more, for one or two numbers of 32.",
    ),
    RunPreset(
        "frozen",
        "λ → ∞",
        {"l2sp": 1e9},
        "Nothing moves: nothing is learned, and nothing is forgotten.",
    ),
    RunPreset(
        "ewc",
        "EWC",
        {"ewc": 1.0},
        "It holds the weights that the old skills need: nine sums in ten stay right.",
    ),
    RunPreset(
        "decay",
        "Weight decay",
        {"weight_decay": 10.0},
        "Pulled to zero and not to θ₀, it loses nearly all that it knew.",
    ),
)


@dataclass(frozen=True, slots=True)
class Challenge:
    """A corner of the plane that the defaults miss and some setting of the dials reaches.

    Shares of held-out rows: of the task, and of those that the model answered before training.
    """

    task: float = 28 / 32
    general: float = 0.96


CHALLENGE: Final = Challenge()


def view() -> dict[str, Any]:
    """Return everything the element draws, as plain data."""
    return {
        "dials": [_dial(dial) for dial in DIALS],
        "presets": [
            {"id": p.id, "label": p.label, "choices": dict(p.choices), "says": p.says}
            for p in PRESETS
        ],
        "challenge": {
            "task": CHALLENGE.task,
            "general": CHALLENGE.general,
            "says": f"Challenge: learn {CHALLENGE.task:.0%} of the task and keep"
            f" {CHALLENGE.general:.0%} of what the model knew.",
        },
    }


def _dial(dial: Dial) -> dict[str, Any]:
    default = getattr(DEFAULT, dial.name)
    return {
        "name": dial.name,
        "label": dial.label,
        "note": dial.note,
        "stops": list(dial.stops),
        "texts": [format_stop(dial, stop) for stop in dial.stops],
        "at": dial.stops.index(default),
    }


def format_stop(dial: Dial, stop: float) -> str:
    """Return a stop as text: 2 × 10⁻⁴, 10%, off, 120."""
    if dial.name == "replay_share":
        return f"{100 * stop:g}%" if stop else "none"
    if dial.name in ("l2sp", "ewc", "weight_decay") and not stop:
        return "off"
    if dial.whole or 0.01 <= stop < 10_000:
        return f"{stop:,g}"
    return format_power(stop, 0)


def format_title(choices: Choices) -> str:
    """Return the name of a run: its preset, else the dials that differ from their defaults."""
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
        f"{dials[name].label.lower()} {format_stop(dials[name], value)}"
        for name, value in changed.items()
    )

"""What a fine-tune of the lab may be told, with the bounds of each choice and its place on a dial.

Names are those of the runner's choices (`gpu_runner train --set …`), so that a run of the page can
be made again with PyTorch; `command` says how. The bounds are wider here: a dial is there to be
turned too far.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Final

from unfrozen.errors import PlanError


@dataclass(frozen=True, slots=True)
class Dial:
    """One choice: its bounds, and the stops that a reader may turn it to."""

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
    Dial("steps", "Steps", 0, 400, (0, 20, 40, 60, 90, 120, 200, 400),
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

    lr: float = 6e-4
    steps: int = 120
    replay_share: float = 0.0
    l2sp: float = 0.0
    ewc: float = 0.0
    weight_decay: float = 0.01
    seed: int = 7
    rows_per_step: int = 16
    warmup: int = 20
    floor_ratio: float = 0.1
    clip: float = 1.0
    layer_decay: float = 1.0
    eval_every: int = 20
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
        _check("layer_decay", self.layer_decay, 1, 100, False)

    @classmethod
    def read(cls, given: Mapping[str, object]) -> Choices:
        """From plain data; what is left out or None keeps its default."""
        known = {field.name for field in fields(cls)}
        if unknown := sorted(given.keys() - known):
            dials = ", ".join(dial.name for dial in DIALS)
            raise PlanError("choices", unknown[0], f"the choices are {dials}", "leave it out")
        kept: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        chosen = cls(**kept)
        return replace(chosen, **{d.name: int(getattr(chosen, d.name)) for d in DIALS if d.whole})

    def as_json(self) -> dict[str, object]:
        """The `config` of the run's first event."""
        return asdict(self)

    def command(self) -> str:
        """The same fine-tune by the runner; empty where it would refuse, or forget, the choices."""
        beyond = self.lr > 1 or self.replay_share > 0.9 or self.weight_decay > 1
        if beyond or not self.steps or max(self.l2sp, self.ewc) > 1e6:
            return ""
        said = [f"--steps {self.steps} --lr {self.lr:g} --seed {self.seed}"]
        if self.replay_share:
            said.append(f"--replay demo --replay-share {self.replay_share:g}")
        sets = {
            "micro_batch": self.rows_per_step,
            "warmup": min(self.warmup, self.steps),
            "eval_rows": self.eval_rows,
        }
        usual = {"l2sp": 0.0, "ewc": 0.0, "weight_decay": 0.01, "floor_ratio": 0.1}
        usual |= {"clip": 1.0, "layer_decay": 1.0, "eval_every": 20}
        sets |= {n: getattr(self, n) for n, default in usual.items() if getattr(self, n) != default}
        said += [f"--set {name}={value:g}" for name, value in sets.items()]
        if self.ewc:
            said.append(f"--set fisher_data=demo --set fisher_rows={self.fisher_rows}")
        return f"unfrozen train --model demo {' '.join(said)}"


def _check(name: str, value: object, low: float, high: float, whole: bool) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or (whole and value != int(value)):  # type: ignore[arg-type, call-overload]
        what = "a whole number" if whole else "a number"
        raise PlanError(name, value, f"it must be {what} in {low:g} … {high:g}", "correct it")
    if not low <= value <= high:  # type: ignore[operator]
        raise PlanError(name, value, f"it must lie in {low:g} … {high:g}", "choose one there")

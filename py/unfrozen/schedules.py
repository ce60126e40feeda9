"""Learning-rate schedules: pure functions of the step.

A schedule maps a position t in [0, total_steps] to a rate. Two conventions share it:

* a plot samples t continuously from 0: the rate at 0 is 0 (if there is warm-up), at
  `warmup_steps` exactly the peak, and at `total_steps` exactly the floor;
* the runner numbers its steps 1 … N and uses t = step. So its first step already moves (peak /
  warmup_steps, never a wasted step at rate 0), step `warmup_steps` uses the peak and step N the
  floor.

Sources: linear warm-up and cosine decay, Loshchilov & Hutter, arXiv 1608.03983; warm-up, stable,
decay (WSD), Hu et al., arXiv 2404.06395; discriminative rates, Howard & Ruder, arXiv 1801.06146.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Final, Literal, get_args

from unfrozen.errors import PlanError

Kind = Literal["cosine", "constant", "linear", "wsd"]

ULMFIT_DECAY: Final = 2.6  # ξ of arXiv 1801.06146, section 3.2


@dataclass(frozen=True, slots=True)
class Schedule:
    """Linear warm-up from 0 to `peak`, then the decay named by `kind`.

    kind          cosine: half a cosine from peak to floor; constant: stays at the peak;
                  linear: a straight line to the floor; wsd: constant, then a straight line to the
                  floor over the last `decay_steps`.
    total_steps   N ≥ 1, optimizer steps of the whole run.
    peak          largest rate, > 0.
    warmup_steps  0 … N.
    floor         rate at the end, 0 … peak; unused by `constant`.
    decay_steps   length of the last leg of `wsd`, 0 … N − warmup_steps.

    Raises PlanError for anything else.
    """

    kind: Kind
    total_steps: int
    peak: float
    warmup_steps: int = 0
    floor: float = 0.0
    decay_steps: int = 0

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            kinds = ", ".join(get_args(Kind))
            raise PlanError("schedule.kind", self.kind, f"the kinds are {kinds}", "choose one")
        for field in fields(self)[1:]:
            _check_number(field.name, getattr(self, field.name), whole=field.name.endswith("steps"))
        left = self.total_steps - self.warmup_steps
        _check_range("total_steps", self.total_steps, 1, math.inf)
        _check_range("warmup_steps", self.warmup_steps, 0, self.total_steps)
        _check_range("decay_steps", self.decay_steps, 0, left)
        if not self.peak > 0:
            raise PlanError("schedule.peak", self.peak, "it must be above 0", "try 2e-5")
        _check_range("floor", self.floor, 0, self.peak)

    def at(self, step: float) -> float:
        """Return the rate at position `step` in [0, total_steps]."""
        _check_number("step", step, whole=False)
        _check_range("step", step, 0, self.total_steps)
        if step < self.warmup_steps:
            return self.peak * step / self.warmup_steps
        if self.kind == "constant":
            return self.peak
        start = self.warmup_steps
        if self.kind == "wsd":
            start = self.total_steps - self.decay_steps
        if step <= start:
            return self.peak
        progress = (step - start) / (self.total_steps - start)  # 0 … 1
        if self.kind == "cosine":
            share = 0.5 * (1.0 + math.cos(math.pi * progress))
        else:
            share = 1.0 - progress
        return self.floor + (self.peak - self.floor) * share

    def planned(self) -> list[float]:
        """Return the rate of every step of the run: entry i belongs to step i + 1."""
        return [self.at(step) for step in range(1, self.total_steps + 1)]


def warmup_cosine(
    step: float, total_steps: int, warmup_steps: int, peak: float, floor: float = 0.0
) -> float:
    """Return the rate of linear warm-up to `peak`, then half a cosine; see `Schedule`."""
    return Schedule("cosine", total_steps, peak, warmup_steps, floor).at(step)


def warmup_linear(
    step: float, total_steps: int, warmup_steps: int, peak: float, floor: float = 0.0
) -> float:
    """Return the rate of linear warm-up to `peak`, then a straight line; see `Schedule`."""
    return Schedule("linear", total_steps, peak, warmup_steps, floor).at(step)


def discriminative_rates(peak: float, layers: int, decay: float = ULMFIT_DECAY) -> list[float]:
    """Return the rate of each layer, from the first (nearest the input) to the last (nearest the
    output).

    The l-th layer from the top (l = 0 is the last) gets peak · decay^(−l): early layers hold
    general features and move least (arXiv 1801.06146, section 3.2). Raises PlanError unless
    peak > 0, layers ≥ 1 and decay ≥ 1.
    """
    _check_number("peak", peak, whole=False)
    _check_number("layers", layers, whole=True)
    _check_number("decay", decay, whole=False)
    if not peak > 0:
        raise PlanError("schedule.peak", peak, "it must be above 0", "try 2e-5")
    _check_range("layers", layers, 1, 10_000)
    _check_range("decay", decay, 1, 1e6)
    return [peak * decay ** -(layers - 1 - index) for index in range(layers)]


def _check_number(name: str, value: object, *, whole: bool) -> None:
    kinds = (int,) if whole else (int, float)
    bad = isinstance(value, bool) or not isinstance(value, kinds) or not -1e300 < value < 1e300
    if bad:
        what = "a whole number" if whole else "a finite number"
        raise PlanError(f"schedule.{name}", value, f"it must be {what}", "correct it")


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        bound = f"it must be at least {low:g}"
        if high < math.inf:
            bound = f"it must lie in {low:g} … {high:g}"
        raise PlanError(f"schedule.{name}", value, bound, "correct it")

"""The cost of a run: the price of an hour times the hours between first and last event.

Pauses and evaluations count, because an idle machine is paid for too. Loading the model and the
time between two attempts do not count.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from gpu_runner.errors import UsageError
from unfrozen.units import sig3

MOST_LETTERS: Final = 8  # of a currency
SECONDS: Final = 3600


@dataclass(frozen=True, slots=True)
class Price:
    """The price of an hour of one `unit` ("GPU", or "machine" on a CPU), and how many there are."""

    each: float
    currency: str
    unit: str
    count: int

    @staticmethod
    def of(each: float | None, label: str, device: str, ranks: int) -> Price | None:
        """Return the price of a run: `each` for the GPU of each process, on a CPU for each machine.

        None without a price. Raises `UsageError` for a currency that is no short label.
        """
        if not each:
            return None
        if not 0 < len(label) <= MOST_LETTERS or not label.isprintable():
            raise UsageError(
                f"--currency {label[:40]!r} has {len(label)} characters: give 1 to {MOST_LETTERS},"
                " as USD or €."
            )
        if device == "cuda":
            return Price(each, label, "GPU", ranks)
        here = int(os.environ.get("LOCAL_WORLD_SIZE", ranks))
        return Price(each, label, "machine", math.ceil(ranks / max(1, here)))

    @property
    def hourly(self) -> float:
        """The price of an hour of the run."""
        return self.each * self.count

    @property
    def per(self) -> str:
        """The unit of the price: "an hour of one GPU, times 4"."""
        times = f", times {self.count:,}" if self.count > 1 else ""
        return f"an hour of one {self.unit}{times}"

    def format_amount(self, amount: float) -> str:
        """Return an amount with its currency, to the cent from 1 on: "12.50 USD"."""
        return (
            f"{amount:,.2f} {self.currency}" if amount >= 1 else f"{sig3(amount)} {self.currency}"
        )

    def cost_of(self, seconds: float) -> float:
        """Return the cost of that time."""
        return self.hourly * seconds / SECONDS

    def as_json(self) -> dict[str, Any]:
        """Return the `price` of the `run.start` event."""
        return {"hourly": self.hourly, "currency": self.currency, "per": self.per}


class Spending:
    """The cost of a run so far, with `earlier` of the attempts before this one, and in total.

    `steps` are those of the whole run, 0 if unknown. Remaining steps cost the average of this
    attempt's steps, with evaluations and checkpoints, without pauses.
    """

    def __init__(
        self,
        price: Price,
        steps: int,
        earlier: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.price = price
        self._steps, self._earlier, self._clock = steps, earlier, clock
        self._begun = clock()
        self._first: tuple[int, float] | None = None

    @property
    def spent(self) -> float:
        """The cost so far."""
        return self._earlier + self.price.cost_of(self._clock() - self._begun)

    def sentence(self) -> str:
        """Return the cost so far as a sentence."""
        price = self.price
        spent, each = price.format_amount(self.spent), price.format_amount(price.each)
        return f"It cost {spent}, at {each} for {price.per}."

    def now(self) -> dict[str, float]:
        """Return the cost so far as a metric."""
        return {"cost/spent": round(self.spent, 6)}

    def after(self, step: int, worked_seconds: float) -> dict[str, float]:
        """Return the metrics after a step; `worked_seconds` are this attempt without pauses."""
        if not self._steps:
            return self.now()
        if self._first is None:
            self._first = step, worked_seconds
        since, begun = self._first
        if step == since and step < self._steps:
            return self.now()
        pace = (worked_seconds - begun) / (step - since) if step > since else 0.0
        remaining = self.price.cost_of(pace * max(0, self._steps - step))
        return self.now() | {"cost/total": round(self.spent + remaining, 6)}

"""What a run costs: the price of an hour by the hours that its machines are held.

Held are they from the first event of each attempt to its last one, pauses and evaluations counted:
a machine that stands still on request is paid for. Loading a model, and the time between two
attempts, are not in it.
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
    """An hour of one `unit` ("card", or the "machine" of a CPU), and how many the run holds."""

    each: float
    currency: str
    unit: str
    count: int

    @staticmethod
    def of(each: float | None, label: str, device: str, ranks: int) -> Price | None:
        """`each` in the currency `label`, of the card of each process, on a CPU of each machine.

        None without one. Raises `UsageError` for a currency that is no short word.
        """
        if not each:
            return None
        if not 0 < len(label) <= MOST_LETTERS or not label.isprintable():
            raise UsageError(
                f"--currency {label[:40]!r} has {len(label)} characters: give 1 to {MOST_LETTERS},"
                " as USD or €."
            )
        if device == "cuda":
            return Price(each, label, "card", ranks)
        here = int(os.environ.get("LOCAL_WORLD_SIZE", ranks))
        return Price(each, label, "machine", math.ceil(ranks / max(1, here)))

    @property
    def hourly(self) -> float:
        """An hour of the run."""
        return self.each * self.count

    @property
    def per(self) -> str:
        """What the price is of: "an hour of one card, times 4"."""
        times = f", times {self.count:,}" if self.count > 1 else ""
        return f"an hour of one {self.unit}{times}"

    def told(self, amount: float) -> str:
        """An amount in words, to the cent from one on: "12.50 USD"."""
        return (
            f"{amount:,.2f} {self.currency}" if amount >= 1 else f"{sig3(amount)} {self.currency}"
        )

    def of_seconds(self, seconds: float) -> float:
        """What that time costs."""
        return self.hourly * seconds / SECONDS

    def as_json(self) -> dict[str, Any]:
        """The `price` of the `run.start` event."""
        return {"hourly": self.hourly, "currency": self.currency, "per": self.per}


class Spending:
    """What a run has cost since `earlier`, which attempts before this one have cost, and will.

    `steps` are those of the whole run, 0 where nobody knows. The steps to come cost what those of
    this attempt did on average, evaluations and checkpoints counted and pauses not.
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
        """So far."""
        return self._earlier + self.price.of_seconds(self._clock() - self._begun)

    def told(self) -> str:
        """So far, in a sentence."""
        price = self.price
        return f"It cost {price.told(self.spent)}, at {price.told(price.each)} for {price.per}."

    def now(self) -> dict[str, float]:
        """So far, as a metric."""
        return {"cost/spent": round(self.spent, 6)}

    def after(self, step: int, worked_seconds: float) -> dict[str, float]:
        """The metrics after a step, when this attempt has worked for so long without its pauses."""
        if not self._steps:
            return self.now()
        if self._first is None:
            self._first = step, worked_seconds
        since, begun = self._first
        if step == since and step < self._steps:
            return self.now()
        pace = (worked_seconds - begun) / (step - since) if step > since else 0.0
        to_come = self.price.of_seconds(pace * max(0, self._steps - step))
        return self.now() | {"cost/total": round(self.spent + to_come, 6)}

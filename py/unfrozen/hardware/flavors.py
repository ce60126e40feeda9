"""Prices of rented GPUs: the flavors of providers in `flavors.json`, each price with its day.

A price is that of a whole flavor on demand, in US dollars an hour, as its provider's page said it
on the day of its list; without taxes and storage. A provider counts once in what is usual.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from unfrozen.data_files import read_json
from unfrozen.hardware import Gpu

FEWEST: Final = 3
"""Providers from which on a price is usual."""


@dataclass(frozen=True, slots=True)
class Flavor:
    """One machine of a provider.

    read, source  the day on which its price was read, and from which page
    timeout       how its provider is told when to end a job; "" where none is ended
    most_seconds  the longest job that its provider runs; None for any
    """

    provider: str
    name: str
    gpu: str
    gpus: int
    usd_per_hour: float
    read: str
    source: str
    timeout: str = ""
    most_seconds: int | None = None


def _flavors() -> tuple[Flavor, ...]:
    found = []
    for one in read_json("hardware/flavors.json")["lists"]:
        more = {key: value for key, value in one.items() if key not in ("provider", "flavors")}
        found += [Flavor(one["provider"], *each, **more) for each in one["flavors"]]
    return tuple(found)


FLAVORS: Final = _flavors()


def _cheapest(gpu: str) -> list[float]:
    """Return what an hour of a GPU costs at each provider, in its cheapest flavor."""
    found: dict[str, float] = {}
    for one in FLAVORS:
        if one.gpu == gpu:
            each = one.usd_per_hour / one.gpus
            found[one.provider] = min(each, found.get(one.provider, each))
    return sorted(found.values())


PRICES: Final = {
    gpu: (found[0], found[-1])
    for gpu in dict.fromkeys(one.gpu for one in FLAVORS)
    if len(found := _cheapest(gpu)) >= FEWEST
}
"""The price of an hour of a GPU, from the cheapest provider to the dearest; where a reader gives no
price, the median of the providers."""


PRICES_OF: Final = "May to November 2026"
"""When prices were read: from the first day of a list to the last."""


def usual_price(gpu: Gpu) -> float | None:
    """Return the median of what an hour of a GPU costs; None for one with too few offers."""
    found = sorted(_cheapest(gpu.name)) if gpu.name in PRICES else []
    return found[(len(found) - 1) // 2] if found else None

"""The one form of every bench: a measured value, its baseline, and their ratio."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Ratio:
    """`value` and `baseline` in the same `unit`; smaller is better."""

    what: str
    value: float
    baseline: float
    unit: str


def show(title: str, baseline: str, rows: Sequence[Ratio]) -> None:
    """Print a table; `baseline` says in words what the ratios are to."""
    print(f"\n{title}  (ratio to {baseline})")
    width = max(len(row.what) for row in rows)
    for row in rows:
        numbers = f"{amount(row.value):>10} {amount(row.baseline):>10} {row.unit:<3}"
        print(f"  {row.what:<{width}} {numbers} {row.value / row.baseline:>7.3f}×")


def amount(value: float) -> str:
    """A number as a table shows it: whole from a thousand on, else three significant digits."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"

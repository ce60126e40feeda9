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
        ratio = row.value / row.baseline
        numbers = f"{row.value:>12,.4g} {row.unit:<8} {row.baseline:>12,.4g} {row.unit:<8}"
        print(f"  {row.what:<{width}}  {numbers} {ratio:>7.3f}×")

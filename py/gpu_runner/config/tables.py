"""Choices by part of the model: what a person writes as a table, kept as (pattern, number) pairs.

[rates]                     or --set rates.embedding=0.1 --set 'rates.layers.0=0.5'
embedding = 0.1
"layers.0" = 0.5

Which weights a pattern is of, `unfrozen.training.parts` says; the last one that is of a weight
counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

from gpu_runner.errors import UsageError

Pairs = tuple[tuple[str, float], ...]

TABLES: Final = ("rates", "decays")
MOST_PATTERNS: Final = 64
LONGEST: Final = 200
"""Characters of a pattern."""
_FACTORS: Final = {"rates": (1e-6, 1000.0), "decays": (0.0, 1000.0)}


def read(key: str, value: Any, where: str) -> Pairs:
    """A table of TOML as pairs. Raises `UsageError` for what is none."""
    if not isinstance(value, dict):
        raise UsageError(
            f"{where}: {key} must be a table of parts and numbers: {key}.embedding = 0.1."
        )
    found: dict[str, float] = {}
    for pattern, number in _flat(value):
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise UsageError(
                f"{where}: {key}.{pattern[:80]} must be a number, not {type(number).__name__}."
            )
        found[pattern] = math.inf if number > 10**40 else float(number)
    return tuple(found.items())


def _flat(value: Mapping[str, Any], before: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Dots in a key without quotes have made tables of it: put it together again."""
    for key, one in value.items():
        if isinstance(one, dict) and depth < LONGEST // 2:
            yield from _flat(one, f"{before}{key}.", depth + 1)
        else:
            yield f"{before}{key}", one


def one(key: str) -> tuple[str, str] | None:
    """Table and pattern of `rates.embedding`; None for the name of a plain choice."""
    table, dot, pattern = key.partition(".")
    return (table, pattern.strip("\"'")) if dot and table in TABLES else None


def merged(first: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    """Choices of which the later win; of a table each pattern does, and stands last."""
    found = {**first, **later}
    for key in TABLES:
        if first.get(key) and later.get(key):
            again = dict(later[key])
            kept = tuple(pair for pair in first[key] if pair[0] not in again)
            found[key] = (*kept, *later[key])
    return found


def check(config: Any) -> None:
    """Check the numbers of every table. Raises `UsageError` with pattern, value and bounds."""
    for key, (low, high) in _FACTORS.items():
        pairs: Pairs = getattr(config, key) or ()
        if len(pairs) > MOST_PATTERNS:
            raise UsageError(f"{key} has {len(pairs)} patterns: give at most {MOST_PATTERNS}.")
        for pattern, factor in pairs:
            if not pattern or len(pattern) > LONGEST or not pattern.isprintable():
                raise UsageError(
                    f"{key}: {pattern[:40]!r} cannot be a pattern: give a part or a name of at most"
                    f" {LONGEST} characters."
                )
            if key == "rates" and factor == 0:
                raise UsageError(
                    f"rates.{pattern} 0 would freeze these weights, and a full fine-tune moves"
                    f" every one: give at least {low:g}, or leave the pattern out."
                )
            if not low <= factor <= high:  # nor a NaN
                raise UsageError(
                    f"{key}.{pattern} {factor:g} is out of bounds: give a number from {low:g} to"
                    f" {high:g}."
                )
    _check_together(config)


def _check_together(config: Any) -> None:
    highest = max((factor for _, factor in config.rates or ()), default=1.0)
    if highest > 1 and config.l2sp_pull * config.lr * highest > 1:
        raise UsageError(
            f"l2sp_pull {config.l2sp_pull:g} times --lr {config.lr:g} and {highest:g} of rates goes"
            f" past θ₀: give at most {1 / config.lr / highest:g}."
        )
    if config.decays and not config.weight_decay:
        raise UsageError(
            "decays would change nothing: they multiply --weight-decay, which is 0. Give it, or"
            " drop them."
        )
    strongest = max((factor for _, factor in config.decays or ()), default=1.0)
    if config.weight_decay * strongest > 1:
        raise UsageError(
            f"decays: {strongest:g} times --weight-decay {config.weight_decay:g} is more than 1:"
            f" give at most {1 / config.weight_decay:g}."
        )

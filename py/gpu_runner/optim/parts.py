"""Rates and decay of one part of the model beside the others, by the names of its weights.

A pattern that is of no weight, or of none that a later pattern leaves to it, is a mistake and is
refused: a run would go on as if nothing had been said. Names are those of transformers; a tied head
has none, it is the embedding.
"""

from __future__ import annotations

from collections.abc import Sequence

from gpu_runner.config.tables import Pairs
from gpu_runner.errors import UsageError, everyones
from unfrozen.training.parts import PARTS, chosen, matching, multipliers, nearest


def factors(key: str, pairs: Pairs | None, names: Sequence[str]) -> dict[str, float]:
    """Of each of the weights `names`, by what its rate (or decay) is multiplied; 1 is as it is.

    `key` is the name of the choice, "rates" or "decays"; of the latter, `names` are the weights
    that decay. Raises `UsageError` for a pattern without a weight, with the nearest names.
    """
    values = dict(pairs or ())
    taken = set(chosen(list(values), names).values())
    for pattern in values:
        if pattern in taken:
            continue
        raise everyones(UsageError(f"{key}: {pattern!r} {_why(key, pattern, names)}"))
    return multipliers(values, names)


def _why(key: str, pattern: str, names: Sequence[str]) -> str:
    """What is wrong with a pattern of which no weight is left, and what to give instead."""
    if matching(pattern, names):
        return "would change nothing, as later patterns are of all its weights: drop it."
    if pattern == "head" and matching("embedding", names):
        return "is no part of its own here, as the head is tied to the embedding: give embedding."
    if key == "decays" and pattern == "norms":
        return "would change nothing: only matrices decay. Drop it."
    near = ", ".join(nearest(pattern, names))
    hint = f"did you mean {near}?" if near else f"the parts are {', '.join(PARTS)}."
    return f"is no part and of no weight of this model; {hint}"


def shown(key: str, pairs: Pairs | None, names: Sequence[str]) -> list[str]:
    """For a person: `rate × 0.1 for embedding (1 weight)`, in the order in which they count."""
    what = {"rates": "rate", "decays": "decay"}[key]
    by_pattern = list(chosen([pattern for pattern, _ in pairs or ()], names).values())
    return [
        f"{what} × {factor:g} for {pattern} ({by_pattern.count(pattern)} of {len(names)} weights)"
        for pattern, factor in pairs or ()
    ]

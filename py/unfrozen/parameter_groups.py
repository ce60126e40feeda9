"""Groups of parameters by their names: layer and part.

A pattern is the name of a part (one of `PARTS`), or names of a model between dots: `embed_tokens`
is in `model.embed_tokens.weight`, `layers.0` in `model.layers.0.mlp.up_proj.weight` and not in
`model.layers.10.…`. In a name * stands for any letters, dots too, ? for one, [01] for one of some.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Final

_LAYER: Final = re.compile(r"^(?:.*?\.)?(?:layers|h|blocks)\.(\d+)\.")


def layer_of(parameter: str) -> str:
    """Return the layer of a parameter: `layers.7`, or its module (`embed_tokens`)."""
    found = _LAYER.match(parameter)
    if found:
        return f"layers.{found[1]}"
    parts = parameter.split(".")
    return parts[-2] if len(parts) > 1 else parts[0]


def is_embedding(name: str) -> bool:
    """Return whether a parameter comes before the blocks: embed_tokens, wte, embed_in, …"""
    starts = (part for part in name.split(".") if part != "embed_out")
    return any(part.startswith(("embed", "wte", "wpe")) for part in starts)


PARTS: Final = ("embedding", "head", "norms", "router", "experts", "blocks")
"""Names of parts; `blocks` is all that is in a layer, norms, router and experts among it."""
_HEADS: Final = ("lm_head", "embed_out", "output", "score")
_ROUTERS: Final = ("gate", "router")


def is_part(part: str, name: str) -> bool:
    """Return whether the parameter `name` belongs to one of `PARTS`."""
    inside = "." in layer_of(name)
    modules = name.split(".")[:-1]
    module = modules[-1] if modules else name
    if part == "norms":
        return "norm" in module or module.startswith("ln_")
    if part == "embedding":
        return not inside and is_embedding(name)
    if part == "head":
        return not inside and module.startswith(_HEADS)
    if part == "router":
        return inside and module in _ROUTERS
    if part == "experts":
        return inside and any(one == "experts" or one.startswith("shared_exp") for one in modules)
    return inside


def match_names(pattern: str, names: Iterable[str]) -> list[str]:
    """Return the parameters among `names` that a pattern matches, in their order."""
    if pattern in PARTS:
        return [name for name in names if is_part(pattern, name)]
    return [name for name in names if any(fnmatchcase(run, pattern) for run in _runs(name))]


def _runs(name: str) -> Iterator[str]:
    """Yield every run of consecutive parts of a dotted name."""
    parts = name.split(".")
    for start in range(len(parts)):
        for end in range(start + 1, len(parts) + 1):
            yield ".".join(parts[start:end])


def match_patterns(patterns: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """Return each parameter with the last of `patterns` that matches it; others are left out."""
    found: dict[str, str] = {}
    for pattern in patterns:
        found |= dict.fromkeys(match_names(pattern, names), pattern)
    return found


def pattern_values(values: Mapping[str, float], names: Sequence[str]) -> dict[str, float]:
    """Return each parameter with the value of the last pattern that matches it, else 1."""
    by_pattern = match_patterns(list(values), names)
    return {name: values[by_pattern[name]] if name in by_pattern else 1.0 for name in names}


def nearest_patterns(pattern: str, names: Iterable[str], most: int = 3) -> list[str]:
    """Return suggestions for a pattern that matches nothing: existing parts and modules."""
    names = list(names)
    there = [part for part in PARTS if match_names(part, names)]
    modules = {one for name in names for one in name.split(".")[:-1] if not one.isdecimal()}
    words = [*there, *sorted(modules - set(there))]
    return get_close_matches(pattern, words, n=most, cutoff=0.5) or there

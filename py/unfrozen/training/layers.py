"""The layer a weight belongs to, by its name, and the share of the rate that its layer gets."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from unfrozen.schedules import discriminative_rates

_LAYER: Final = re.compile(r"^(?:.*?\.)?(?:layers|h|blocks)\.(\d+)\.")


def layer_of(parameter: str) -> str:
    """The layer a parameter belongs to: `layers.7`, or the module it is in (`embed_tokens`)."""
    found = _LAYER.match(parameter)
    if found:
        return f"layers.{found[1]}"
    parts = parameter.split(".")
    return parts[-2] if len(parts) > 1 else parts[0]


def rate_shares(names: Iterable[str], decay: float) -> dict[str, float]:
    """Share of the rate for each parameter: 1 for the last block and what comes after it.

    Every block below gets that of the block above divided by `decay`, the embeddings below the
    first block once more. A tied head is an embedding.
    """
    names = list(names)
    numbers = [int(layer.partition(".")[2]) for name in names if "." in (layer := layer_of(name))]
    blocks = max(numbers, default=-1) + 1
    by_layer = discriminative_rates(1.0, blocks + 1, decay)  # index 0: the embeddings

    def depth(name: str) -> int:
        layer = layer_of(name)
        if "." in layer:
            return int(layer.partition(".")[2]) + 1
        return 0 if is_embedding(name) else blocks

    return {name: by_layer[depth(name)] for name in names}


def is_embedding(name: str) -> bool:
    """Whether a parameter outside the blocks stands before them: embed_tokens, wte, embed_in, …"""
    starts = (part for part in name.split(".") if part != "embed_out")
    return any(part.startswith(("embed", "wte", "wpe")) for part in starts)

"""The kinds of layers of a model, and what one of each keeps."""

from __future__ import annotations

from functools import lru_cache

from unfrozen.memory.flow import Flow
from unfrozen.memory.mixed import bytes_of
from unfrozen.model import Architecture, ModelConfig


@lru_cache(maxsize=1024)
def layer_kinds(model: ModelConfig) -> tuple[tuple[Architecture, bool], ...]:
    """The sizes and choices of each kind of layer, and whether it has experts."""
    a = model.architecture
    return tuple(dict.fromkeys((a.of_layer(kind.first), kind.sparse) for kind in model.kinds))


@lru_cache(maxsize=4096)
def kind_bytes(
    model: ModelConfig, flow: Flow, whole_ranks: int = 1
) -> tuple[tuple[float, int], ...]:
    """Bytes a token that a layer of each kind keeps, and how many layers are of it."""
    a = model.architecture
    found: dict[tuple[Architecture, bool], int] = {}
    for kind in model.kinds:
        key = a.of_layer(kind.first), kind.sparse
        found[key] = found.get(key, 0) + kind.layers
    return tuple(
        (bytes_of(of, flow, sparse, whole_ranks), count) for (of, sparse), count in found.items()
    )

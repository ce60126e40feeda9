"""ZeRO: the states of N parameters spread over cards (Rajbhandari et al., arXiv 1910.02054).

With Ψ parameters, 2Ψ bytes of weights, 2Ψ of gradients and KΨ of optimizer state (K = 12 for
mixed-precision Adam), N cards hold each, by stage: 0: (4 + K)Ψ; 1: 4Ψ + KΨ/N; 2: 2Ψ + (2 + K)Ψ/N;
3: (4 + K)Ψ/N.
"""

from __future__ import annotations

from typing import Final

from unfrozen.cluster import SHARDINGS, Cluster
from unfrozen.memory.adapters import QUANTISED_BITS
from unfrozen.memory.classic import states_bytes
from unfrozen.model import ModelConfig
from unfrozen.recipe import BYTES, Recipe

_SHARDED: Final = (
    frozenset[str](),
    frozenset({"master", "moments"}),
    frozenset({"master", "moments", "grads"}),
    frozenset({"master", "moments", "grads", "params", "adapters", "quant_constants"}),
)
_OFFLOADED: Final = {
    "none": frozenset[str](),
    "optimizer": frozenset({"master", "moments"}),
    "params": frozenset({"master", "moments", "grads", "params", "adapters", "quant_constants"}),
}


def per_card(states: dict[str, int], cluster: Cluster) -> dict[str, int]:
    """Bytes of each component on one card, rounded up; what is offloaded takes none."""
    sharded, away = _SHARDED[cluster.stage], _OFFLOADED[cluster.offload]
    if cluster.offload != "none" and cluster.stage >= 2:
        away = away | {"grads"}
    return {
        name: 0 if name in away else -(-size // cluster.shards) if name in sharded else size
        for name, size in states.items()
    }


def gathered_bytes(model: ModelConfig, recipe: Recipe, cluster: Cluster) -> int:
    """Weights gathered for computing under stage 3: the root unit and two layers, in 16 bits.

    While one layer computes the next is fetched; the root unit (embedding, last norm, head) stays.
    Quantised layers are gathered as they are stored.
    """
    if cluster.stage < 3:
        return 0
    width: float = BYTES[recipe.compute]
    if recipe.base:
        width = QUANTISED_BITS[recipe.base] / 8
    layers = min(2, model.architecture.layers) * model.largest_layer
    return round(BYTES[recipe.compute] * model.outer_parameters + width * layers)


def unreduced_bytes(parameters: int, recipe: Recipe, cluster: Cluster) -> int:
    """Gradients of one unit on their way into their shards: as computed, and as they are summed.

    A unit is a layer, the head or the embedding; stage 1 and none keep gradients in place.
    """
    if cluster.stage < 2 or recipe.lora:
        return 0
    summed = BYTES[recipe.grads] if BYTES[recipe.grads] > BYTES[recipe.compute] else 0
    return (BYTES[recipe.compute] + summed) * parameters


def zero_curve(parameters: float, gpu_counts: list[int]) -> dict[str, list[float]]:
    """Bytes a card for the classic 16 bytes a parameter, by stage, for each number of cards."""
    states = states_bytes(parameters)
    return {
        name: [
            sum(per_card(states, Cluster(gpus=gpus, sharding=name)).values()) for gpus in gpu_counts
        ]
        for name in SHARDINGS
    }

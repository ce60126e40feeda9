"""ZeRO: the states of N parameters spread over cards (Rajbhandari et al., arXiv 1910.02054).

With Ψ parameters, 2Ψ bytes of weights, 2Ψ of gradients and KΨ of optimizer state (K = 12 for
mixed-precision Adam), N cards hold each, by stage: 0: (4 + K)Ψ; 1: 4Ψ + KΨ/N; 2: 2Ψ + (2 + K)Ψ/N;
3: (4 + K)Ψ/N.
"""

from __future__ import annotations

from typing import Final

from unfrozen.cluster import SHARDINGS, Cluster
from unfrozen.memory.classic import states_bytes
from unfrozen.model import ModelConfig
from unfrozen.recipe import BYTES, Recipe

_SHARDED: Final = (
    frozenset[str](),
    frozenset({"master", "moments"}),
    frozenset({"master", "moments", "grads"}),
    frozenset({"master", "moments", "grads", "params"}),
)


def per_card(states: dict[str, int], cluster: Cluster) -> dict[str, int]:
    """Bytes of each component on one card, rounded up."""
    sharded = _SHARDED[cluster.stage]
    return {
        name: -(-size // cluster.gpus) if name in sharded else size for name, size in states.items()
    }


def gathered_bytes(model: ModelConfig, recipe: Recipe, cluster: Cluster) -> int:
    """Weights gathered for computing under stage 3: the root unit and two layers, in 16 bits.

    While one layer computes the next is fetched; the root unit (embedding, last norm, head) stays.
    """
    if cluster.stage < 3 or cluster.gpus == 1:
        return 0
    layers = model.architecture.layers
    largest = max(model.layer_parameters(index) for index in range(min(layers, 2)))
    return BYTES[recipe.compute] * (model.outer_parameters + min(2, layers) * largest)


def zero_curve(parameters: float, gpu_counts: list[int]) -> dict[str, list[float]]:
    """Bytes a card for the classic 16 bytes a parameter, by stage, for each number of cards."""
    states = states_bytes(parameters)
    return {
        name: [
            sum(per_card(states, Cluster(gpus=gpus, sharding=name)).values()) for gpus in gpu_counts
        ]
        for name in SHARDINGS
    }

"""ZeRO: the states of N parameters spread over cards (Rajbhandari et al., arXiv 1910.02054).

With Ψ parameters, 2Ψ bytes of weights, 2Ψ of gradients and KΨ of optimizer state (K = 12 for
mixed-precision Adam), N cards hold each, by stage: 0: (4 + K)Ψ; 1: 4Ψ + KΨ/N; 2: 2Ψ + (2 + K)Ψ/N;
3: (4 + K)Ψ/N.
"""

from __future__ import annotations

from typing import Final

from unfrozen.job.cluster import Cluster

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


def per_card(states: dict[str, int], cluster: Cluster, whole_moments: int = 0) -> dict[str, int]:
    """Bytes of each component on one card, rounded up; what is offloaded takes none.

    Of the moments `whole_moments` bytes stay whole where tensors are cut (stage 3); below, whole
    tensors are dealt out with all that belongs to them.
    """
    whole = {"moments": whole_moments if cluster.stage == 3 else 0}
    sharded, away = _SHARDED[cluster.stage], _OFFLOADED[cluster.offload]
    if cluster.offload != "none" and cluster.stage >= 2:
        away = away | {"grads"}
    return {
        name: 0
        if name in away
        else _share(size, whole.get(name, 0), cluster.shards)
        if name in sharded
        else size
        for name, size in states.items()
    }


def _share(size: int, whole: int, shards: int) -> int:
    return whole - (whole - size) // shards

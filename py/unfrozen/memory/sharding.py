"""ZeRO: the states of N parameters spread over GPUs (Rajbhandari et al., arXiv 1910.02054).

With Ψ parameters, 2Ψ bytes of weights, 2Ψ of gradients and KΨ of optimizer state (K = 12 for
mixed-precision Adam), N GPUs hold each, by stage: 0: (4 + K)Ψ; 1: 4Ψ + KΨ/N; 2: 2Ψ + (2 + K)Ψ/N;
3: (4 + K)Ψ/N. N can be some of the GPUs, whose states the others repeat: HSDP (PyTorch FSDP's
hybrid sharding, Zhao et al., arXiv 2304.11277, section 3.2.2), or Megatron-LM's
`num_distributed_optimizer_instances`.
"""

from __future__ import annotations

from typing import Final, NamedTuple

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


class ExpertShare(NamedTuple):
    """How many of a GPU's `parameters` are those of experts."""

    experts: int
    parameters: int


def per_gpu_bytes(
    states: dict[str, int],
    cluster: Cluster,
    whole_moments: int = 0,
    share: ExpertShare | None = None,
) -> dict[str, int]:
    """Bytes of each component on one GPU, rounded up; what is offloaded takes none.

    Of the moments `whole_moments` bytes stay whole where tensors are cut (stage 3); below, whole
    tensors are dealt out with all that belongs to them. The `share` of experts is spread over the
    GPUs alone that hold the same experts (Megatron-LM `megatron/core/parallel_state.py`,
    `get_expert_data_parallel_group`; torchtitan `torchtitan/distributed/parallel_dims.py`).
    """
    whole = {"moments": whole_moments if cluster.stage == 3 else 0}
    sharded, away = _SHARDED[cluster.stage], _OFFLOADED[cluster.offload]
    if cluster.offload != "none" and cluster.stage >= 2:
        away = away | {"grads"}
    shards, own = cluster.shards, cluster.expert_shards
    apart = share if share and own != shards else None

    def on_card(name: str, size: int) -> int:
        if apart is None:
            return _share(size, whole.get(name, 0), shards)
        experts = 0 if name == "adapters" else size * apart.experts // apart.parameters
        return _share(size - experts, whole.get(name, 0), shards) + _share(experts, 0, own)

    return {
        name: 0 if name in away else on_card(name, size) if name in sharded else size
        for name, size in states.items()
    }


def _share(size: int, whole: int, shards: int) -> int:
    return whole - (whole - size) // shards

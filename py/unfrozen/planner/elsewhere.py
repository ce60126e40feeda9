"""Layouts that the runner does not have, in the words of frameworks that do.

Options of torchtitan (`torchtitan/config/configs.py` @b5bcd76, names of schedules from
`torch/distributed/pipelining/schedules.py`, `get_schedule_class`) and of Megatron-LM
(`megatron/training/arguments.py` @d98e8a64).
"""

from __future__ import annotations

from typing import Final

from unfrozen.job.cluster import Cluster

_TITAN: Final = {
    "gpipe": "GPipe",
    "1f1b": "1F1B",
    "interleaved": "Interleaved1F1B",
    "zero_bubble": "InterleavedZeroBubble",
    "zb_v": "ZBVZeroBubble",
    "dualpipe_v": "DualPipeV",
}
"""PyTorch's names; the others have none there."""
_MEGATRON: Final = ("1f1b", "interleaved")


def pipeline(cluster: Cluster) -> str:
    """How a pipeline is asked for elsewhere; empty where nobody has its schedule."""
    ranks, schedule = cluster.pipeline_parallel, cluster.pipeline_schedule
    found = []
    if schedule in _TITAN and cluster.pipeline_layers is None:
        found.append(
            f"torchtitan has it: --parallelism.pipeline_parallel_degree {ranks}"
            f" --parallelism.pipeline_parallel_schedule {_TITAN[schedule]}"
        )
    if schedule in _MEGATRON:
        words = f"--pipeline-model-parallel-size {ranks}"
        if cluster.pipeline_layers:
            words += f" --pipeline-model-parallel-layout '{_layout(cluster.pipeline_layers)}'"
        elif cluster.chunks > 1:
            words += f" --num-virtual-stages-per-pipeline-rank {cluster.chunks}"
        found.append(f"Megatron-LM{' has it' if not found else ''}: {words}")
    return "; ".join(found)


def experts(cluster: Cluster) -> str:
    """How experts that cards share out are asked for elsewhere."""
    ranks, own = cluster.expert_parallel, cluster.expert_ranks
    found = []
    if own in (1, cluster.tensor_parallel):
        found.append(f"torchtitan has it: --parallelism.expert_parallel_degree {ranks}")
    words = f"--expert-model-parallel-size {ranks}"
    if own != cluster.tensor_parallel:
        words += f" --expert-tensor-parallel-size {own}"
    return "; ".join([*found, f"Megatron-LM{' has it' if not found else ''}: {words}"])


def copies(cluster: Cluster) -> str:
    """How states that only some of the cards share out are asked for elsewhere."""
    groups = cluster.alike // cluster.shards
    if cluster.stage == 3:
        return f"torchtitan has it: --parallelism.data_parallel_replicate_degree {groups}"
    return f"Megatron-LM has it: --num-distributed-optimizer-instances {groups}"


def _layout(layers: tuple[int, ...]) -> str:
    """Embedding, layers and loss of each stage, in Megatron's letters."""
    stages = [f"t*{count}" if count else "" for count in layers]
    return "|".join(["E" + stages[0], *stages[1:-1], stages[-1] + "L"])

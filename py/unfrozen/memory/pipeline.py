"""The layers of a pipeline rank, and its micro-batches in flight.

A rank holds the weights, gradients and states of its stages: the embedding with the first, last
norm and head with the last, each with a copy of its own where they are tied and lie apart
(Megatron-LM `megatron/core/models/common/language_module/language_module.py`,
`setup_embeddings_and_output_layer`, which then sums the two gradients).

A micro-batch in flight keeps what its stage's forward pass saved. What was sent on is freed at once
(Megatron-LM `megatron/core/pipeline_parallel/schedules.py`, `deallocate_output_tensor`), and the
gradient that came in is held until it has been through the stage.

PyTorch's pipelines, which are meant where weights are sharded (ZeRO-3), keep what was sent on, and
the logits (`torch/distributed/pipelining/stage.py`, `fwd_cache`).

FSDP within a pipeline gathers a rank's weights once a step and sums its gradients once, after the
last micro-batch (torchtitan `torchtitan/models/llama3/infra/parallelize.py`: no resharding after
the forward pass in a pipeline; `stage.py`, `backward_maybe_with_nosync`): both are there whole. Of
several stages per rank no more than three are gathered at a time (`schedules.py`,
`_add_unshard_reshard`).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from unfrozen.job.cluster import Cluster
from unfrozen.job.layout import stage_layers, stages_of
from unfrozen.memory.activations import keeps_input
from unfrozen.memory.backward import MicroBatchMemory
from unfrozen.memory.pipeline_schedules import RankMoment, rank_moments
from unfrozen.memory.points import Point
from unfrozen.model import ModelConfig

GATHERED_STAGES: Final = 3


@lru_cache(maxsize=4096)
def stages_of_rank(model: ModelConfig, cluster: Cluster, rank: int) -> tuple[ModelConfig, ...]:
    """Return the stages of a rank, first to last.

    One without layers is part of its neighbour.
    """
    layers, last = stage_layers(model.architecture.layers, cluster), cluster.stages - 1
    stages = stages_of(rank, cluster)
    held = [stage for stage in stages if layers[stage]]
    empty = set(stages) - set(held)
    return tuple(
        model.only(
            layers[stage],
            embedding=stage == 0 or (0 in empty and stage == held[0]),
            head=stage == last or (last in empty and stage == held[-1]),
        )
        for stage in held
    )


def joined_stages(stages: tuple[ModelConfig, ...], model: ModelConfig) -> ModelConfig:
    """Return everything that a rank holds of `model`, as one model."""
    if len(stages) == 1:
        return stages[0]
    parts = [stage.architecture.part for stage in stages]
    layers = tuple(layer for part in parts if part for layer in part.layers)
    embedding = any(stage.architecture.has_embedding for stage in stages)
    head = any(stage.architecture.has_head for stage in stages)
    return model.only(layers, embedding=embedding, head=head)


def candidate_ranks(model: ModelConfig, cluster: Cluster) -> tuple[int, ...]:
    """Return the ranks that may hold most: the first and the last of those with the same layers and
    ends.

    Between them, memory in flight only falls or only rises.
    """
    first: dict[object, int] = {}
    last: dict[object, int] = {}
    for rank in range(cluster.pipeline_parallel):
        stages = stages_of_rank(model, cluster, rank)
        kind = tuple(map(_kind, stages))
        first.setdefault(kind, rank)
        last[kind] = rank
    return tuple(sorted({*first.values(), *last.values()}))


def _kind(stage: ModelConfig) -> tuple[int, int, bool, bool]:
    a = stage.architecture
    return a.layers, stage.sparse_layers, a.has_embedding, a.has_head


class InFlightBatches:
    """The micro-batches in flight on a rank; `passes` are those of its stages.

    `local` is all that it holds, of a model of so many `layers`.
    """

    def __init__(
        self, passes: tuple[MicroBatchMemory, ...], rank: int, local: ModelConfig, layers: int
    ) -> None:
        self._batches, self._local = passes, local
        self._cluster = passes[0].cluster
        counts = stage_layers(layers, self._cluster)
        held = [at for at, stage in enumerate(stages_of(rank, self._cluster)) if counts[stage]]
        self._saved = [_saved_bytes(part) for part in passes]
        found = rank_moments(self._cluster, passes[0].recipe.grad_accum, rank)
        self._moments = [_of_stages(moment, held) for moment in found if moment.stage in held]

    def beside(self, stage: int) -> Point:
        """Return the largest memory of the micro-batches in flight beside the work on one stage."""
        part = self._batches[stage]
        kept = max(self._bytes(moment) for moment in self._moments if moment.stage == stage)
        coming = 2 if self._cluster.chunks > 1 else 0  # the next of either way is received early
        held = 0 if part.model.architecture.has_head else 1
        sent = _output_bytes(part) if _is_pytorch(self._cluster) else 0
        return {"in_flight": kept, "passed": (coming + held) * _hidden_bytes(part) + sent}

    def count(self, stage: int) -> int:
        """Return how many micro-batches, of one stage each, are in flight beside one stage."""
        found = [moment for moment in self._moments if moment.stage == stage]
        worst = max(found, key=self._bytes)
        return sum(worst.held)

    def shared(self) -> Point:
        """Return weights and gradients that a rank under ZeRO-2 or 3 holds unsharded."""
        cluster, part = self._cluster, self._batches[0]
        if cluster.stage < 2:
            return {}
        count = self._local.num_parameters
        trained = count if part.recipe.lora is None else 0
        waits = 0 if part.recipe.accumulates_whole else trained  # which are counted as gradients
        found = {"unreduced": part.gathering.summed_width * waits}
        if cluster.stage == 3:
            sizes = sorted((one.model.num_parameters for one in self._batches), reverse=True)
            found["gathered"] = part.setup.compute * sum(sizes[:GATHERED_STAGES])
        return found

    def _bytes(self, moment: RankMoment) -> int:
        return sum(n * size for n, size in zip(moment.held, self._saved, strict=True))


def _of_stages(moment: RankMoment, held: list[int]) -> RankMoment:
    """Return a moment with only the stages of the rank that have layers."""
    return RankMoment(held.index(moment.stage), tuple(moment.held[at] for at in held))


def _hidden_bytes(part: MicroBatchMemory) -> int:
    """Return the bytes of the hidden states between two stages."""
    return part.setup.compute * part.tokens * part.model.architecture.hidden // part.whole_ranks


def _output_bytes(part: MicroBatchMemory) -> int:
    """Return the bytes of a stage's output: hidden states, or the logits of the last one."""
    if part.model.architecture.has_head:
        return part.setup.compute * part.loss_tokens * part.vocab
    return _hidden_bytes(part)


def _is_pytorch(cluster: Cluster) -> bool:
    """Return whether a pipeline is PyTorch's: others shard no weights in a pipeline."""
    return cluster.stage == 3


def _saved_bytes(part: MicroBatchMemory) -> int:
    """Return what a micro-batch saves between its forward and backward passes through a stage; the
    last one, with the head, works off at once what it is given.
    """
    a, recipe = part.model.architecture, part.recipe
    layers = 0 if recipe.activation_offload else part.layers
    found = layers + part.outside
    if recipe.checkpointing == "none" and not keeps_input(a, part.setup) and not a.has_embedding:
        found += _hidden_bytes(part)
    return found + (_output_bytes(part) if _is_pytorch(part.cluster) else 0)

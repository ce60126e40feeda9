"""The layers of a pipeline rank, and its micro-batches in flight.

A rank holds the weights, gradients and states of its stages: the embedding with the first, last
norm and head with the last, each with a copy of its own where they are tied and lie apart
(Megatron-LM `megatron/core/models/common/language_module/language_module.py`,
`setup_embeddings_and_output_layer`, which then sums the two gradients).

A micro-batch in flight keeps what its stage's forward pass saved; where the backward pass is cut in
two, after the first half the inputs of the linear layers and the gradients of their outputs: 32·T·h
in a GPT layer, table 1 of Qi et al., arXiv 2401.10241. What was sent on is freed at once
(Megatron-LM `megatron/core/pipeline_parallel/schedules.py`, `deallocate_output_tensor`), and the
gradient that came in is held until it has been through the stage.

PyTorch's pipelines, which are meant where weights are sharded (ZeRO-3), keep what was sent on, and
the logits (`torch/distributed/pipelining/stage.py`, `fwd_cache`); and between the two halves of a
backward pass all that was saved (`_backward.py`, `stage_backward_input`, which retains the graph).

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
from unfrozen.memory.layer_setup import LayerSetup
from unfrozen.memory.pipeline_schedules import RankMoment, rank_moments
from unfrozen.memory.points import Point
from unfrozen.model import Architecture, ModelConfig

GATHERED_STAGES: Final = 3
_LOSS_KEPT: Final = {"logits_fp32": 4, "vocab_parallel": 4, "loss_parallel": 4}
"""Bytes per logit that a loss saves for its backward pass: fp32 probabilities, else the logits."""
_GONE: Final = ("classification", "fused_linear", "linear", "fused_vocab")
"""Losses that save no logits."""


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
        alone = not counts[-1]  # a stage of its own works off at once what the head keeps
        self._whole = [_saved_bytes(part, head=not alone) for part in passes]
        self._late = [_between_halves_bytes(part) for part in passes]
        if _is_pytorch(self._cluster):
            self._late = [sum(both) for both in zip(self._late, self._whole, strict=True)]
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
        return sum(worst.whole) + sum(worst.late)

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
        whole = sum(n * size for n, size in zip(moment.whole, self._whole, strict=True))
        return whole + sum(n * size for n, size in zip(moment.late, self._late, strict=True))


def _of_stages(moment: RankMoment, held: list[int]) -> RankMoment:
    """Return a moment with only the stages of the rank that have layers."""
    whole, late = ([counts[at] for at in held] for counts in (moment.whole, moment.late))
    return RankMoment(held.index(moment.stage), tuple(whole), tuple(late))


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


def _saved_bytes(part: MicroBatchMemory, *, head: bool) -> int:
    """Return what a micro-batch saves between its forward and backward passes through a stage; with
    `head` also what the head saves.
    """
    a, recipe = part.model.architecture, part.recipe
    layers = 0 if recipe.activation_offload else part.layers
    found = layers + part.outside
    if recipe.checkpointing == "none" and not keeps_input(a, part.setup) and not a.has_embedding:
        found += _hidden_bytes(part)
    if _is_pytorch(part.cluster):
        found += _output_bytes(part)
    if not a.has_head or not head:
        return found
    head_input = part.setup.compute * a.hidden * part.loss_tokens if part.head_trains else 0
    width = _LOSS_KEPT.get(part.loss_kind, 0) or part.setup.compute
    logits = 0 if part.loss_kind in _GONE else width * part.loss_tokens * part.vocab
    return found + head_input + logits


def _between_halves_bytes(part: MicroBatchMemory) -> int:
    """Return what a micro-batch saves until the weight gradients of a stage are computed."""
    a, setup = part.model.architecture, part.setup
    if part.recipe.lora:
        return 0
    sparse = part.model.sparse_layers
    layers = sum(
        count * _weight_grad_inputs(a, setup, kind, part.whole_ranks)
        for kind, count in ((True, sparse), (False, a.layers - sparse))
        if count
    )
    head = 0 if a.labels or not a.has_head else setup.compute * part.loss_tokens
    return round(part.tokens * layers) + head * (a.hidden + part.vocab)


def _weight_grad_inputs(
    a: Architecture, setup: LayerSetup, sparse: bool, whole_ranks: int
) -> float:
    """Return bytes per token of inputs and output gradients of the linear layers of one layer."""
    q, k, h = a.q_width, a.kv_width, a.hidden / whole_ranks
    found = setup.compute * (2 * h + 2 * q + 2 * k)
    if not sparse:
        return found + setup.compute * (2 * h + (3 if a.gated else 2) * a.ffn)
    experts = a.experts
    assert experts is not None
    up = 3 if a.gated else 2
    return (
        found
        + setup.stream * experts.per_token * (2 * h + up * experts.ffn)
        + (setup.compute * up * experts.shared_ffn)
    )

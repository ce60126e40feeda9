"""How many cards train a model and what they share out; the `cluster` part of a job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Final

from unfrozen.errors import PlanError

SHARDINGS: Final = ("none", "zero1", "zero2", "zero3")
OFFLOADS: Final = ("none", "optimizer", "params")
MOST_GPUS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Cluster:
    """The cards and what each of them holds of the model.

    gpus               number of cards
    sharding           none, or ZeRO 1 (optimizer), 2 (and gradients), 3 (and weights), over all
                       cards that hold the same part of a layer: arXiv 1910.02054
    tensor_parallel    cards that share the matrices of each layer
    sequence_parallel  those cards share the rest of a layer too, along the sequence
    context_parallel   cards that share one sequence, each with its own tokens
    outer_apart        under zero3, embedding and head are gathered and scattered on their own where
                       they are not tied, and gradients are summed in fp32, whatever their own
                       precision (`gpu_runner`, torchtitan since 2025); else with the root
    offload            "optimizer" keeps the optimizer (and, from stage 2 on, the gradients) in the
                       memory of the host, "params" (stage 3) the weights too
    """

    gpus: int = 1
    sharding: str = "none"
    tensor_parallel: int = 1
    sequence_parallel: bool = False
    context_parallel: int = 1
    offload: str = "none"
    outer_apart: bool = False

    @property
    def stage(self) -> int:
        """The ZeRO stage, 0 where nothing is sharded."""
        return SHARDINGS.index(self.sharding)

    @property
    def shards(self) -> int:
        """Cards over which sharded states are spread: data- and context-parallel ones."""
        return self.gpus // self.tensor_parallel

    @property
    def replicas(self) -> int:
        """Cards, or groups of them, that train on micro-batches of their own."""
        return self.gpus // (self.tensor_parallel * self.context_parallel)

    @classmethod
    def of_runner(cls, cards: int) -> Cluster:
        """How `gpu_runner` shares a model out to so many cards: FSDP2, the ends apart."""
        return cls(cards, "zero3", outer_apart=True) if cards > 1 else cls()

    @classmethod
    def read(cls, given: object) -> Cluster:
        """The cluster of a job, defaults filled in; raises PlanError for what cannot be planned."""
        if not isinstance(given, Mapping):
            raise PlanError("cluster", given, "it must be an object", "give {} for one card")
        for key, value in given.items():
            if key not in _KNOWN:
                bound = f"known keys are {', '.join(_KNOWN)}"
                raise PlanError(f"cluster.{key}", value, bound, "drop it")
            _check(key, value)
        cluster = cls(**given)
        _check_together(cluster)
        return cluster


_KNOWN: Final = tuple(field.name for field in fields(Cluster))


def _check(key: str, value: object) -> None:
    name = f"cluster.{key}"
    if key in ("gpus", "tensor_parallel", "context_parallel"):
        if type(value) is not int or not 1 <= value <= MOST_GPUS:
            bound = f"it must be a whole number in 1 … {MOST_GPUS:,}"
            raise PlanError(name, value, bound, "correct it")
    elif key in ("sequence_parallel", "outer_apart"):
        if type(value) is not bool:
            raise PlanError(name, value, "it must be true or false", "correct it")
    else:
        choices = SHARDINGS if key == "sharding" else OFFLOADS
        if value not in choices:
            bound = f"it must be one of {', '.join(choices)}"
            raise PlanError(name, value, bound, "choose one")


def _check_together(cluster: Cluster) -> None:
    together = cluster.tensor_parallel * cluster.context_parallel
    if cluster.gpus % together:
        bound = f"tensor_parallel · context_parallel = {together} must divide it"
        raise PlanError("cluster.gpus", cluster.gpus, bound, f"use a multiple of {together}")
    if cluster.offload == "params" and cluster.stage < 3:
        bound = "weights wait in the memory of the host under zero3 only"
        raise PlanError("cluster.offload", cluster.offload, bound, 'set sharding to "zero3"')

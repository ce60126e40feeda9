"""How many cards train a model and what they share out; the `cluster` part of a job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Final

from unfrozen.errors import PlanError

SHARDINGS: Final = ("none", "zero1", "zero2", "zero3")
MOST_GPUS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Cluster:
    """Data-parallel cards. Parallelism inside a layer is refused until it can be planned.

    gpus      number of cards
    sharding  none, or ZeRO 1 (optimizer), 2 (and gradients), 3 (and weights): arXiv 1910.02054
    """

    gpus: int = 1
    sharding: str = "none"
    tensor_parallel: int = 1
    sequence_parallel: bool = False
    context_parallel: int = 1
    offload: str = "none"

    @property
    def stage(self) -> int:
        """The ZeRO stage, 0 where nothing is sharded."""
        return SHARDINGS.index(self.sharding)

    @classmethod
    def read(cls, given: object) -> Cluster:
        """The cluster of a job, defaults filled in; raises PlanError for what cannot be planned."""
        if not isinstance(given, Mapping):
            raise PlanError("cluster", given, "it must be an object", "give {} for one card")
        known = [field.name for field in fields(cls)]
        for key, value in given.items():
            if key not in known:
                bound = f"known keys are {', '.join(known)}"
                raise PlanError(f"cluster.{key}", value, bound, "drop it")
        cluster = cls(**given)
        gpus = cluster.gpus
        if type(gpus) is not int or not 1 <= gpus <= MOST_GPUS:
            bound = f"it must be a whole number in 1 … {MOST_GPUS:,}"
            raise PlanError("cluster.gpus", gpus, bound, "correct it")
        if cluster.sharding not in SHARDINGS:
            bound = f"it must be one of {', '.join(SHARDINGS)}"
            raise PlanError("cluster.sharding", cluster.sharding, bound, "choose one")
        for field in fields(cls)[2:]:
            value = getattr(cluster, field.name)
            if value != field.default or type(value) is not type(field.default):
                bound = f"only {str(field.default).lower()} is planned yet"
                raise PlanError(f"cluster.{field.name}", value, bound, "leave it out")
        return cluster

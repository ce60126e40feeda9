"""The ways to run a job: which recipe and offload, in which framework.

Full fine-tuning in the job's own arithmetic on the GPUs alone is taken where it fits; else the same
arithmetic with part of it in host memory, as far as usual machines have that; else weights rounded
at random without a master copy, smaller optimizer states, an update inside backward. Adapters are
never taken: they are named beside it.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, Final, cast

from unfrozen.errors import PlanError
from unfrozen.frameworks.adapting import refuse
from unfrozen.frameworks.parallel_trainers import MEGATRON, TORCHTITAN
from unfrozen.frameworks.registry import FRAMEWORKS, UNFROZEN
from unfrozen.frameworks.transformers_trainers import ACCELERATE, DEEPSPEED
from unfrozen.job import Job, half_precision
from unfrozen.job.lora import LORA_SETTINGS
from unfrozen.job.recipe import RECIPE_SETTINGS
from unfrozen.plan.advice import is_unimplemented, patched
from unfrozen.plan.layouts import Route, Takes
from unfrozen.planner.runner import runner_defaults


@dataclass(frozen=True, slots=True)
class Variant:
    """What a way changes of a job's recipe and cluster."""

    recipe: dict[str, Any] = field(default_factory=dict)
    cluster: dict[str, Any] = field(default_factory=dict)

    @property
    def early(self) -> bool:
        """Whether each tensor is updated in backward, so that a step has one micro-batch."""
        return bool(self.recipe.get("optimizer_in_backward"))


_SEARCHED: Final = frozenset({"micro_batch", "grad_accum", "checkpointing", "lora_targets"})
SETTINGS: Final = (
    frozenset({*RECIPE_SETTINGS, "offload", *(one.key for one in LORA_SETTINGS.values())})
    - _SEARCHED
)
"""What stays as a reader set it: not what layouts divide and recompute, nor the layers of adapters,
for which each framework has names of its own.
"""
_OFFLOADED: Final = {"activation_offload": True}
_RANDOM: Final = {
    **{"params": "bf16", "compute": "bf16", "grads": "bf16", "master": None},
    **{"rounding": "stochastic", "moments": "bf16"},
}
_EIGHT: Final = _RANDOM | {"moments": "int8"}
_ADAFACTOR: Final = _RANDOM | {"optimizer": "adafactor", "moments": None}
_EARLY: Final = {"optimizer_in_backward": True}
_OFFLOADS: Final = ("optimizer", "params")

ON_GPU: Final = (Variant(), Variant({"kernels": "fused"}))
"""The job's own arithmetic, on the GPUs alone."""
_STATES_AWAY: Final = tuple(
    Variant(more, {"offload": states}) for more in ({}, _OFFLOADED) for states in _OFFLOADS
)
AWAY: Final = (Variant(_OFFLOADED), *_STATES_AWAY)
"""The same arithmetic, part of it in the host's memory."""
SMALLER: Final = tuple(
    Variant(own | more)
    for more in ({}, _OFFLOADED)
    for own in (_RANDOM, _EIGHT, _RANDOM | _EARLY, _EIGHT | _EARLY, _ADAFACTOR | _EARLY)
)
"""Every weight trains, and the optimizer remembers less exactly."""
ADAPTERS: Final[tuple[tuple[Variant, ...], ...]] = tuple(
    tuple(Variant(method | more) for more in ({}, {"kernels": "fused"}))
    for method in (
        {"method": "lora", "master": None},
        {"method": "qlora", "base": "nf4", "master": None},
    )
)
"""What trains less than every weight, by method."""
TRL: Final = (ACCELERATE, DEEPSPEED)
_APART: Final = (*TRL, TORCHTITAN, MEGATRON, UNFROZEN)
SEVERAL: Final = (TORCHTITAN, MEGATRON)
"""Frameworks for many GPUs: they want data, and Megatron-LM weights, in formats of their own."""
PREFERRED: Final = (*TRL, *(n for n in FRAMEWORKS if n not in _APART), *SEVERAL, UNFROZEN)
"""Frameworks, of equals the one first that reads the reader's data as it is; last what no GPU has
run."""


def ways(
    job: Job, change: Variant, framework: str = "", left: Set[str] | None = None
) -> list[Route]:
    """Return the ways to run a job with a change: in the named framework, else in each, and with
    adapters by data parallelism alone in any. Settings that a reader did not leave open (`left`;
    None: all are) stay as they are; the others are those of the runner where it trains.
    """
    changed = _changed(job, change)
    # adapters beside full fine-tuning are another job
    fixed = frozenset() if left is None or "method" in change.recipe else SETTINGS - left
    if changed is None or any(_setting(job, key) != _setting(changed, key) for key in fixed):
        return []
    open_keys = SETTINGS - fixed - change.recipe.keys()
    found = []
    for name in [framework] if framework else PREFERRED:
        own = _as_runner(changed, open_keys) if name == UNFROZEN else changed
        found.append(Route(own, _keeps(name, change, fixed), name))
    alone = changed.recipe.lora and not framework and change in (*ON_GPU, *chain(*ADAPTERS))
    return [*found, Route(changed, _alone)] if alone else found


def _setting(job: Job, key: str) -> object:
    """Return the value of a setting of a job; 4 bits are 4 bits, however their scales are kept."""
    if key.startswith("lora_"):
        return getattr(job.recipe.lora, key.removeprefix("lora_"), None)
    value = getattr(job.cluster if key == "offload" else job.recipe, key)
    return "nf4" if value == "nf4-dq" else value


def _as_runner(job: Job, left: Set[str]) -> Job:
    recipe = job.recipe
    given = {"checkpointing": recipe.checkpointing, "compute": recipe.compute}
    own = runner_defaults(job.model.architecture, given, job.gpu)
    own = {key: value for key, value in own.items() if key in left}
    return replace(job, recipe=replace(recipe, **cast("dict[str, Any]", own)))


def _alone(job: Job) -> Job:
    """Return a job whose GPUs share no layer, sequence or depth. Raises PlanError for another."""
    keys = ("tensor_parallel", "context_parallel", "pipeline_parallel", "expert_parallel")
    refuse(job, "PEFT", **dict.fromkeys(keys, (1,)))
    return job


def _changed(job: Job, change: Variant) -> Job | None:
    """Return the job with the change; None where it cannot be planned or nothing implements it."""
    recipe, cluster = dict(change.recipe), dict(change.cluster)
    if "method" in recipe:
        recipe["lora"] = job.recipe.lora or {}
        if job.recipe.compute == "fp16" and job.recipe.lora is None:
            recipe |= half_precision(recipe)
        if job.model.architecture.experts:
            recipe["whole_experts"] = recipe["method"] == "qlora"
    if cluster.get("offload") == "params":
        cluster["sharding"] = "zero3"
    try:
        found = patched(job, {"recipe": recipe, "cluster": cluster})
    except PlanError:
        return None
    return None if is_unimplemented(found.recipe) else found


def _keeps(name: str, change: Variant, fixed: Set[str]) -> Takes:
    """Return what a framework makes of a job, refused where it drops a change or what is fixed."""
    adapt, kept = FRAMEWORKS[name].adapt, fixed | change.recipe.keys() & SETTINGS

    def takes(job: Job) -> Job:
        found = adapt(job)
        found = found.on(found.gpu) if found.gpu else found  # whose precision it may lack
        recipe = found.recipe
        exact = recipe.params == "fp32" or recipe.master is not None or recipe.rounds
        if recipe.method == "full" and not exact:
            bound = f"{name} rounds 16-bit weights to the nearest, without a master copy"
            raise PlanError("recipe.master", None, bound, "use another")
        for key in sorted(kept):
            if (wanted := _setting(job, key)) != _setting(found, key):
                part = "cluster" if key == "offload" else "recipe"
                raise PlanError(f"{part}.{key}", wanted, f"{name} has no option for it", "drop it")
        return found

    return takes

"""Changes that every framework makes to a job before its command: refusals, states, machines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from unfrozen.errors import PlanError
from unfrozen.job import Job
from unfrozen.job.framework_defaults import adapter_defaults
from unfrozen.job.lora import EXPERTS, layer_of_kind, targets, whole_targets
from unfrozen.model.config import is_expert_stack
from unfrozen.plan.step_time import job_gpu
from unfrozen.planner.runner import RENDEZVOUS

ON_APPLE: Final = ("accelerate", "PEFT")
"""Frameworks for PyTorch's `mps` device: the Trainer of transformers, and so TRL and PEFT."""
_OFF: Final = {
    **dict.fromkeys(("paged", "optimizer_in_backward", "activation_offload", "packed"), False),
    **dict.fromkeys(("no_sync", "whole_compile", "keeps_outputs", "router_held"), False),
    **dict.fromkeys(("ema", "torch_delta"), False),
    **{"reentrant": False, "experts_cast": False, "expert_padding": None, "grad_buckets": None},
    **{"checkpoint_every": 1, "dropout": None, "compiled_loss": None, "reduce": None},
}
"""What no framework's command has an option for, as all of them train."""


_OBJECTIVES: Final = {
    **dict.fromkeys(("accelerate", "deepspeed"), ("sft", "dpo", "grpo")),  # both are TRL's
    "axolotl": ("sft", "dpo"),
}
"""Objectives beside sft that a framework's command is written for."""


def refuse(job: Job, framework: str, **allowed: tuple[Any, ...]) -> None:
    """Raises PlanError where a key of the cluster or the recipe has a value that is not allowed, or
    the job a GPU that the framework does not run on.
    """
    if job_gpu(job).device == "mps" and framework not in ON_APPLE:
        bound = f"{framework} is not known to train on a GPU of Apple"
        raise PlanError("gpu", job_gpu(job).name, bound, f"use {' or '.join(ON_APPLE)}")
    written = _OBJECTIVES.get(framework, ("sft",))
    for key, values in {"objective": written, **allowed}.items():
        part = "cluster" if hasattr(job.cluster, key) else "recipe"
        value = getattr(getattr(job, part), key)
        if value not in values:
            bound = f"{framework} has no option for it"
            if key == "objective":
                bound = f"no command of {framework} is written for it here"
            options = ", ".join("null" if each is None else str(each) for each in values)
            raise PlanError(f"{part}.{key}", value, bound, f"use {options}")
    if job.recipe.objective == "grpo" and not completions_of_prompt(job):
        count = job.recipe.micro_batch * job.recipe.grad_accum * job.cluster.replicas
        bound = "GRPO compares two completions or more of each prompt in a step"
        raise PlanError("recipe.micro_batch", count, bound, "make the step's sequences even")


COMPLETIONS: Final = 8
"""TRL's GRPO writes so many of each prompt (`num_generations`)."""


def completions_of_prompt(job: Job) -> int:
    """Return how many completions of each prompt a step has: `COMPLETIONS`, or as many as divide
    its sequences; 0 where none do.
    """
    count = job.recipe.micro_batch * job.recipe.grad_accum * job.cluster.replicas
    return next((each for each in (COMPLETIONS, 4, 2, 3, 5, 7) if count % each == 0), 0)


def trained_by_adamw(
    job: Job, framework: str, states: Mapping[str, Any], methods: tuple[str, ...] = ("full",)
) -> Job:
    """Return the job of AdamW by one of the methods, in the states of a framework. PlanError."""
    refuse(job, framework, method=methods, optimizer=("adamw",), rounding=("nearest",))
    if job.recipe.compute not in ("bf16", "fp32", states.get("compute")):
        bound = f"the commands of {framework} that are known here train in bf16"
        raise PlanError("recipe.compute", job.recipe.compute, bound, "use a GPU that has it")
    if job.recipe.lora is None:
        refuse(job, framework, base=(None,))
    if job.recipe.loss == "classification":
        refuse(job, framework, loss=("logits_fp32",))
    own: dict[str, Any] = {"compute": "bf16", "moments": "fp32", "step": "fused", **_OFF, **states}
    cluster = replace(job.cluster, whole_embedding=False, root_resharded=False)
    return replace(job, recipe=replace(job.recipe, **own), cluster=cluster)


ADAPTERS: Final = ("lora", "qlora")


def adapter_states(job: Job, framework: str, **lora: Any) -> dict[str, Any]:
    """Return the dtypes of a job of 16-bit weights with a framework's adapters, or with `lora`."""
    assert job.recipe.lora
    found = adapter_defaults(framework, job.recipe.method, job.cluster.sharding)
    own = {"dtype": "bf16", "autocast": False, "saved_fp32": False, **found}
    if not whole_targets(job.model, job.recipe.lora.targets):
        own["saved_fp32"] = False
    adapters = replace(job.recipe.lora, **{**own, **lora})
    states = dict.fromkeys(("grads", "moments"), adapters.dtype)
    return {"params": "bf16", "master": None, "lora": adapters, **states}


def split_targets(job: Job) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the linear layers that get an adapter, and what trains whole beside them."""
    assert job.recipe.lora
    whole = (*whole_targets(job.model, job.recipe.lora.targets), EXPERTS)
    linear = tuple(name for name in job.recipe.lora.targets if name not in whole)
    return linear, whole[:-1]


def stack_names(job: Job) -> tuple[str, ...]:
    """Return the parameters of stacked experts that are targets, as PEFT finds them."""
    if job.recipe.lora is None or EXPERTS not in job.recipe.lora.targets:
        return ()
    layer = job.model.layer_tensors(layer_of_kind(job.model, sparse=True))
    found = (tensor.name.rsplit(".", 3)[1:] for tensor in layer if is_expert_stack(tensor))
    return tuple(".".join(parts) for parts in found if not parts[-1].endswith("_bias"))


_MOVED: Final = ("gate", "gate_proj", "up_proj", "down_proj", "w1", "w2", "w3")


def name_linear(job: Job, framework: str, *, experts: bool = True) -> Job:
    """Return a job whose adapters sit where they are planned in a model with experts.

    Beside such a model PEFT 0.21 takes "all-linear" to mean the experts and their router, too, and
    the names of the layers that experts were in transformers 4 to mean their stacks
    (utils/transformers_weight_conversion.py); so that the other layers are named. bitsandbytes
    quantizes no stack (transformers 5.24 integrations/bitsandbytes.py). Raises PlanError, also
    where `experts` get adapters and may not.
    """
    lora = job.recipe.lora
    if lora is None or job.model.architecture.experts is None:
        return job
    if job.recipe.base and not job.recipe.whole_experts:
        bound = f"{framework} leaves experts in 16 bits, as transformers 5 stacks them"
        raise PlanError("recipe.whole_experts", False, bound, "set it to true, or method to lora")
    names = tuple(dict.fromkeys(t.name for t in targets(job.model, lora)))
    if EXPERTS in names and not experts:
        bound = f"{framework} has no option for PEFT's adapters of experts"
        raise PlanError("recipe.lora.targets", ", ".join(lora.targets), bound, f"drop {EXPERTS}")
    names = tuple(name for name in names if name not in _MOVED)
    lora = replace(lora, targets=(*names, *whole_targets(job.model, lora.targets)))
    return replace(job, recipe=replace(job.recipe, lora=lora))


def refuse_tower(job: Job, framework: str) -> None:
    """Raise PlanError where a vision tower is frozen, for which a framework has no option."""
    if job.model.frozen or job.model.architecture.vision:
        refuse(job, framework, frozen_tower=(False,))


def machines(job: Job) -> tuple[int, int]:
    """Return the number of machines of a job, and of GPUs in each."""
    gpus, each = job.cluster.gpus, job_gpu(job).node_gpus
    count = -(-gpus // each)
    return (count, each) if gpus % count else (count, gpus // count)


def torchrun(job: Job) -> str:
    """Return the launcher that starts a process per GPU, the same line on every machine."""
    count, each = machines(job)
    if count == 1:
        return f"torchrun --standalone --nproc-per-node {each}"
    return f"torchrun --nnodes {count} --nproc-per-node {each} {RENDEZVOUS}"

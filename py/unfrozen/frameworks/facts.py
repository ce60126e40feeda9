"""Facts that a trainer is told, under one name for all of them: read from the keys of a
file, or taken from a job to be written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unfrozen.errors import PlanError
from unfrozen.frameworks.adapting import (
    completions_of_prompt,
    machines,
    split_targets,
    stack_names,
    torchrun,
)
from unfrozen.frameworks.formats import Format, Key, shared
from unfrozen.job import Job
from unfrozen.job.rollouts import engine
from unfrozen.job.unplanned import instead_of

Facts = dict[str, Any]


def read_facts(
    form: Format, settings: Mapping[str, object]
) -> tuple[Facts, list[str], list[str], dict[str, str]]:
    """Return the facts that settings say, the keys that say them, those that nobody here knows, and
    the effect of those that are not counted. Raises PlanError.
    """
    sources: dict[str, str] = {}
    facts: Facts = {"keys": sources}
    used, unknown, notes = [], [], {}
    effects, unplanned = shared()["effects"], shared()["unplanned"]
    several = (*shared()["facts"]["flags"], "loss", "fsdp", "checkpointing")
    for key, value in settings.items():
        row = form.keys.get(key)
        if row is None:
            _refuse_method(key, value)
            effect = effects.get(key) or effects.get(key.partition(".")[0])
            if effect and value not in (False, [], ""):
                notes[key] = effect
            elif not (effect or key in unplanned or form.quiet.fullmatch(key)):
                unknown.append(key)
            continue
        used.append(key)
        meaning = _meaning(key, row, value)
        if meaning is None:
            continue
        if row.fact in facts and facts[row.fact] != meaning:
            if row.fact not in several:
                bound = f"{sources[row.fact]} says {facts[row.fact]}"
                raise PlanError(key, value, bound, "drop one of them")
            meaning = meaning or facts[row.fact]
        facts[row.fact], sources[row.fact] = meaning, key
    for one, other in (("bf16", "fp16"), ("four_bits", "eight_bits"), ("deepspeed", "fsdp")):
        if facts.get(one) and facts.get(other) not in (None, False, "", "none", "deepspeed", []):
            bound = f"{sources[other]} is on, too, and they exclude each other"
            raise PlanError(sources[one], facts[one], bound, "keep one of them")
    return facts, used, unknown, notes


def _refuse_method(key: str, value: object) -> None:
    """Raise PlanError for a key that makes the job one that no plan counts."""
    if value in (None, False, "", "none", "bitsandbytes", "bnb"):
        return
    if what := shared()["unplanned"].get(key):
        remedy = instead_of(value) or instead_of(key) or "plan full or lora"
        raise PlanError(key, value, f"{what}: no plan counts it", remedy)


def plan_instead(value: object) -> str:
    """Return what to plan instead of a method that is not planned."""
    return instead_of(value) or "plan full or lora"


def _meaning(key: str, row: Key, value: Any) -> Any:
    """Return what the value of a key says; None where it says nothing. Raises PlanError."""
    kinds = shared()["facts"]
    if row.words is not None:
        word = str(bool(value) if value in (0, 1) else value).lower()
        known = {each.lower(): meaning for each, meaning in row.words.items()}
        if word in known:
            return None if known[word] == "" else known[word]
        if row.fact == "attention" and "flash" in word:  # a kernel of the hub
            return "flash" + (word[-1] if word.endswith(("attn3", "attn4")) else "")
        bound = f"known values are {', '.join(known)}"
        raise PlanError(key, value, bound, instead_of(value) or "use one of them")
    if row.fact in kinds["flags"]:
        if isinstance(value, (bool, int)):
            return bool(value)
        said = {"auto": None, "true": True, "yes": True, "false": False, "no": False}
        if str(value).lower() not in said:
            raise PlanError(key, value, "it must be true or false", "correct it")
        return said[str(value).lower()]
    if row.fact in kinds["counts"]:
        if value in ("auto", -1):
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value):
            raise PlanError(key, value, "it must be a whole number", "correct it")
        return int(value) or None
    if row.fact in kinds["lists"]:
        words = value.split(",") if isinstance(value, str) else value
        return [str(word).strip() for word in words] if isinstance(words, list) else [str(words)]
    return value


def job_facts(job: Job) -> Facts:
    """Return the facts of a job, and those of its launcher; what is off or alone is None."""
    recipe, cluster = job.recipe, job.cluster
    count, each = machines(job)
    away = recipe.activation_offload and recipe.checkpointing == "full"
    has_tower = job.model.frozen or job.model.architecture.vision
    return {
        **{name: getattr(recipe, name) for name in ("seq_len", "micro_batch", "grad_accum")},
        "step_sequences": recipe.micro_batch * recipe.grad_accum * cluster.replicas,
        "attention": "flash" if recipe.attention == "flash2" else recipe.attention,
        "checkpointing": "offload" if away else recipe.checkpointing,
        "compile": recipe.kernels == "fused" or None,
        "frozen_tower": recipe.frozen_tower if has_tower else None,
        **{"machines": count, "each": each, "several": count > 1, "torchrun": torchrun(job)},
        **{"gpus": cluster.gpus, "many": cluster.gpus > 1, "alone": cluster.gpus == 1},
        **{
            name: (size if (size := getattr(cluster, f"{name}_parallel")) > 1 else None)
            for name in ("tensor", "context", "pipeline", "expert")
        },
        "expert_tensor": cluster.expert_tensor_parallel,
        "sequence_parallel": cluster.sequence_parallel,
        "zero_stage": cluster.stage,
        "zero_optimizer": None if cluster.offload == "none" else "cpu",
        "zero_params": "cpu" if cluster.offload == "params" else None,
        **{"sharded": cluster.stage > 0, "reshard": cluster.stage == 3},
        "adapter": "lora" if recipe.lora else "full",
        **_objective_facts(job),
        **_adapter_facts(job),
    }


def _objective_facts(job: Job) -> Facts:
    recipe = job.recipe
    plain = recipe.objective == "sft"
    found: Facts = {"script": recipe.objective, "plain": plain}
    if not plain:
        found["objective"] = recipe.objective
    if recipe.objective == "dpo" and not recipe.reference:
        found["precomputed"] = True
    if recipe.objective != "grpo":
        return found
    return found | {
        **{"seq_len": None, "rollouts": True, "completion_len": recipe.completion_len},
        **{"completions": completions_of_prompt(job), "beta": 0.04 if recipe.reference else 0.0},
        "rollout_share": recipe.rollout_share or None,
        "model_len": recipe.seq_len if recipe.rollout_share else None,
        "mode": "colocate" if recipe.rollout_share else "server",
        "engine_ranks": _engine_ranks(job),
    }


def _engine_ranks(job: Job) -> int | None:
    """Return the GPUs of one engine of vLLM; None where it is one, or elsewhere."""
    if not job.recipe.rollout_share or job.gpu is None:
        return None
    ranks = engine(job.model, job.recipe, job.gpu, job.cluster.gpus).ranks
    return ranks if ranks > 1 else None


def _adapter_facts(job: Job) -> Facts:
    lora, base = job.recipe.lora, job.recipe.base
    if lora is None:
        return {}
    linear, whole = split_targets(job)
    four = base not in (None, "int8")
    return {
        **{"lora": True, "rank": lora.rank, "alpha": 2 * lora.rank, "dropout": lora.dropout or 0.0},
        **{"targets": linear, "whole": whole or None, "stacks": stack_names(job) or None},
        "target_linear": "all-linear" in linear or None,
        **{"four_bits": four or None, "eight_bits": base == "int8" or None},
        **{"single": base == "nf4", "double": base == "nf4-dq"},
        "bits": (4 if four else 8) if base else None,
    }

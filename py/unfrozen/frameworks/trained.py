"""A job from what a trainer's files and launcher say: the states, the method and the layout.

Dtypes are those that the trainers' own modules here (`trl`, `axolotl`, `llama_factory`,
`torchtitan`) give a job before they write its command.
"""

from __future__ import annotations

import math
from typing import Any, Final

from unfrozen.errors import PlanError
from unfrozen.frameworks.facts import Facts, plan_instead
from unfrozen.frameworks.formats import shared
from unfrozen.job.framework_defaults import adapter_defaults
from unfrozen.job.lora import EXPERTS
from unfrozen.job.recipe import HAS_MOMENTS
from unfrozen.job.unplanned import instead_of

_ADAPTER: Final = {"llama-factory": "lora", "ms-swift": "lora"}
"""The method of frameworks that train adapters by default."""
_FULL: Final = ("full", "none", "", False, None)


def trainer_job(name: str, facts: Facts, gpus: int | None) -> dict[str, Any]:
    """Return the job of a trainer of transformers, over accelerate or DeepSpeed. PlanError."""
    cluster = layout(facts, gpus)
    kind = "deepspeed" if "zero_stage" in facts else "fsdp" if facts.get("sharded") else "none"
    stage = cluster.get("sharding", "none")
    if name == "llama-factory" and facts["keys"].get("model") == "model":  # its files of version 1
        facts.setdefault("adapter", "full")
    facts.setdefault("adapter", _ADAPTER.get(name))
    recipe: dict[str, Any] = sizes(facts)
    recipe |= _states(name, facts, kind) if _is_full(facts) else _adapters(name, facts, kind, stage)
    if kind == "deepspeed":
        recipe |= {
            "grad_buckets": False,
            "no_sync": False,
            "step": "sub_groups" if stage == "zero3" else "fused",
        }
    elif kind == "fsdp":
        recipe |= {"reduce": "bf16", "no_sync": True}
    recipe |= optimizer(facts)
    if recipe.get("optimizer", "adamw") not in HAS_MOMENTS:
        recipe.pop("moments", None)
    framework = "trl" if name in ("accelerate", "deepspeed") else name
    return {"recipe": recipe, "cluster": cluster, "framework": framework}


def megatron_job(_: str, facts: Facts, gpus: int | None) -> dict[str, Any]:
    """Return Megatron-LM's job: 16-bit weights, fp32 main weights and gradients."""
    if not _is_full(facts):
        key, method = _key(facts, "adapter"), facts["adapter"]
        raise PlanError(key, method, "adapters of Megatron-LM are not planned", "plan full")
    strategy = facts.get("strategy", "zero3")
    sharding = strategy if facts.get("zero") else "zero1" if facts.get("zero1") else "none"
    cluster = layout({**facts, "fsdp": "no", "keys": {}}, gpus)
    ranks = {name: cluster.get(f"{name}_parallel", 1) for name in ("tensor", "pipeline", "context")}
    alike = cluster["gpus"] // (ranks["tensor"] * ranks["pipeline"])
    groups = facts.get("dp_replicate") or 1
    cluster |= {"sharding": sharding, "shard_size": alike // groups if groups > 1 else None}
    cluster["sequence_parallel"] = bool(facts.get("sequence_parallel"))
    cluster["expert_tensor_parallel"] = facts.get("expert_tensor")
    if facts.get("chunks"):
        chunks = facts["chunks"] if facts["chunks"] != 2 else None
        cluster |= {"pipeline_schedule": "interleaved", "pipeline_chunks": chunks}
    at_once = facts.get("micro_batch", 1) * alike // ranks["context"]
    facts["grad_accum"] = max(facts.get("step_sequences", at_once) // at_once, 1)
    recipe: dict[str, Any] = {"params": "bf16", "master": "fp32", "grads": "fp32"}
    own = {"grad_buckets": False, "loss": "vocab_parallel", "attention": "flash", "moments": "fp32"}
    recipe |= {**sizes(facts), **own, "kernels": "fused"}
    return {"recipe": recipe, "cluster": cluster, "framework": "megatron"}


def unsloth_job(_: str, facts: Facts, _gpus: int | None) -> dict[str, Any]:
    """Return Unsloth's job: 16-bit weights, 8-bit moments, on one GPU."""
    full = _is_full(facts)
    if not full:
        recipe = {**sizes(facts), **_adapters("unsloth", facts, "none", "none")}
    else:
        recipe = {**sizes(facts), "params": "bf16", "master": None, "grads": "bf16"}
    recipe |= {"moments": "int8", "kernels": "eager" if full else "fused_block"}
    recipe |= {"attention": "flash", "loss": "logits_bf16", "compiled_loss": True}
    return {"recipe": recipe, "cluster": {"gpus": 1}, "framework": "unsloth"}


def sizes(facts: Facts) -> dict[str, Any]:
    """Return the settings of a recipe that have the same meaning in every trainer."""
    found = {
        key: facts[key]
        for key in ("seq_len", "micro_batch", "grad_accum", "attention", "reentrant")
        if facts.get(key) is not None
    }
    again = facts.get("checkpointing", "none")
    if facts.get("fsdp_checkpointing"):
        again = "full"
    found["checkpointing"] = "full" if again == "offload" else again
    if found["checkpointing"] == "none":
        found.pop("reentrant", None)
    if again == "offload" or facts.get("offload_activations"):
        found["activation_offload"] = True
    plugins = " ".join(facts.get("plugins", ())).lower()
    fused = facts.get("compile") or facts.get("liger") or "liger" in plugins
    found["kernels"] = "fused" if fused else "eager"
    if facts.get("loss") or "cutcrossentropy" in plugins:
        found["loss"] = facts.get("loss") or "fused_linear"
    if facts.get("frozen_tower") is not None:
        found["frozen_tower"] = facts["frozen_tower"]
    return found | _objective(facts)


def _objective(facts: Facts) -> dict[str, Any]:
    """Return the settings of DPO and GRPO, with the defaults of TRL, on which trainers build."""
    objective = facts.get("objective")
    if objective == "dpo":
        return {"objective": "dpo", "reference": not facts.get("precomputed")}
    if objective != "grpo":
        return {}
    length, colocated = facts.get("completion_len", 512), facts.get("mode", "colocate") != "server"
    share = facts.get("rollout_share", 0.3) if facts.get("rollouts") and colocated else 0.0
    prompt = facts.get("prompt_len", 512)
    found = {"seq_len": facts.get("model_len") or prompt + length, "completion_len": length}
    reference = bool(facts.get("beta"))
    return {**found, "objective": "grpo", "rollout_share": share, "reference": reference}


def optimizer(facts: Facts) -> dict[str, Any]:
    """Return the settings of the optimizer's name. Raises PlanError for one that is not known."""
    given = facts.get("optim")
    if given is None:
        return {}
    name = str(given).rpartition(".")[2].lower()
    table = shared()["optimizers"]
    said = next((said for names, said in table.items() if name in names.split()), None)
    if said is None:
        known = " ".join(table).replace(" ", ", ")
        raise PlanError(
            _key(facts, "optim"), given, f"known are {known}", instead_of(given) or "use one"
        )
    pairs = (word.partition("=") for word in said.split())
    found: dict[str, Any] = {key: value or True for key, _, value in pairs}
    if facts.get("projection_rank") and found.get("optimizer") in ("galore", "apollo"):
        found["projection_rank"] = facts["projection_rank"]
    return found


def _key(facts: Facts, fact: str) -> str:
    """Return the key of the file that said a fact."""
    return str(facts["keys"].get(fact, fact))


def _is_full(facts: Facts) -> bool:
    method = facts.get("adapter")
    if isinstance(method, str):
        method = method.lower()
    if method in _FULL:
        return True
    if method not in (True, "lora", "qlora"):
        raise PlanError(
            _key(facts, "adapter"), method, "planned are full, lora and qlora", plan_instead(method)
        )
    return False


def _states(name: str, facts: Facts, kind: str) -> dict[str, Any]:
    """Return the dtypes of a job that trains all weights."""
    for fact in ("four_bits", "eight_bits", "bits"):
        if facts.get(fact):
            bound = "quantized weights do not train"
            raise PlanError(_key(facts, fact), facts[fact], bound, "drop it, or train adapters")
    half = (
        "bf16" if facts.get("bf16") or facts.get("pure") or facts.get("mixed") == "bf16" else None
    )
    half = half or ("fp16" if facts.get("fp16") or facts.get("mixed") == "fp16" else None)
    dtype = facts.get("dtype")
    if kind == "deepspeed" and (half or dtype or name == "deepspeed"):
        half = half or (dtype if dtype in ("bf16", "fp16") else "bf16")
        return {"params": half, "master": "fp32", "grads": half, "moments": "fp32"}
    narrow = name == "axolotl" or (name == "llama-factory" and facts.get("pure"))
    if name in ("trl", "ms-swift") and dtype == "bf16":
        narrow, half = True, half or "bf16"
    if kind != "fsdp" and narrow and half == "bf16":
        return {"params": "bf16", "master": None, "grads": "bf16", "moments": "bf16"}
    found: dict[str, Any] = {"params": "fp32", "master": None, "grads": "fp32", "moments": "fp32"}
    return found | {"compute": half or "fp32"}


def _adapters(name: str, facts: Facts, kind: str, stage: str) -> dict[str, Any]:
    bits = facts.get("bits")
    four = facts.get("four_bits") or bits == 4
    eight = facts.get("eight_bits") or bits == 8
    if bits not in (None, 4, 8):
        raise PlanError(_key(facts, "bits"), bits, "planned are 4 and 8 bits", "use one of them")
    if facts.get("adapter") == "qlora":
        four = four or not eight
    base = (
        ("nf4-dq" if facts.get("double", False) else "nf4") if four else "int8" if eight else None
    )
    method = "qlora" if base else "lora"
    lora: dict[str, Any] = adapter_defaults(
        "trl" if name in ("accelerate", "deepspeed") else name, method, stage
    )
    lora = {"library": "peft", "dtype": "bf16", "autocast": False, **lora}
    if kind == "deepspeed":
        lora |= {"dtype": "bf16", "autocast": False, "saved_fp32": False}
    targets = list(facts.get("targets", ()))
    if facts.get("target_linear") or targets in (["all"], ["all-linear"]) or not targets:
        targets = ["all-linear"]
    whole = list(facts.get("whole", ()))
    if not whole:
        lora.pop("saved_fp32", None)
    stacks = [EXPERTS] if facts.get("stacks") else []
    lora |= {"rank": facts["rank"], "targets": [*targets, *whole, *stacks]}
    lora["dropout"] = facts.get("dropout") or None
    half = "fp16" if facts.get("fp16") else "bf16"
    states = {"params": half, "master": None, "grads": lora["dtype"], "moments": lora["dtype"]}
    if kind == "deepspeed":
        states |= {"master": "fp32", "moments": "fp32"}
    found = {"method": method, "lora": lora, **states}
    return found | ({"base": base} if base else {})


def layout(facts: Facts, gpus: int | None) -> dict[str, Any]:
    """Return the cluster that facts describe. `facts` learns whether FSDP shards. PlanError."""
    ranks = {
        f"{name}_parallel": facts[name]
        for name in ("tensor", "context", "pipeline", "expert")
        if (facts.get(name) or 1) > 1
    }
    replicate = facts.get("dp_replicate") or 1
    shard = facts.get("dp_shard")
    shard = shard if isinstance(shard, int) and shard > 0 else None
    least = math.prod(count for name, count in ranks.items() if name != "expert_parallel")
    said = least * replicate * (shard or 1)
    gpus = gpus or facts.get("gpus") or said
    cluster: dict[str, Any] = {"gpus": gpus, **ranks}
    kind, offload = _zero(facts) if "zero_stage" in facts else _fsdp_kind(facts)
    facts["sharded"] = kind != "none"
    if kind != "none":
        cluster["sharding"] = kind
        if offload != "none":
            cluster["offload"] = offload if kind == "zero3" or offload != "params" else "optimizer"
        if replicate > 1:
            inner = ranks.get("tensor_parallel", 1) * ranks.get("pipeline_parallel", 1)
            cluster["shard_size"] = gpus // replicate // inner
    return cluster


def _zero(facts: Facts) -> tuple[str, str]:
    """Return how DeepSpeed shards, and what it offloads. Raises PlanError."""
    stage = facts["zero_stage"]
    if stage not in (0, 1, 2, 3):
        raise PlanError(_key(facts, "zero_stage"), stage, "it must be 0, 1, 2 or 3", "use one")
    device = [facts.get("zero_params"), facts.get("zero_optimizer")]
    if "nvme" in device:
        key = _key(facts, "zero_params" if device[0] == "nvme" else "zero_optimizer")
        raise PlanError(key, "nvme", "no plan counts NVMe", "set it to cpu")
    offload = "params" if device[0] == "cpu" else "optimizer" if device[1] == "cpu" else "none"
    return ("none", "zero1", "zero2", "zero3")[stage], offload


def _fsdp_kind(facts: Facts) -> tuple[str, str]:
    """Return how FSDP shards, and what it offloads."""
    given = facts.get("fsdp")
    words = " ".join(given) if isinstance(given, list) else str(given or "").lower()
    on = (
        given is True
        or any(word in words for word in ("fsdp", "shard"))
        or (
            given is None
            and facts.keys() & {"fsdp_version", "reshard", "strategy"}
            and facts.get("zero") is None
        )
    )
    if not on or "no_shard" in words or words in ("no", "multi_gpu", "deepspeed"):
        return "none", "none"
    reshard = str(facts.get("reshard", facts.get("strategy", ""))).lower()
    two = "shard_grad_op" in words or reshard in ("false", "never", "shard_grad_op", "2")
    if reshard == "no_shard":
        return "none", "none"
    offload = facts.get("fsdp_offload") in (True, "true") or "offload" in words.split()
    return "zero2" if two else "zero3", "params" if offload else "none"

"""torchtitan's and torchtune's jobs: models by the names of their components, and their states."""

from __future__ import annotations

import math
import re
from typing import Any, Final

from unfrozen.errors import PlanError
from unfrozen.frameworks.facts import Facts
from unfrozen.frameworks.parallel_trainers import SCHEDULES
from unfrozen.frameworks.trained import layout, optimizer, sizes
from unfrozen.model.catalogue import find

_SCHEDULES: Final = {name.lower(): ours for ours, name in SCHEDULES.items()}
_TUNED: Final = re.compile(r"^(?:q?lora_)|_(?:instruct|base|vision_decoder)$")


def torchtitan_job(_: str, facts: Facts, gpus: int | None) -> dict[str, Any]:
    """Return torchtitan's job: fp32 states under FSDP, as wide where nothing is sharded."""
    cluster = _spread(facts, gpus)
    _divide_step(facts, cluster)
    wide = {"params": "fp32", "master": None, "grads": "fp32", "moments": "fp32"}
    recipe = {**wide, **sizes(facts), "grad_buckets": False, "attention": "flash"}
    recipe["reduce"] = facts.get("reduce")
    if facts.get("dtype") == "bf16":
        recipe |= {"params": "bf16", "grads": "bf16", "moments": "bf16"}
    if cluster.get("tensor_parallel", 1) > 1:
        recipe["loss"] = "loss_parallel"
    every = str(facts.get("every", "op"))
    if recipe["checkpointing"] == "selective" and every.isdigit():
        recipe |= {"checkpointing": "full", "checkpoint_every": int(every)}
    given = f"{facts.get('family') or ''} {facts.get('size') or ''}".strip()
    return _named(facts, given, recipe, cluster, "torchtitan")


def _spread(facts: Facts, gpus: int | None) -> dict[str, Any]:
    """Return the cluster: FSDP over data and context, experts over data and tensor."""
    shard, pipeline = facts.get("dp_shard", -1), facts.get("pipeline") or 1
    sharded = shard != 1 or (facts.get("context") or 1) > 1
    facts |= {"fsdp": "fsdp" if sharded else "no", "reshard": facts.get("reshard", "default")}
    cluster = layout(facts, gpus)
    if cluster["gpus"] == 1:
        cluster.pop("sharding", None)
    tensor, context = cluster.get("tensor_parallel", 1), cluster.get("context_parallel", 1)
    alike, replicate = cluster["gpus"] // (tensor * pipeline), facts.get("dp_replicate") or 1
    if sharded and shard > 0 and replicate == 1 and shard * context < alike:
        cluster["shard_size"] = shard * context
    if "sharding" in cluster:
        cluster["outer_apart"] = cluster["sharding"] == "zero3"
    if tensor > 1:
        cluster["sequence_parallel"] = True
    if cluster.get("expert_parallel", 1) > 1:
        cluster["expert_tensor_parallel"] = facts.get("expert_tensor") or 1
    if pipeline > 1:
        given = str(facts.get("schedule", "1F1B"))
        if given.lower() not in _SCHEDULES:
            bound = f"planned are {', '.join(SCHEDULES.values())}"
            raise PlanError("pipeline_parallel_schedule", given, bound, "use one of them")
        cluster["pipeline_schedule"] = _SCHEDULES[given.lower()]
    return cluster


def _divide_step(facts: Facts, cluster: dict[str, Any]) -> None:
    """Divide the sequences of a step: a pipeline takes a local batch in micro-batches."""
    local, pipeline = facts["local"], cluster.get("pipeline_parallel", 1)
    ranks = (cluster.get(f"{name}_parallel", 1) for name in ("tensor", "context", "pipeline"))
    replicas = max(cluster["gpus"] // math.prod(ranks), 1)
    facts["micro_batch"] = facts.get("pipeline_batch", 1) if pipeline > 1 else local
    step = facts.get("step_sequences", -1)
    if isinstance(step, int) and step > 0:
        if step % (local * replicas):
            bound = f"{local} · {replicas} sequences at once must divide it"
            raise PlanError("training.global_batch_size", step, bound, "use a multiple")
        facts["grad_accum"] = step // (facts["micro_batch"] * replicas)
    elif pipeline > 1:
        facts["grad_accum"] = local // facts["micro_batch"] * (facts.get("grad_accum") or 1)


def _named(
    facts: Facts, name: str, recipe: dict[str, Any], cluster: dict[str, Any], framework: str
) -> dict[str, Any]:
    """Return the job of a model that a component names, else the folder of its weights."""
    if facts.get("model"):  # a folder of weights is called as the model is
        parts = [
            part for part in str(facts.pop("model")).split("/") if part not in ("original", "")
        ]
        parts = [part for part in parts if not part.endswith(".model")]
        facts |= {"folder": parts[-1]} if parts else {}
    if facts.get("step"):
        recipe["step"] = facts["step"]
    if facts.get("in_backward"):
        recipe |= {"optimizer_in_backward": True, "grad_accum": 1}
    found = {"recipe": recipe | optimizer(facts), "cluster": cluster, "framework": framework}
    model = named_model(name) or facts.get("folder") or name
    return {"model": model, **found} if model else found


def torchtune_job(_: str, facts: Facts, gpus: int | None) -> dict[str, Any]:
    """Return torchtune's job: weights of the dtype that its file names, or adapters beside them."""
    component = str(facts.get("component", "")).rpartition(".")[2]
    several = any(key in facts for key in ("dp_shard", "dp_replicate", "reshard", "fsdp_offload"))
    facts["fsdp"] = "fsdp" if several or (gpus or 1) > 1 else "no"
    cluster = layout(facts, gpus)
    recipe = sizes(facts)
    dtype = facts["dtype"]
    lora = component.startswith(("lora_", "qlora_"))
    if lora:
        targets = [
            {"output_proj": "o_proj"}.get(n, n) for n in facts.get("targets", ("q_proj", "v_proj"))
        ]
        targets += ["gate_proj", "up_proj", "down_proj"] if facts.get("lora_mlp") else []
        targets += ["lm_head"] if facts.get("lora_output") else []
        quantized = component.startswith("qlora_") or facts.get("four_bits")
        own = {"rank": facts["rank"], "targets": targets, "library": "peft", "dtype": dtype}
        own["dropout"] = facts.get("dropout") or None
        recipe |= {"method": "qlora" if quantized else "lora", "lora": own, "params": dtype}
        recipe |= {"base": "nf4-dq"} if quantized else {}
    else:
        recipe |= {"params": dtype, "master": None, "grads": dtype, "moments": dtype}
    loss = str(facts.get("loss_component", ""))
    if loss:
        recipe["loss"] = "logits_fp32" if loss.endswith("nn.CrossEntropyLoss") else "chunked"
    return _named(facts, component, recipe, cluster, "torchtune")


def named_model(name: str) -> str:
    """Return the hub's name of a model that a component is called by, "" where it is of no
    published one: llama3_1_8b, qwen2_5_0_5b_instruct, llama3 8B.
    """
    plain = name.lower().replace("-", "_")
    while (shorter := _TUNED.sub("", plain)) != plain:
        plain = shorter
    found = re.match(
        r"([a-z]+)_?([\d_.]*?)_?(mini|small)?[_ ](?:[a-z]\w*[_ ])?([\d_.]+[bm](?:[_ ]a[\d_.]+b)?)$",
        plain,
    )
    if found is None:
        return ""
    family, numbers, size = found[1], found[2].strip("_"), found[4]
    digits = [part for part in f"{numbers}_{size}".replace(" ", "_").split("_") if part]
    for cut in range(len(digits)):
        version, rest = ".".join(digits[:cut]), digits[cut:]
        whole = ".".join(part for part in rest if not part.startswith("a"))
        active = "".join(f"-{part}" for part in rest if part.startswith("a"))
        for spelled in (
            f"{family}{version}-{whole}{active}",
            f"{family}-{version}-{whole}{active}",
        ):
            try:
                return find(spelled.strip("-")).hub_id
            except PlanError:
                continue
    return ""

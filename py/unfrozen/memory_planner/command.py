"""What to type: the run on the reader's own machine, and the same plan on the command line."""

from __future__ import annotations

import json
from shlex import quote
from typing import Any, Final

from unfrozen.memory_planner.figures import Json
from unfrozen.memory_planner.state import State, job_json, setting
from unfrozen.plan import Plan
from unfrozen.recipe import Recipe

PYTHON: Final = ".venv/bin/python"


def commands(plan: Plan, state: State) -> Json:
    """The runner's command, what of the plan it does not do, and the job for `unfrozen plan`."""
    job: dict[str, Any] = job_json(state)
    job["recipe"]["seq_len"] = plan.job.recipe.seq_len  # said even where it is the default
    return {
        "run": _run(plan, state),
        "differs": _differences(plan),
        "job": json.dumps(job, indent=2, ensure_ascii=False),
        "plan": f"{PYTHON} -m unfrozen plan job.json",
    }


_LOSSES: Final = {
    "logits_fp32": "full",
    "chunked": "chunked",
    "linear": "linear",
    "fused_linear": "linear",
}
"""The runner's word for each loss it computes."""

_OPTIMIZERS: Final = ("adamw", "adafactor", "sgd", "sgd_momentum", "muon")


def _run(plan: Plan, state: State) -> str:
    recipe = plan.job.recipe
    model = "PATH" if setting(state, "config") else quote(setting(state, "model"))
    exact = recipe.params == "fp32" or recipe.master == "fp32"
    options = [f"--params {'fp32' if exact else 'bf16'}"]
    if recipe.compute in ("fp32", "bf16"):
        options.append(f"--compute {recipe.compute}")
    options += [
        f"--seq-len {recipe.seq_len}",
        f"--micro-batch {recipe.micro_batch}",
        f"--grad-accum {recipe.grad_accum}",
    ]
    if recipe.optimizer_in_backward:
        options.append("--clip 0")  # the global norm is known only after the last gradient
    start = f"{PYTHON} -m gpu_runner train --model {model} --data FILE.jsonl"
    rarer = [f"--set {key}={value}" for key, value in _settings(recipe).items()]
    return " \\\n  ".join([start, " ".join(options), *([" ".join(rarer)] if rarer else [])])


def _settings(recipe: Recipe) -> dict[str, str]:
    """What the runner is told by `--set`: choices that are not its defaults."""
    chosen: dict[str, str] = {}
    loss = _LOSSES.get(recipe.loss, "linear")
    if loss != "linear":
        chosen["loss"] = loss
    if recipe.checkpointing != "none":
        chosen["checkpointing"] = recipe.checkpointing
    for key in ("activation_offload", "optimizer_in_backward"):
        if getattr(recipe, key):
            chosen[key] = "true"
    if recipe.kernels == "fused":
        chosen["compile"] = "true"
    if _eight_bit(recipe):
        chosen["optimizer"] = "adamw8bit"
    elif recipe.optimizer in _OPTIMIZERS and recipe.optimizer != "adamw":
        chosen["optimizer"] = recipe.optimizer.removesuffix("_momentum")
    if recipe.optimizer == "sgd_momentum":
        chosen["momentum"] = "0.9"
    return chosen


def _eight_bit(recipe: Recipe) -> bool:
    return recipe.optimizer == "adamw" and recipe.moments == "int8"


def _differences(plan: Plan) -> list[str]:
    """What the plan asks for and the runner, which fully fine-tunes, does otherwise."""
    recipe, cluster = plan.job.recipe, plan.job.cluster
    narrow = recipe.moments not in (None, "fp32", recipe.params) and not _eight_bit(recipe)
    asked = (
        (recipe.method != "full", "it trains every weight, without adapters"),
        (cluster.gpus > 1, "this starts it on one card; docs/scale.md starts it on several"),
        (recipe.optimizer not in _OPTIMIZERS, f"it has no {recipe.optimizer}"),
        (
            recipe.master == "fp32" and recipe.params != "fp32",
            "instead of 16-bit weights with a master copy it keeps fp32 weights and autocasts",
        ),
        (narrow, "its moments are as wide as its weights"),
        (
            recipe.paged or cluster.offload != "none",
            "it keeps weights and optimizer on the card",
        ),
        (recipe.loss not in _LOSSES, "its loss never builds all logits"),
        ("fp16" in (recipe.params, recipe.compute), "it does not compute in fp16"),
        (recipe.compute == "fp8", "it does not compute in fp8"),
    )
    return [words for differs, words in asked if differs]

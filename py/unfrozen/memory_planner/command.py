"""What to type: the run on the reader's own machine, and the same plan on the command line."""

from __future__ import annotations

import json
from shlex import quote
from typing import Any, Final

from unfrozen.memory_planner import launch as launching
from unfrozen.memory_planner.figures import Json
from unfrozen.memory_planner.launch import PYTHON, Launch, launch
from unfrozen.memory_planner.state import State, job_json, setting
from unfrozen.plan import Plan
from unfrozen.recipe import Recipe


def commands(plan: Plan, state: State) -> Json:
    """The runner's command, where to type it, what of the plan it does not do, and the job for
    `unfrozen plan`.
    """
    found = launch(plan.job)
    job: dict[str, Any] = job_json(state)
    job["recipe"]["seq_len"] = plan.job.recipe.seq_len  # said even where it is the default
    return {
        "run": _run(plan.job.recipe, found, state),
        "where": launching.where(found),
        "differs": [*launching.differences(plan.job, found), *_differences(plan, found)],
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
WHOLE: Final = ("adamw8bit",)
"""Of the runner's own names, those that need whole tensors: `gpu_runner.optim.WHOLE`."""
LENGTHS: Final = (2, 1_048_576)
"""The shortest and the longest row it takes: `gpu_runner.bounds`."""


def _run(recipe: Recipe, found: Launch, state: State) -> str:
    model = "PATH" if setting(state, "config") else quote(setting(state, "model"))
    exact = recipe.params == "fp32" or recipe.master == "fp32"
    options = [f"--params {'fp32' if exact else 'bf16'}"]
    if recipe.compute in ("fp32", "bf16"):
        options.append(f"--compute {recipe.compute}")
    options += [
        f"--seq-len {_length(recipe)}",
        f"--micro-batch {found.micro_batch}",
        f"--grad-accum {found.grad_accum}",
    ]
    settings = _settings(recipe, found)
    if "optimizer_in_backward" in settings:
        options.append("--clip 0")  # the global norm is known only after the last gradient
    *before, start = launching.start(found)
    lines = [*before, f"{start} --model {model} --data FILE.jsonl", " ".join(options)]
    rarer = [f"--set {key}={value}" for key, value in settings.items()]
    return " \\\n  ".join([*lines, *([" ".join(rarer)] if rarer else [])])


def _settings(recipe: Recipe, found: Launch) -> dict[str, str]:
    """What the runner is told by `--set`: choices that are not its defaults."""
    chosen: dict[str, str] = {}
    loss = _LOSSES.get(recipe.loss, "linear")
    if loss != "linear":
        chosen["loss"] = loss
    if recipe.checkpointing != "none":
        chosen["checkpointing"] = recipe.checkpointing
    if recipe.activation_offload and found.cards == 1:
        chosen["activation_offload"] = "true"
    if recipe.optimizer_in_backward and found.grad_accum == found.cards:
        chosen["optimizer_in_backward"] = "true"
    if recipe.kernels == "fused":
        chosen["compile"] = "true"
    elif recipe.kernels == "eager":
        chosen["fused"] = "false"
    if _optimizer(recipe) != "adamw" and _shardable(recipe, found):
        chosen["optimizer"] = _optimizer(recipe)
        if recipe.optimizer == "sgd_momentum":
            chosen["momentum"] = "0.9"
    return chosen


def _optimizer(recipe: Recipe) -> str:
    """The runner's word for the plan's optimizer; AdamW in the place of one it lacks."""
    if _eight_bit(recipe):
        return "adamw8bit"
    known = recipe.optimizer in _OPTIMIZERS
    return recipe.optimizer.removesuffix("_momentum") if known else "adamw"


def _shardable(recipe: Recipe, found: Launch) -> bool:
    return found.cards == 1 or _optimizer(recipe) not in WHOLE


def _length(recipe: Recipe) -> int:
    shortest, longest = LENGTHS
    return min(max(shortest, recipe.seq_len), longest)


def _eight_bit(recipe: Recipe) -> bool:
    return recipe.optimizer == "adamw" and recipe.moments == "int8"


def _differences(plan: Plan, found: Launch) -> list[str]:
    """What the plan asks for and the runner, which fully fine-tunes, does otherwise."""
    recipe, cluster = plan.job.recipe, plan.job.cluster
    narrow = recipe.moments not in (None, "fp32", recipe.params) and not _eight_bit(recipe)
    asked = (
        (recipe.method != "full", "it trains every weight, without adapters"),
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
        (
            not _shardable(recipe, found),
            f"on several cards it has no {_optimizer(recipe)} and takes adamw",
        ),
        (
            recipe.activation_offload and found.cards > 1,
            "on several cards what layers keep stays on the card",
        ),
        (
            recipe.optimizer_in_backward and found.grad_accum > found.cards,
            "its weights move after the backward pass",
        ),
        (
            _length(recipe) != recipe.seq_len,
            f"its rows have {LENGTHS[0]} to {LENGTHS[1]:,} tokens",
        ),
        (recipe.loss not in _LOSSES, "its loss never builds all logits"),
        ("fp16" in (recipe.params, recipe.compute), "it does not compute in fp16"),
        (recipe.compute == "fp8", "it does not compute in fp8"),
    )
    return [words for differs, words in asked if differs]

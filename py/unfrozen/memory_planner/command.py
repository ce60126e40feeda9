"""What to type: the run on the reader's own machine, and the same plan on the command line."""

from __future__ import annotations

import json
from shlex import quote
from typing import Any, Final

from unfrozen.memory_planner.figures import Json
from unfrozen.memory_planner.state import State, job_json, setting
from unfrozen.plan import Plan

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
    start = f"{PYTHON} -m gpu_runner train --model {model} --data FILE.jsonl"
    return " \\\n  ".join([start, " ".join(options)])


def _differences(plan: Plan) -> list[str]:
    """What the plan asks for and the runner, which does one thing, does otherwise."""
    recipe, cluster = plan.job.recipe, plan.job.cluster
    asked = (
        (recipe.method != "full", "it trains every weight, without adapters"),
        (cluster.gpus > 1, "it uses one card"),
        (recipe.optimizer != "adamw", "its optimizer is AdamW"),
        (
            recipe.master == "fp32" and recipe.params != "fp32",
            "instead of 16-bit weights with a master copy it keeps fp32 weights and autocasts",
        ),
        (
            recipe.moments not in (None, "fp32", recipe.params),
            "its moments are as wide as its weights",
        ),
        (recipe.paged or cluster.offload != "none", "it keeps everything on the card"),
        (recipe.checkpointing != "none", "it keeps every activation"),
        (recipe.kernels != "eager", "its kernels are those of plain PyTorch"),
        (recipe.loss != "logits_fp32", "its loss reads whole logits in fp32"),
        ("fp16" in (recipe.params, recipe.compute), "it does not compute in fp16"),
    )
    return [words for differs, words in asked if differs]

"""The commands of a plan: `unfrozen train` on the reader's machine, and `unfrozen plan`."""

from __future__ import annotations

import json
from typing import Any, Final

from unfrozen.job import Job
from unfrozen.job.cluster import CLUSTER_SETTINGS
from unfrozen.job.recipe import RECIPE_SETTINGS
from unfrozen.job.settings import Setting
from unfrozen.model.names import loaded_name
from unfrozen.plan import Plan, plan_job
from unfrozen.planner.controls import Json
from unfrozen.planner.figures import verdict
from unfrozen.planner.runner import (
    PROGRAM,
    Launch,
    can_train,
    launch,
    launch_command,
    launch_notes,
    optimizer_name,
    run_of,
    runner_defaults,
)
from unfrozen.planner.state import State, as_text, job_json, model_name
from unfrozen.shell import typed
from unfrozen.units import format_size


def commands(plan: Plan, state: State, unit: str) -> Json:
    """Return the runner's command, where to type it, how it differs from the plan, its memory, and
    the job for `unfrozen plan`.
    """
    found = launch(plan.job)
    run = run_of(plan.job, found)
    job: dict[str, Any] = job_json(state)
    job["recipe"]["seq_len"] = plan.job.recipe.seq_len  # also where it is the default
    differs = differences(plan.job, run)
    return {
        "run": typed_command(run, found, _model(state)),
        "where": launch_notes(found),
        "differs": differs,
        "needs": _needs(plan, plan_job(run), unit) if differs else None,
        "job": json.dumps(job, indent=2, ensure_ascii=False),
        "plan": f"{PROGRAM} plan job.json",
    }


_LOSS_NAMES: Final = {"logits_fp32": "full"}
"""The runner's name of a loss where it has another."""


def _model(state: State) -> str:
    return typed(loaded_name(model_name(state)) or "PATH")


def typed_command(run: Job, found: Launch, model: str) -> str:
    """Return the command of a job that the runner trains; `model` is quoted for the shell."""
    recipe = run.recipe
    options = [
        f"--params {recipe.params}",
        f"--compute {recipe.compute}",
        f"--seq-len {recipe.seq_len}",
        f"--micro-batch {found.micro_batch}",
        f"--grad-accum {found.grad_accum}",
    ]
    settings = _settings(run)
    if "optimizer_in_backward" in settings:
        options.append("--clip 0")  # the global norm is known only after the last gradient
    *before, start = launch_command(found)
    lines = [*before, f"{start} --model {model} --data FILE.jsonl", " ".join(options)]
    rarer = [f"--set {key}={value}" for key, value in settings.items()]
    return " \\\n  ".join([*lines, *([" ".join(rarer)] if rarer else [])])


def _settings(run: Job) -> dict[str, str]:
    """Return the settings to pass by `--set`: those that differ from the runner's defaults."""
    recipe = run.recipe
    chosen: dict[str, str] = {}
    own = runner_defaults(run.model.architecture, {"checkpointing": recipe.checkpointing})
    if recipe.loss != own.get("loss", recipe.loss):
        chosen["loss"] = _LOSS_NAMES.get(recipe.loss, recipe.loss)
    if recipe.checkpointing != "none":
        chosen["checkpointing"] = recipe.checkpointing
    if recipe.activation_offload:
        chosen["activation_offload"] = "true"
    if recipe.optimizer_in_backward:
        chosen["optimizer_in_backward"] = "true"
    if recipe.ema:
        chosen["ema"] = "0.999"
    if run.cluster.offload == "optimizer":
        chosen["optimizer_offload"] = "true"
    if recipe.kernels == "fused":
        chosen["compile"] = "true"
    elif recipe.kernels != own.get("kernels", recipe.kernels):
        chosen["fused"] = "false"
    if (name := optimizer_name(recipe)) != "adamw":
        chosen["optimizer"] = name
    if recipe.optimizer == "sgd_momentum":
        chosen["momentum"] = "0.9"
    if recipe.rounding != "nearest":
        chosen["rounding"] = recipe.rounding
    if run.cluster.shard_size:
        chosen["shard_size"] = str(run.cluster.shard_size)
    return chosen


def differences(job: Job, run: Job) -> list[str]:
    """Return what the runner cannot train of a plan, and each setting that it has otherwise, in the
    labels of the controls.
    """
    a = job.model.architecture
    found = [] if can_train(a) else [f"it cannot train a model of type {a.model_type}"]
    parts = (
        (job.recipe, run.recipe, RECIPE_SETTINGS),
        (job.cluster, run.cluster, CLUSTER_SETTINGS),
    )
    for planned, own, settings in parts:
        for key, setting in settings.items():
            value, asked = getattr(own, key), getattr(planned, key)
            if value != asked:
                words = (_choice_text(setting, one) for one in (value, asked))
                why = ", which divide the step's sequences evenly" if key == "gpus" else ""
                found.append(f"{setting.short_label}: {', not '.join(words)}{why}")
    return found


def _choice_text(setting: Setting, value: object) -> str:
    text = as_text(value)
    plain = {"true": "on", "false": "off", "null": "none"}.get(text, text)
    return setting.choices.get(text, plain).partition(" (")[0]


def _needs(plan: Plan, run: Plan, unit: str) -> Json:
    """Return the memory of the command where it differs from the plan; `worse` says that it does
    not fit where the plan does.
    """
    found = verdict(run, unit)
    each = " on each GPU" if run.job.cluster.gpus > 1 else ""
    size = format_size(run.device_bytes, unit)
    gpu = run.job.gpu
    if gpu is None:
        return {"text": f"So it takes {size}{each}.", "worse": False}
    title = str(found["title"])
    room = format_size(gpu.capacity_bytes, unit)
    fits = f"{title[:1].lower()}{title[1:]}"
    worse = bool(plan.fits and not run.fits)
    return {"text": f"So it takes {size} of {room}{each}: {fits}", "worse": worse}

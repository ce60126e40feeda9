"""The commands of a plan: `unfrozen train` on the reader's machine, and `unfrozen plan`."""

from __future__ import annotations

import json
from shlex import quote
from typing import Any, Final

from unfrozen import runner
from unfrozen.job import Job
from unfrozen.job.cluster import CLUSTER_SETTINGS
from unfrozen.job.recipe import RECIPE_SETTINGS, Recipe
from unfrozen.job.settings import LOW_BITS
from unfrozen.plan import Plan, plan_job
from unfrozen.planner.controls import Json
from unfrozen.planner.figures import verdict
from unfrozen.planner.runner import (
    PROGRAM,
    Launch,
    can_train,
    launch,
    launch_command,
    launch_differences,
    launch_notes,
    optimizer_name,
    run_of,
    runner_defaults,
)
from unfrozen.planner.state import State, job_json, text_of
from unfrozen.units import format_size


def commands(plan: Plan, state: State, unit: str) -> Json:
    """Return the runner's command, where to type it, how it differs from the plan, its memory, and
    the job for `unfrozen plan`.
    """
    found = launch(plan.job)
    run = run_of(plan.job, found)
    job: dict[str, Any] = job_json(state)
    job["recipe"]["seq_len"] = plan.job.recipe.seq_len  # also where it is the default
    differs = [*launch_differences(plan.job, found), *_differences(plan.job, run, found)]
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
    return "PATH" if text_of(state, "config") else quote(text_of(state, "model"))


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
    if recipe.kl:
        chosen |= {"kl": "1", "replay": "OLD.jsonl"}
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


def _differences(job: Job, run: Job, found: Launch) -> list[str]:
    """Return the differences between the plan and the runner, which trains all weights."""
    recipe, own, a = job.recipe, run.recipe, job.model.architecture
    checks = (
        (not can_train(a), f"it cannot train a model of type {a.model_type}"),
        (job.model.frozen > 0, "it cannot train a vision-language model"),
        (recipe.lora is not None, "it trains every weight, without adapters"),
        *_state_differences(job, run),
        (
            recipe.activation_offload and found.gpus > 1,
            "on several GPUs it does not offload activations",
        ),
        (
            own.seq_len != recipe.seq_len,
            f"its sequences have {runner.LENGTHS[0]} to {runner.LENGTHS[1]:,} tokens",
        ),
        (recipe.dropout not in (None, a.dropout), "its dropout is the model's own"),
        *_kernel_differences(recipe, own),
        (recipe.params == "fp16", "its weights are fp32 or bf16"),
        (recipe.compute == "fp16" != own.compute, "it computes in fp16 with fp32 weights alone"),
        (recipe.compute in LOW_BITS, f"it does not compute in {recipe.compute}"),
        *_expert_differences(job, own),
        *_setting_differences(job),
    )
    return [text for differs, text in checks if differs]


def _state_differences(job: Job, run: Job) -> tuple[tuple[bool, str], ...]:
    """Return the differences in gradients, optimizer states and the update."""
    recipe, own = job.recipe, run.recipe
    eight_bit = optimizer_name(recipe) == "adamw8bit"
    same = recipe.method == "full" and recipe.params == own.params
    wide = (own.moments,) if same else (None, "fp32", own.moments)
    by_slices = "its optimizer step runs over slices of a tensor"
    return (
        (
            recipe.optimizer.removesuffix("_momentum") not in runner.OPTIMIZERS,
            f"it has no {recipe.optimizer}",
        ),
        (
            recipe.master == "fp32" != recipe.params and own.master is None,
            "instead of 16-bit weights with fp32 master weights it has fp32 weights and autocasts",
        ),
        (
            not eight_bit and recipe.moments not in wide,
            "its optimizer states have the dtype of its weights",
        ),
        (same and recipe.grads != own.grads, "its gradients have the dtype of its weights"),
        (
            same and recipe.optimizer == own.optimizer and recipe.step != own.step,
            by_slices if own.step == "rows" else "its optimizer step is fused",
        ),
        (recipe.rounds and not own.rounds, "its updates are rounded to the nearest"),
        *_offload_differences(job, run.cluster.offload == "optimizer"),
        (
            recipe.optimizer_in_backward and not own.optimizer_in_backward,
            "its optimizer step comes after backward",
        ),
    )


def _offload_differences(job: Job, offloads: bool) -> tuple[tuple[bool, str], ...]:
    """Return the differences in what is in CPU memory, where a run `offloads` AdamW or not."""
    asked = job.recipe.paged or job.cluster.offload != "none"
    return (
        (asked and not offloads, "it keeps weights and optimizer states on the GPU"),
        (offloads and job.cluster.offload == "params", "it keeps weights on the GPU"),
        (offloads and job.cluster.stage < 2, "its gradients are in CPU memory, too"),
    )


def _expert_differences(job: Job, own: Recipe) -> tuple[tuple[bool, str], ...]:
    """Return the differences in the dtype of experts under autocast."""
    asked, autocast = job.recipe.experts_cast, own.params != own.compute
    differ = asked != own.experts_cast and autocast and job.model.architecture.experts is not None
    return (
        (differ and not asked, "its experts compute in 16 bits, as other layers do"),
        (differ and asked, "its compiled experts compute in fp32"),
    )


def _setting_differences(job: Job) -> tuple[tuple[bool, str], ...]:
    """Return what the runner does instead of settings that it lacks, as they declare it."""
    recipe = job.recipe
    parts = ((recipe, RECIPE_SETTINGS), (job.cluster, CLUSTER_SETTINGS))
    declared = (
        (getattr(part, name) not in (setting.default, False, None), setting.instead)
        for part, settings in parts
        for name, setting in settings.items()
        if setting.instead and setting.applies(job)
    )
    return (
        *declared,
        (recipe.compiled_loss is not None, "its loss is compiled with its kernels"),
        (recipe.reduce not in (None, "fp32"), "it reduces gradients in fp32"),
        (recipe.base is not None and recipe.lora is None, "its weights train in 16 or 32 bits"),
    )


def _kernel_differences(recipe: Recipe, own: Recipe) -> tuple[tuple[bool, str], ...]:
    """Return the differences within a layer, and at the logits."""
    whole = own.loss == "logits_fp32"
    return (
        (
            recipe.attention != own.attention,
            "it packs sequences and needs no mask (FlashAttention)",
        ),
        (
            recipe.kernels != own.kernels,
            "it runs this model's blocks as transformers has them"
            if recipe.checkpointing != "selective"
            else "with selective checkpointing it runs blocks as transformers has them",
        ),
        (
            whole and recipe.loss != own.loss,
            "this model caps its logits, so it computes full logits",
        ),
        (recipe.loss == "fused_linear", "its loss takes 256 tokens at a time"),
        (
            recipe.loss not in (*runner.LOSSES.values(), "fused_linear"),
            "its loss never computes full logits",
        ),
    )


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

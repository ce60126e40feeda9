"""What to type: the run on the reader's own machine, and the same plan on the command line."""

from __future__ import annotations

import json
from shlex import quote
from typing import Any, Final

from unfrozen import runner
from unfrozen.job import Job
from unfrozen.job.choices import LOW_BITS
from unfrozen.job.recipe import Recipe
from unfrozen.plan import Plan, plan_job
from unfrozen.planner import launch as launching
from unfrozen.planner.figures import Json, verdict
from unfrozen.planner.launch import PROGRAM, Launch, launch
from unfrozen.planner.runner import can_train, left_alone, optimizer_name, run_of
from unfrozen.planner.sizes import size_text
from unfrozen.planner.state import State, job_json, setting, unit


def commands(plan: Plan, state: State) -> Json:
    """The runner's command, where to type it, what of the plan it does not do, what it then needs,
    and the job for `unfrozen plan`.
    """
    found = launch(plan.job)
    run = run_of(plan.job, found)
    job: dict[str, Any] = job_json(state)
    job["recipe"]["seq_len"] = plan.job.recipe.seq_len  # said even where it is the default
    differs = [*launching.differences(plan.job, found), *_differences(plan.job, run, found)]
    return {
        "run": typed_command(run, found, _model(state)),
        "where": launching.where(found),
        "differs": differs,
        "needs": _needs(plan, plan_job(run), unit(state)) if differs else None,
        "job": json.dumps(job, indent=2, ensure_ascii=False),
        "plan": f"{PROGRAM} plan job.json",
    }


_LOSS_WORDS: Final = {"logits_fp32": "full"}
"""The runner's word for a loss where it has another."""


def _model(state: State) -> str:
    return "PATH" if setting(state, "config") else quote(setting(state, "model"))


def typed_command(run: Job, found: Launch, model: str) -> str:
    """What to type for a job that the runner trains as it is, of `model`, a word of the shell."""
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
    *before, start = launching.start(found)
    lines = [*before, f"{start} --model {model} --data FILE.jsonl", " ".join(options)]
    rarer = [f"--set {key}={value}" for key, value in settings.items()]
    return " \\\n  ".join([*lines, *([" ".join(rarer)] if rarer else [])])


def _settings(run: Job) -> dict[str, str]:
    """What the runner is told by `--set`: choices that are not its defaults."""
    recipe = run.recipe
    chosen: dict[str, str] = {}
    own = left_alone(run.model.architecture, {"checkpointing": recipe.checkpointing})
    if recipe.loss != own.get("loss", recipe.loss):
        chosen["loss"] = _LOSS_WORDS.get(recipe.loss, recipe.loss)
    if recipe.checkpointing != "none":
        chosen["checkpointing"] = recipe.checkpointing
    if recipe.activation_offload:
        chosen["activation_offload"] = "true"
    if recipe.optimizer_in_backward:
        chosen["optimizer_in_backward"] = "true"
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
    """What the plan asks for and the runner, which fully fine-tunes, does otherwise."""
    recipe, told, a = job.recipe, run.recipe, job.model.architecture
    asked = (
        (not can_train(a), f"it cannot train a model of type {a.model_type}"),
        (job.model.frozen > 0, "it cannot train a model that sees pictures"),
        (recipe.lora is not None, "it trains every weight, without adapters"),
        (recipe.lisa_layers is not None, "it trains every layer at once"),
        *_state_differences(job, told),
        (
            recipe.activation_offload and found.cards > 1,
            "on several cards what layers keep stays on the card",
        ),
        (
            told.seq_len != recipe.seq_len,
            f"its rows have {runner.LENGTHS[0]} to {runner.LENGTHS[1]:,} tokens",
        ),
        (recipe.dropout not in (None, a.dropout), "its dropout is the model's own"),
        *_kernel_differences(recipe, told),
        ("fp16" in (recipe.params, recipe.compute), "it does not compute in fp16"),
        (recipe.compute in LOW_BITS, f"it does not compute in {recipe.compute}"),
        *_expert_differences(job, told),
        *_habit_differences(job),
    )
    return [words for differs, words in asked if differs]


def _state_differences(job: Job, told: Recipe) -> tuple[tuple[bool, str], ...]:
    """What differs in what a weight has beside it, and in how it is updated."""
    recipe = job.recipe
    eight_bit = optimizer_name(recipe) == "adamw8bit"
    same = recipe.method == "full" and recipe.params == told.params
    wide = (told.moments,) if same else (None, "fp32", told.moments)
    by_rows = "its update goes some rows at a time"
    return (
        (
            recipe.optimizer.removesuffix("_momentum") not in runner.OPTIMIZERS,
            f"it has no {recipe.optimizer}",
        ),
        (
            recipe.master == "fp32" and recipe.params != "fp32",
            "instead of 16-bit weights with a master copy it keeps fp32 weights and autocasts",
        ),
        (
            not eight_bit and recipe.moments not in wide,
            "its moments are as wide as its weights",
        ),
        (same and recipe.grads != told.grads, "its gradients are as wide as its weights"),
        (bool(recipe.zero_in_place), "its gradients are freed after a step"),
        (
            same and recipe.optimizer == told.optimizer and recipe.step != told.step,
            by_rows if told.step == "rows" else "its update is fused",
        ),
        (recipe.rounds and not told.rounds, "its updates are rounded to the nearest"),
        (
            recipe.paged or job.cluster.offload != "none",
            "it keeps weights and optimizer on the card",
        ),
        (
            eight_bit and optimizer_name(told) != "adamw8bit",
            "on several cards it has no adamw8bit and takes adamw",
        ),
        (
            recipe.optimizer_in_backward and not told.optimizer_in_backward,
            "its weights move after the backward pass",
        ),
    )


def _expert_differences(job: Job, told: Recipe) -> tuple[tuple[bool, str], ...]:
    """In which precision a mixture's experts compute where others are autocast."""
    asked, autocast = job.recipe.experts_cast, told.params != told.compute
    differ = asked != told.experts_cast and autocast and job.model.architecture.experts is not None
    return (
        (differ and not asked, "its experts compute in 16 bits, as other layers do"),
        (differ and asked, "its compiled experts compute in fp32"),
    )


def _habit_differences(job: Job) -> tuple[tuple[bool, str], ...]:
    """Habits of other training loops."""
    recipe, cluster = job.recipe, job.cluster
    sharded = cluster.stage == 3 and cluster.gpus > 1
    return (
        (recipe.accumulates_whole, "it sums gradients over cards after each micro-batch"),
        (bool(recipe.grad_buckets), "it has no second copy of gradients"),
        (recipe.whole_compile, "it compiles blocks, not the model as one"),
        (recipe.keeps_outputs, "its logits are gone before the backward pass"),
        (recipe.compiled_loss is not None, "its loss is compiled with its kernels"),
        (recipe.checkpoint_every > 1, "it makes every layer again, or none"),
        (recipe.expert_padding is not None, "its experts take as many tokens as they are sent"),
        (recipe.router_held, "its routers hold no graph"),
        (recipe.reduce not in (None, "fp32"), "it sums gradients in fp32"),
        (recipe.base is not None and recipe.lora is None, "its weights train in 16 or 32 bits"),
        (sharded and cluster.root_resharded, "what is outside its layers stays gathered"),
        (cluster.whole_embedding, "its embedding is shared out"),
    )


def _kernel_differences(recipe: Recipe, told: Recipe) -> tuple[tuple[bool, str], ...]:
    """What differs within a layer, and at the logits."""
    whole = told.loss == "logits_fp32"
    return (
        (
            recipe.attention != told.attention,
            "it packs rows and needs no mask (flash attention)",
        ),
        (
            recipe.kernels != told.kernels,
            "blocks of this model are transformers' own"
            if recipe.checkpointing != "selective"
            else "beside selective checkpointing its blocks are transformers' own",
        ),
        (
            whole and recipe.loss != told.loss,
            "this model caps its logits: they are built whole",
        ),
        (recipe.loss == "fused_linear", "its loss takes 256 positions at a time"),
        (
            recipe.loss not in (*runner.LOSSES.values(), "fused_linear"),
            "its loss never builds all logits",
        ),
    )


def _needs(plan: Plan, run: Plan, shown_in: str) -> Json:
    """What the command takes where it is not the plan, in a sentence; whether that is news: it does
    not fit where the plan does.
    """
    found = verdict(run, shown_in)
    each = " on each card" if run.job.cluster.gpus > 1 else ""
    size = size_text(run.device_bytes, shown_in)
    card = run.job.gpu
    if card is None:
        return {"text": f"So it takes {size}{each}.", "worse": False}
    title = str(found["title"])
    room = size_text(card.capacity_bytes, shown_in)
    fits = f"{title[:1].lower()}{title[1:]}"
    worse = bool(plan.fits and not run.fits)
    return {"text": f"So it takes {size} of {room}{each}: {fits}", "worse": worse}

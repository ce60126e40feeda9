"""What `train --dry-run` prints: what the run would do, need and take."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gpu_runner.config.bounds import TABLES
from gpu_runner.memory.formula import build_recipe
from gpu_runner.memory.prediction import Prediction
from gpu_runner.optim.optimizer import describe_factors
from gpu_runner.plan.data_report import describe_marks, describe_trained, format_near_answer
from gpu_runner.plan.intervals import (
    choose_intervals,
    describe_intervals,
    describe_rule,
    upkeep_seconds,
)
from gpu_runner.plan.plan import RunPlan, writes_beside_steps, writes_shards
from gpu_runner.plan.step_time import (
    StepEstimate,
    estimate_costs,
    estimate_step_time,
)
from gpu_runner.text import counted, printable, sentence
from unfrozen.events import COMPONENTS, INSTANTS
from unfrozen.plan.host_memory import HostBytes, Reading, Writing, host_bytes, predict_resident_set
from unfrozen.units import format_bytes, format_elapsed


def show_plan(console: Console, plan: RunPlan) -> None:
    """Print what `train` with the same options would do and need."""
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(style="dim")
    for name, text in _facts(plan):
        table.add_row(name, Text(printable(text)))
    console.print(table)
    if plan.prediction is not None:
        console.print(_instants(plan.prediction))
    example = Text.assemble(
        (f"example 1, {describe_marks(console)}:  ", "dim"),
        format_near_answer(console, plan.encoder, plan.train, 0),
    )
    console.print(example, soft_wrap=True)
    for text in plan.remarks():
        sentence(console, Text.assemble(("Note: ", "bold yellow"), printable(text)))


def _facts(plan: RunPlan) -> list[tuple[str, str]]:
    config, train = plan.config, plan.train
    size = f"{plan.shape.num_parameters:,} parameters, all trained" if plan.shape else "unknown"
    examples = counted(len(train.examples), "example")
    held_out = counted(len(plan.suites["task"].examples), "example")
    general = (name.removeprefix("general/") for name in plan.suites if name != "task")
    skills = ", ".join(general) or "none"
    return [
        ("model", f"{plan.source.name}: {size}"),
        ("data", f"{examples}, {counted(train.trainable_tokens, 'trainable token')}"),
        ("trained", describe_trained(config, train, plan.encoder)),
        ("held out", f"{held_out} of the task; general: {skills}"),
        (
            "steps",
            f"{plan.steps:,} of {config.micro_batch} × {config.grad_accum} sequences,"
            f" about {plan.trainable_tokens:,} trainable tokens in all",
        ),
        (
            "learning rate",
            f"{config.schedule}, peak {config.lr:g}, warm-up {plan.schedule.warmup_steps}",
        ),
        ("optimizer", _objective(plan)),
        *_parts(plan),
        ("precision", _precision(plan)),
        *_time(plan),
        ("free memory", format_bytes(plan.available_bytes)),
        *_resident(plan),
        *_host(plan),
        ("disk", f"up to {format_bytes(plan.disk_bytes)}" if plan.disk_bytes else "unknown"),
    ]


def _resident(plan: RunPlan) -> list[tuple[str, str]]:
    """Return what `top` will show of a process on a CPU."""
    if plan.prediction is None or plan.device.type != "cpu":
        return []
    weights = plan.prediction.instants.get("load", {}).get("params", 0)
    parts = _shards(plan)
    found = predict_resident_set(
        plan.prediction.peak_bytes,
        weights * parts,
        psutil.Process().memory_info().rss,
        ranks=parts,
        read_whole=_reads_whole(plan),
        in_16_bits=plan.compute != "fp32",
    )
    return [("in top", str(found))]


def _shards(plan: RunPlan) -> int:
    """Return over how many processes the model is sharded."""
    return min(plan.config.shard_size or plan.feed.ranks, plan.feed.ranks)


def _reads_whole(plan: RunPlan) -> bool:
    """Return whether each process reads all weights: a single one, or files not in safetensors."""
    place = Path(plan.source.place)
    files = plan.source.kind == "hub" or any(place.glob("*.safetensors"))
    return plan.feed.ranks == 1 or plan.source.kind == "gguf" or not files


def _host(plan: RunPlan) -> list[tuple[str, str]]:
    """Return the host memory beside the tensors of a step; for one CPU process see `_resident`."""
    ranks, on_gpu = plan.feed.ranks, plan.device.type == "cuda"
    if plan.shape is None or (ranks == 1 and not on_gpu):
        return []
    local = int(os.environ.get("LOCAL_WORLD_SIZE", ranks))
    asked = build_recipe(plan.config, plan.compute, plan.heaviest, plan.shape)
    now: Writing = "shards" if writes_shards(plan.config, ranks) else "whole"
    if writes_beside_steps(plan):
        now = "beside"
    reading: Reading = "whole" if _reads_whole(plan) else "parts"
    rows = []
    for name, read, write in (
        ("host memory", reading, now),
        ("… without shards", "whole", "whole"),
    ):
        found = host_bytes(
            plan.shape,
            asked,
            parts=_shards(plan),
            local=local,
            reading=read,
            writing=write,
            on_card=on_gpu,
            unpacked=plan.unpacks,
        )
        rows.append((name, _moments(found, local)))
    return rows[:1] if (reading, now) == ("whole", "whole") else rows


def _moments(found: HostBytes, local: int) -> str:
    sizes = {name: format_bytes(size) for name, size in found.process.items()}
    machine = {name: format_bytes(size) for name, size in found.machine.items()}
    first = (
        f"{sizes['load']} to load, {sizes['save']} to write a checkpoint, {sizes['finish']} to"
        " write the model, beside libraries and steps"
    )
    if local == 1:
        return first
    together = ", ".join(machine.values())
    return f"the first process {first}; the {local} of its machine {together}"


def _time(plan: RunPlan) -> list[tuple[str, str]]:
    """Return how long it takes, and with a price what that costs."""
    found, price = estimate_step_time(plan), plan.price
    if found is None:
        rule = describe_rule(plan.config)
        rows, seconds = [("time", "unknown"), *([("intervals", rule)] if rule else [])], 0.0
    else:
        costs = estimate_costs(plan, found.step_seconds)
        intervals = choose_intervals(plan.config, plan.steps, costs)
        seconds = whole_seconds(plan) or 0.0
        rows = [
            ("time", _length(found, seconds)),
            ("intervals", describe_intervals(plan.config, intervals, costs)),
        ]
    if price is None:
        return rows
    total = f"about {price.format_amount(price.cost_of(seconds))}, " if found else ""
    return [
        *rows,
        ("cost", f"{total}at {price.format_amount(price.each)} for {price.per}; pauses count"),
    ]


def whole_seconds(plan: RunPlan) -> float | None:
    """Return the seconds of a run, with its evaluations and checkpoints; None if unknown."""
    found = estimate_step_time(plan)
    if found is None:
        return None
    costs = estimate_costs(plan, found.step_seconds)
    intervals = choose_intervals(plan.config, plan.steps, costs)
    upkeep = upkeep_seconds(plan.config, intervals, costs)
    return found.step_seconds * plan.steps + upkeep


def _length(found: StepEstimate, whole_seconds: float) -> str:
    """Return the time of a step and of the run, and where the estimate comes from."""
    step = found.step_seconds
    short = f"{step:.2g} s" if step >= 1 else f"{1e3 * step:.2g} ms"
    each = format_elapsed(step) if step >= 10 else short
    whole = "under 0.1 s in all"
    if whole_seconds >= 0.1:
        whole = f"{format_elapsed(whole_seconds)} in all with evaluations and checkpoints"
    return f"{'at least' if found.least else 'about'} {each} a step, {whole}; {found.source}"


def _precision(plan: RunPlan) -> str:
    """Return the dtypes of weights, gradients, moments and matmuls, and bytes a parameter."""
    asked = build_recipe(plan.config, plan.compute, plan.heaviest, plan.shape)
    states = f"{asked.params} weights, {asked.grads} gradients"
    if asked.moments:
        states += f", {asked.moments} moments"
    if plan.prediction is not None:
        states += f": {plan.prediction.bytes_per_parameter} bytes a parameter"
    return f"{states}; {plan.compute} matmuls, on {plan.device.type}"


def _parts(plan: RunPlan) -> list[tuple[str, str]]:
    """Return the rates and decays of parts, where there are any."""
    names = [tensor.name for tensor in plan.shape.tensors] if plan.shape else []
    found = [
        text for key in TABLES for text in describe_factors(key, getattr(plan.config, key), names)
    ]
    return [("parts", "; ".join(found))] if found else []


def _objective(plan: RunPlan) -> str:
    """Return the optimizer and what keeps weights near the pre-trained ones: "adamw; ewc 1"."""
    config = plan.config
    moves: str = config.optimizer
    if config.momentum:
        moves += f", momentum {config.momentum:g}"
    usual = type(config).__dataclass_fields__
    for name in ("beta1", "beta2", "beta2_tokens", "epsilon"):
        if (value := getattr(config, name)) != usual[name].default:
            moves += f", {name} {value:g}"
    if config.beta2_tokens is not None:
        moves += f" (β₂ {plan.betas[1]:.6g})"
    if config.rounding != "nearest":
        moves += f", {config.rounding} rounding"
    names = ("l2sp", "l2sp_pull", "ewc")
    held = {name: getattr(config, name) for name in names}
    chosen = [f"{name} {strength:g}" for name, strength in held.items() if strength]
    if config.router_balance:
        chosen.append(f"router balance {config.router_balance:g}")
    if config.ema is not None:
        chosen.append(f"moving average of the weights, {config.ema:g}")
    if config.early_stop:
        chosen.append(f"stops after {config.early_stop} evaluations without a lower task loss")
    return "; ".join([moves, *chosen])


def _instants(prediction: Prediction) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("predicted memory", no_wrap=True)
    for label in INSTANTS.values():
        table.add_column(label, justify="right")
    for component, label in COMPONENTS.items():
        sizes = [prediction.instants.get(name, {}).get(component, 0) for name in INSTANTS]
        if any(sizes):
            table.add_row(label, *(format_bytes(size) if size else "" for size in sizes))
    totals = [sum(prediction.instants.get(name, {}).values()) for name in INSTANTS]
    table.add_row("Total", *map(format_bytes, totals), style="bold")
    return table

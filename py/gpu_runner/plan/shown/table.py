"""What `plan` prints: what `train` with the same arguments would do, need and take."""

from __future__ import annotations

import os
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gpu_runner.config.tables import TABLES
from gpu_runner.memory.formula import build_recipe
from gpu_runner.memory.prediction import Prediction
from gpu_runner.memory.resident import predict_resident_set
from gpu_runner.optim.optimizer import shown
from gpu_runner.plan.pace import Pace, pace
from gpu_runner.plan.plan import RunPlan, in_parts
from gpu_runner.plan.shown.preview import legend, near_answer, what_is_trained
from gpu_runner.text import counted, printable, sentence
from unfrozen.events import COMPONENTS, INSTANTS
from unfrozen.plan.host_memory import HostBytes, Reading, Writing, host_bytes
from unfrozen.units import format_bytes, format_elapsed


def show_plan(console: Console, plan: RunPlan) -> None:
    """What `train` with the same arguments would do and need."""
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(style="dim")
    for name, text in _rows(plan):
        table.add_row(name, Text(printable(text)))
    console.print(table)
    if plan.prediction is not None:
        console.print(_instants(plan.prediction))
    told = Text.assemble(
        (f"row 1, {legend(console)}:  ", "dim"),
        near_answer(console, plan.encoder, plan.train, 0),
    )
    console.print(told, soft_wrap=True)
    for text in plan.remarks():
        sentence(console, Text.assemble(("Note: ", "bold yellow"), printable(text)))


def _rows(plan: RunPlan) -> list[tuple[str, str]]:
    config, rows = plan.config, plan.train
    size = f"{plan.shape.num_parameters:,} parameters, all trained" if plan.shape else "of its type"
    general = (name.removeprefix("general/") for name in plan.suites if name != "task")
    skills = ", ".join(general) or "none"
    return [
        ("model", f"{plan.source.name}: {size}"),
        (
            "data",
            f"{counted(len(rows.examples))}, {counted(rows.trainable_tokens, 'trainable token')}",
        ),
        ("trained", what_is_trained(config, rows, plan.encoder)),
        (
            "held out",
            f"{counted(len(plan.suites['task'].examples))} of the task; general: {skills}",
        ),
        (
            "steps",
            f"{plan.steps:,} of {config.micro_batch} × {config.grad_accum} rows,"
            f" about {plan.trainable_tokens:,} trainable tokens in all",
        ),
        ("rate", f"{config.schedule}, peak {config.lr:g}, warm-up {plan.schedule.warmup_steps}"),
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
    """What `top` will show of a process on a CPU."""
    if plan.prediction is None or plan.device.type != "cpu":
        return []
    weights = plan.prediction.instants.get("load", {}).get("params", 0)
    parts = _cut_into(plan)
    found = predict_resident_set(
        plan.prediction.peak_bytes,
        weights * parts,
        ranks=parts,
        read_whole=_reads_whole(plan),
        in_16_bits=plan.compute == "bf16",
    )
    return [("in top", str(found))]


def _cut_into(plan: RunPlan) -> int:
    """Into how many parts the model is cut."""
    return min(plan.config.shard_size or plan.feed.ranks, plan.feed.ranks)


def _reads_whole(plan: RunPlan) -> bool:
    """Whether each process reads all weights: one alone, or of files that are no safetensors."""
    place = Path(plan.source.place)
    files = plan.source.kind == "hub" or any(place.glob("*.safetensors"))
    return plan.feed.ranks == 1 or plan.source.kind == "gguf" or not files


def _host(plan: RunPlan) -> list[tuple[str, str]]:
    """What the host needs beside the tensors of a step; on a CPU alone it is all in `_resident`."""
    ranks, on_card = plan.feed.ranks, plan.device.type == "cuda"
    if plan.shape is None or (ranks == 1 and not on_card):
        return []
    local = int(os.environ.get("LOCAL_WORLD_SIZE", ranks))
    asked = build_recipe(plan.config, plan.compute, plan.heaviest, plan.shape)
    now: Writing = "whole"
    if in_parts(plan.config, ranks):
        now = "beside" if plan.config.async_checkpoints else "shards"
    reading: Reading = "whole" if _reads_whole(plan) else "parts"
    told = []
    for name, read, write in (("host memory", reading, now), ("… all whole", "whole", "whole")):
        found = host_bytes(
            plan.shape,
            asked,
            parts=_cut_into(plan),
            local=local,
            reading=read,
            writing=write,
            on_card=on_card,
        )
        told.append((name, _moments(found, local)))
    return told[:1] if (reading, now) == ("whole", "whole") else told


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
    """How long it takes, and with a price what that costs."""
    found, price = pace(plan), plan.price
    rows = [("time", "unknown" if found is None else _length(found, plan.steps))]
    if price is None:
        return rows
    seconds = found.step_seconds * plan.steps if found else 0.0
    told = f"about {price.told(price.of_seconds(seconds))}, " if found else ""
    return [*rows, ("cost", f"{told}at {price.told(price.each)} for {price.per}; pauses count")]


def _length(found: Pace, steps: int) -> str:
    """Of a step and of all of them, and how that is known."""
    step, all_steps = found.step_seconds, found.step_seconds * steps
    short = f"{step:.2g} s" if step >= 1 else f"{1e3 * step:.2g} ms"
    each = format_elapsed(step) if step >= 10 else short
    whole = f"{format_elapsed(all_steps)} in all" if all_steps >= 0.1 else "under 0.1 s in all"
    return f"{'at least' if found.least else 'about'} {each} a step, {whole}; {found.source}"


def _precision(plan: RunPlan) -> str:
    """Weights, gradients, moments and products apart, and what a parameter takes of memory."""
    asked = build_recipe(plan.config, plan.compute, plan.heaviest, plan.shape)
    states = f"{asked.params} weights, {asked.grads} gradients"
    if asked.moments:
        states += f", {asked.moments} moments"
    if plan.prediction is not None:
        states += f": {plan.prediction.bytes_per_parameter} bytes a parameter"
    return f"{states}; {plan.compute} products, on {plan.device.type}"


def _parts(plan: RunPlan) -> list[tuple[str, str]]:
    """Rates and decays of parts, where there are any."""
    names = [tensor.name for tensor in plan.shape.tensors] if plan.shape else []
    found = [text for key in TABLES for text in shown(key, getattr(plan.config, key), names)]
    return [("parts", "; ".join(found))] if found else []


def _objective(plan: RunPlan) -> str:
    """The optimizer, and what holds the weights near the pre-trained ones: "adamw; ewc 1"."""
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
    held = {"l2sp": config.l2sp, "l2sp_pull": config.l2sp_pull, "ewc": config.ewc}
    chosen = [f"{name} {strength:g}" for name, strength in held.items() if strength]
    if config.layer_decay > 1:
        chosen.append(f"each layer below at 1/{config.layer_decay:g} of the rate")
    if config.neftune_alpha:
        chosen.append(f"noise on embeddings, α {config.neftune_alpha:g}")
    if config.router_balance:
        chosen.append(f"router balance {config.router_balance:g}")
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

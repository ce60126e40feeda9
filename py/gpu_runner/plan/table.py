"""What `plan` prints: what `train` with the same arguments would do, need and take."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gpu_runner.config.schema import TrainConfig
from gpu_runner.plan.pace import Pace, pace
from gpu_runner.plan.plan import RunPlan
from gpu_runner.plan.predict import Prediction, recipe
from gpu_runner.plan.preview import legend, near_answer, what_is_trained
from gpu_runner.plan.resident import resident
from gpu_runner.text import counted, printable, sentence
from unfrozen.events import COMPONENTS, INSTANTS
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
        near_answer(console, plan.encoder, plan.train.examples[0]),
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
        ("optimizer", _objective(config)),
        ("precision", _precision(plan)),
        *_time(plan),
        ("free memory", format_bytes(plan.available_bytes)),
        *_resident(plan),
        ("disk", f"up to {format_bytes(plan.disk_bytes)}" if plan.disk_bytes else "unknown"),
    ]


def _resident(plan: RunPlan) -> list[tuple[str, str]]:
    """What `top` will show of a process on a CPU."""
    if plan.prediction is None or plan.device.type != "cpu":
        return []
    weights = plan.prediction.instants.get("load", {}).get("params", 0)
    found = resident(
        plan.prediction.peak_bytes,
        weights * plan.feed.ranks,
        ranks=plan.feed.ranks,
        narrow=plan.compute == "bf16",
    )
    return [("in top", str(found))]


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
    asked = recipe(plan.config, plan.compute, plan.heaviest, plan.shape)
    states = f"{asked.params} weights, {asked.grads} gradients"
    if asked.moments:
        states += f", {asked.moments} moments"
    if plan.prediction is not None:
        states += f": {plan.prediction.bytes_per_parameter} bytes a parameter"
    return f"{states}; {plan.compute} products, on {plan.device.type}"


def _objective(config: TrainConfig) -> str:
    """The optimizer, and what holds the weights near the pre-trained ones: "adamw; ewc 1"."""
    moves: str = config.optimizer
    if config.momentum:
        moves += f", momentum {config.momentum:g}"
    usual = type(config).__dataclass_fields__
    for name in ("beta1", "beta2", "beta2_tokens", "epsilon"):
        if (value := getattr(config, name)) != usual[name].default:
            moves += f", {name} {value:g}"
    if config.rounding != "nearest":
        moves += f", {config.rounding} rounding"
    held = {"l2sp": config.l2sp, "l2sp_pull": config.l2sp_pull, "ewc": config.ewc}
    chosen = [f"{name} {strength:g}" for name, strength in held.items() if strength]
    if config.layer_decay > 1:
        chosen.append(f"each layer below at 1/{config.layer_decay:g} of the rate")
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

"""`unfrozen trace`: reads jobs, traces them, and shows the traces beside the planner's plans."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gpu_runner.errors import UsageError
from gpu_runner.memory.traced_job import Trace, trace
from unfrozen.errors import InputError, strict_json
from unfrozen.events import COMPONENTS, INSTANTS
from unfrozen.job import Job
from unfrozen.plan import Plan, plan
from unfrozen.units import GIB, format_bytes, format_count, sig3

MIB: Final = 2**20


def run(path: str, *, as_json: bool, console: Console) -> None:
    """Trace every job of a file; `-` reads stdin. Raises `RunnerError` where that is impossible."""
    jobs = _read_jobs(path)
    if as_json:
        rows = [trace(job).row(trace_id(job)) for job in jobs]
        lines = [json.dumps(row, allow_nan=False) for row in rows]
        print("[\n" + ",\n".join(lines) + "\n]" if len(jobs) > 1 else lines[0])
        return
    for job in jobs:
        show_trace(console, trace(job))


def _read_jobs(path: str) -> list[dict[str, Any]]:
    """Return the jobs of a file, which holds one object or a list with at least one."""
    try:
        data = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
        given: Any = strict_json(data.decode())
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}): check the path.") from None
    except ValueError as error:
        raise UsageError(f"{path} is not JSON ({error}): correct the file.") from None
    jobs = given if isinstance(given, list) else [given]
    if not jobs or not all(isinstance(job, dict) for job in jobs):
        raise UsageError(f'{path} must hold a job {{"model": {{…}}, "recipe": {{…}}}} or a list.')
    return jobs


def trace_id(job: Mapping[str, Any], name: str | None = None) -> str:
    """Return a short name of a job: "llama-bf16-b4-s1024-ckpt-acc2"; `name` replaces the type."""
    read = Job.read(job)
    recipe, lora = read.recipe, read.recipe.lora
    parts = [
        name or read.model.architecture.model_type,
        "amp" if recipe.compute != recipe.params else recipe.params,
        f"b{recipe.micro_batch}",
        f"s{recipe.seq_len}",
    ]
    if lora:
        targets = [target for target in lora.targets if target != "all-linear"]
        cast = ["cast"] if lora.autocast else []
        parts += ["lora", f"r{lora.rank}", lora.dtype, *cast, *targets]
    usual = {"attention": "sdpa", "optimizer": "adamw", "step": "fused"}
    parts += [getattr(recipe, key) for key in usual if getattr(recipe, key) != usual[key]]
    if recipe.checkpointing != "none":
        parts.append("ckpt")
    if recipe.grad_accum > 1:
        parts.append(f"acc{recipe.grad_accum}")
    if recipe.dropout:
        parts.append(f"drop{recipe.dropout}")
    return "-".join(parts)


def show_trace(console: Console, traced: Trace) -> None:
    """Print a table of bytes by component and instant, traced / planned, and the errors."""
    planned = _plan(traced.job)
    count = format_count(traced.num_parameters)
    title = f"{trace_id(traced.job)}, {count} parameters"
    console.print(Text(title, style="bold"), soft_wrap=True)
    console.print(_build_table(traced, planned if isinstance(planned, Plan) else None))
    console.print(Text(_summarize(traced, planned)), soft_wrap=True)


def _plan(job: Mapping[str, Any]) -> Plan | str:
    """Return the plan of a job, or why there is none."""
    try:
        return plan(dict(job))
    except InputError as error:
        return str(error)


def _build_table(traced: Trace, planned: Plan | None) -> Table:
    unit, size_of = ("GiB", GIB) if traced.peak_bytes >= GIB else ("MiB", MIB)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(f"{unit} traced/plan" if planned else f"{unit} traced", no_wrap=True)
    for label in INSTANTS.values():
        table.add_column(label, justify="right")
    predicted = planned.instants if planned else {}

    def cell(sizes: tuple[int, int]) -> str:
        shown = sizes if planned else sizes[:1]
        large = max(shown) >= size_of / 200  # a loss of 4 bytes is not shown
        return "/".join(_format_size(size / size_of) for size in shown) if large else ""

    for component, label in COMPONENTS.items():
        pairs = [
            (
                traced.instants.get(name, {}).get(component, 0),
                predicted.get(name, {}).get(component, 0),
            )
            for name in INSTANTS
        ]
        if any(cells := list(map(cell, pairs))):
            table.add_row(label, *cells)
    totals = [
        (sum(traced.instants.get(n, {}).values()), sum(predicted.get(n, {}).values()))
        for n in INSTANTS
    ]
    table.add_row("Total", *map(cell, totals), style="bold")
    if planned:
        table.add_row("Error of the plan", *(format_error(*pair) for pair in totals))
    return table


def _format_size(value: float) -> str:
    """Return a size in three digits, at most two decimals: five columns fit 80 characters."""
    return "·" if not value else sig3(value) if value >= 1 else f"{value:.2f}"


def format_error(traced_bytes: int, planned_bytes: int) -> str:
    """Return the error of a plan in percent of the traced size: "+0.12%"."""
    return f"{100 * (planned_bytes / traced_bytes - 1):+.2f}%"


def _summarize(traced: Trace, planned: Plan | str) -> str:
    totals = {name: sum(components.values()) for name, components in traced.instants.items()}
    where = INSTANTS[max(totals, key=lambda name: totals[name])].lower()
    peak = f"Peak traced: {format_bytes(traced.peak_bytes)} ({where})"
    if isinstance(planned, str):
        return f"{peak}; not planned: {planned}."
    error = format_error(traced.peak_bytes, planned.allocated_bytes)
    there = INSTANTS[planned.peak_instant].lower()
    return f"{peak}; planned: {format_bytes(planned.allocated_bytes)} ({there}), {error}."

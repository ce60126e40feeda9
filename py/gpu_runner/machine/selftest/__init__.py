"""`unfrozen selftest`: whether this machine computes correctly, every path within its bound.

A check is one sentence with a number and its bound. Where the machine lacks what a check needs (a
GPU, a second one, a compiler) the check is skipped and says so; an exception fails its own check
only. All checks together take under two minutes. They compare with the installed PyTorch and
transformers, not with expectations of our tests. The report names no path and no host: versions,
the GPU, and per check its error and its bound.

Reading order:

- `check` — a check, its figure, and the models and batches it runs on
- `gradients` — loss, gradients, packing, resuming, dtypes, attention kernels
- `optimizers` — every optimizer against its formula; bf16 rounding against exact weights
- `steps` — checkpointing, losses, experts, files, memory, synchronization, two processes
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import torch
from rich.console import Console
from rich.text import Text

from gpu_runner.atomic import write_file
from gpu_runner.errors import ExitCode, SystemFailure, UsageError
from gpu_runner.machine.description import MARKS, Outcome, describe
from gpu_runner.machine.selftest.check import Check, DemoModel, Skipped, demo_config
from gpu_runner.machine.selftest.gradients import GRADIENTS
from gpu_runner.machine.selftest.optimizers import OPTIMIZERS
from gpu_runner.machine.selftest.steps import STEPS
from gpu_runner.plan.machine import CUBLAS, REPEATABLE, choose_device, configure_torch
from gpu_runner.plan.plan import make_plan
from gpu_runner.text import counted, printable, sentence

CHECKS: Final[tuple[Check, ...]] = (*GRADIENTS, *OPTIMIZERS, *STEPS)


def run(console: Console, device: str, report: Path | None = None) -> ExitCode:
    """Run every check on `device`; return NOT_READY if one of them exceeds its bound.

    `report` is where a report is written. Raises `UsageError` for a missing device or a report
    that ends neither in .json nor in .md, `SystemFailure` where it cannot be written.
    """
    if report is not None and not report.name.endswith((".json", ".md")):
        raise UsageError(f"--report {report.name}: give a name that ends in .json or .md.")
    torch.manual_seed(0)
    config = demo_config(device)
    place = choose_device(device)
    if place.type == "cuda":  # cuBLAS reads it once, and one check needs it
        os.environ.setdefault(CUBLAS, REPEATABLE[0])
    configure_torch(config, place)
    demo = DemoModel(make_plan(config))
    about = describe(place)
    console.print(Text(_title(about), "bold"))
    outcomes = []
    for check in CHECKS:
        outcomes.append(run_check(check, demo))
        _print_outcome(console, outcomes[-1])
    if report is not None:
        write_report(report, about, outcomes)
        sentence(console, Text(f"The report is in {report}."))
    return _print_summary(console, place, outcomes)


def run_check(check: Check, demo: DemoModel) -> Outcome:
    """Run one check; whatever it raises becomes its outcome, and the others still run."""
    started = time.perf_counter()
    try:
        found = check.measure(demo)
    except Skipped as reason:
        return Outcome(check.name, "skipped", str(reason))
    except Exception as error:  # a missing kernel may raise anything
        lines = [line for line in str(error).splitlines() if line.strip()] or [""]
        text = f"{type(error).__name__}: {lines[0]}"
        return Outcome(check.name, "failed", text, seconds=time.perf_counter() - started)
    finally:
        if demo.on_gpu:
            torch.cuda.empty_cache()
    return Outcome(
        check.name,
        "passed" if found.within_bound else "failed",
        found.note,
        error=found.error,
        bound=found.bound,
        seconds=time.perf_counter() - started,
    )


def _title(about: dict[str, object]) -> str:
    if "gpu" not in about:
        return f"PyTorch {about['torch']} on a CPU, {counted(int(str(about['threads'])), 'thread')}"
    return (
        f"PyTorch {about['torch']} on {about['gpu']}, compute capability {about['capability']},"
        f" driver {about['driver'] or 'unknown'}"
    )


def _print_outcome(console: Console, one: Outcome) -> None:
    skipped = one.verdict == "skipped"
    result = f"skipped, {one.note}" if skipped else f"{one.figure}, {one.seconds:.1f} s"
    mark, style = MARKS[one.verdict]
    line = Text.assemble((f"{mark} ", style), printable(f"{one.name}: {result}"))
    sentence(console, line)


def _print_summary(console: Console, device: torch.device, outcomes: list[Outcome]) -> ExitCode:
    failed = sum(one.verdict == "failed" for one in outcomes)
    skipped = sum(one.verdict == "skipped" for one in outcomes)
    done = len(outcomes) - skipped
    if failed:
        text = f"{failed} of {done} checks failed: do not train here. Run `unfrozen doctor` first."
        console.print(Text(text, "bold red"))
        return ExitCode.NOT_READY
    rest = f", {skipped} skipped" if skipped else ""
    console.print(Text(f"All {done} checks passed on {device.type}{rest}.", "bold"))
    return ExitCode.OK


def write_report(path: Path, about: dict[str, Any], outcomes: Sequence[Outcome]) -> None:
    """Write the report as its ending says. Raises `SystemFailure` where it cannot be written."""
    format_report = format_json if path.suffix == ".json" else format_markdown
    try:
        write_file(path, format_report(about, outcomes), new=True)
    except OSError as error:
        raise SystemFailure(f"--report {path}: cannot be written ({error.strerror}).") from None


def format_json(about: dict[str, Any], outcomes: Iterable[Outcome]) -> str:
    """Return machine and checks as JSON; a number that is not finite becomes a string."""

    def plain(value: Any) -> Any:
        finite = not isinstance(value, float) or abs(value) < float("inf")
        return value if finite else str(value)

    checks = [{name: plain(v) for name, v in asdict(one).items()} for one in outcomes]
    return json.dumps({"machine": about, "checks": checks}, indent=1, ensure_ascii=False) + "\n"


def format_markdown(about: dict[str, Any], outcomes: Iterable[Outcome]) -> str:
    """Return machine and checks as two tables of Markdown."""
    lines = ["# Selftest", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {_cell(str(value))} |" for name, value in about.items()]
    lines += ["", "| | check | error | seconds |", "|---|---|---|---:|"]
    for one in outcomes:
        cells = MARKS[one.verdict][0], _cell(one.name), _cell(one.figure), f"{one.seconds:.1f}"
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")

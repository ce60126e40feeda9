"""All checks in a row, a line each; a report of them for whoever is asked about this machine."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

import torch
from rich.console import Console
from rich.text import Text

from gpu_runner.errors import ExitCode
from gpu_runner.machine.selftest import report
from gpu_runner.machine.selftest.figures import Bench, Check, Skipped, refuse_ending, settings
from gpu_runner.machine.selftest.formats import FORMATS
from gpu_runner.machine.selftest.kernels import KERNELS
from gpu_runner.machine.selftest.numerics import NUMERICS
from gpu_runner.machine.selftest.pair import PAIR
from gpu_runner.machine.selftest.report import MARKS, CheckOutcome
from gpu_runner.machine.selftest.steps import STEPS
from gpu_runner.machine.selftest.updates import UPDATES
from gpu_runner.plan.machine import CUBLAS, REPEATABLE, choose_device, configure_torch
from gpu_runner.plan.plan import make_plan
from gpu_runner.text import counted, printable, sentence

CHECKS: Final[tuple[Check, ...]] = (*NUMERICS, *KERNELS, *FORMATS, *UPDATES, *STEPS, *PAIR)
STYLES: Final = {"passed": "green", "failed": "red", "skipped": "yellow"}


def run(console: Console, device: str, written: Path | None = None) -> ExitCode:
    """Do every check on `device`; NOT_READY if one of them is out of its bound.

    `written` is where a report goes. Raises `UsageError` for a device that is not there or a report
    of another ending than .json or .md, `SystemFailure` where it cannot be written.
    """
    if written is not None:
        refuse_ending(written.name)
    torch.manual_seed(0)
    config = settings(device)
    place = choose_device(device)
    if place.type == "cuda":  # cuBLAS reads it once, and one check needs it
        os.environ.setdefault(CUBLAS, REPEATABLE[0])
    configure_torch(config, place)
    bench = Bench(make_plan(config))
    about = report.machine(place)
    console.print(Text(_title(about), "bold"))
    outcomes = []
    for check in CHECKS:
        outcomes.append(carried_out(check, bench))
        _show(console, outcomes[-1])
    if written is not None:
        report.write(written, about, outcomes)
        sentence(console, Text(f"The report is in {written}."))
    return _ended(console, place, outcomes)


def carried_out(check: Check, bench: Bench) -> CheckOutcome:
    """One check; what breaks in it is its outcome, and the others are still carried out."""
    started = time.perf_counter()
    try:
        found = check.figure(bench)
    except Skipped as reason:
        return CheckOutcome(check.words, "skipped", note=str(reason))
    except Exception as error:  # a kernel that is not there may raise anything
        lines = [line for line in str(error).splitlines() if line.strip()] or [""]
        text = f"{type(error).__name__}: {lines[0]}"
        return CheckOutcome(check.words, "failed", note=text, seconds=time.perf_counter() - started)
    finally:
        if bench.on_card:
            torch.cuda.empty_cache()
    seconds = time.perf_counter() - started
    verdict = "passed" if found.good else "failed"
    return CheckOutcome(check.words, verdict, found.error, found.bound, found.note, seconds)  # type: ignore[arg-type]


def _title(about: dict[str, object]) -> str:
    if "card" not in about:
        return f"PyTorch {about['torch']} on a CPU, {counted(int(str(about['threads'])), 'thread')}"
    return (
        f"PyTorch {about['torch']} on {about['card']}, compute capability {about['capability']},"
        f" driver {about['driver'] or 'unknown'}"
    )


def _show(console: Console, one: CheckOutcome) -> None:
    took = "" if one.verdict == "skipped" else f", {one.seconds:.1f} s"
    why = f"skipped, {one.note}" if one.verdict == "skipped" else one.figure
    mark = (f"{MARKS[one.verdict]} ", STYLES[one.verdict])
    sentence(console, Text.assemble(mark, printable(f"{one.words}: {why}{took}")))


def _ended(console: Console, device: torch.device, outcomes: list[CheckOutcome]) -> ExitCode:
    failed = sum(one.verdict == "failed" for one in outcomes)
    skipped = sum(one.verdict == "skipped" for one in outcomes)
    done = len(outcomes) - skipped
    if failed:
        text = f"{failed} of {done} checks failed: do not train here. Run doctor first."
        console.print(Text(text, "bold red"))
        return ExitCode.NOT_READY
    rest = f", {skipped} skipped" if skipped else ""
    console.print(Text(f"All {done} checks passed on {device.type}{rest}.", "bold"))
    return ExitCode.OK

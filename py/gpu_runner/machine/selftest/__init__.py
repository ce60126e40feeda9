"""`unfrozen selftest`: whether this machine computes correctly, every path within its bound.

A check is one sentence with a number and its bound. Where the machine lacks what a check needs (a
GPU, a second one, a compiler) the check is skipped and says so; an exception fails its own check
only. All checks together take under two minutes. They compare with the installed PyTorch and
transformers, not with expectations of our tests.

Reading order:

- `check` — a check, its figure, and the models and batches it runs on
- `gradients` — loss, gradients, packing, resuming, dtypes, attention kernels
- `optimizers` — every optimizer against its formula; bf16 rounding against exact weights
- `steps` — checkpointing, losses, experts, files, memory, synchronization, two processes
"""

from __future__ import annotations

import os
import time
from typing import Final

import torch
from rich.console import Console
from rich.text import Text

from gpu_runner.errors import ExitCode
from gpu_runner.machine.description import MARKS, Outcome, describe_gpu
from gpu_runner.machine.selftest.check import Check, DemoModel, Skipped, demo_config
from gpu_runner.machine.selftest.gradients import GRADIENTS
from gpu_runner.machine.selftest.optimizers import OPTIMIZERS
from gpu_runner.machine.selftest.steps import STEPS
from gpu_runner.plan.machine import CUBLAS, REPEATABLE, choose_device, configure_torch
from gpu_runner.plan.plan import make_plan
from gpu_runner.text import counted, printable, sentence

CHECKS: Final[tuple[Check, ...]] = (*GRADIENTS, *OPTIMIZERS, *STEPS)


def run(console: Console, device: str) -> ExitCode:
    """Run every check on `device`; return NOT_READY if one of them exceeds its bound.

    Raises `UsageError` for a missing device.
    """
    torch.manual_seed(0)
    config = demo_config(device)
    place = choose_device(device)
    if place.type == "cuda":  # cuBLAS reads it once, and one check needs it
        os.environ.setdefault(CUBLAS, REPEATABLE[0])
    configure_torch(config, place)
    demo = DemoModel(make_plan(config))
    console.print(Text(_title(place), "bold"))
    outcomes = []
    for check in CHECKS:
        outcomes.append(run_check(check, demo))
        _print_outcome(console, outcomes[-1])
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


def _title(device: torch.device) -> str:
    found = f"PyTorch {torch.__version__} on"
    if device.type != "cuda":
        return f"{found} a CPU, {counted(torch.get_num_threads(), 'thread')}"
    about = describe_gpu(torch, device)
    return (
        f"{found} {about['gpu']}, compute capability {about['capability']},"
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

"""How a run ended: one record for the log, the terminal and the exit code."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpu_runner.checkpoint.directory import finished, step_dir, step_of
from gpu_runner.checkpoint.training_state import History
from gpu_runner.errors import (
    Diverged,
    ExitCode,
    OutOfMemory,
    RunnerError,
    SystemFailure,
    is_lost_process,
    is_out_of_memory,
)
from gpu_runner.installed import program, runs_folder
from gpu_runner.memory.out_of_memory import OutOfMemoryReport
from gpu_runner.plan.plan import RunPlan
from gpu_runner.run.checkpointer import CHECKPOINTS, Standing
from gpu_runner.run.events.progress import RunSummary
from gpu_runner.system.price import Spending
from gpu_runner.text import counted
from gpu_runner.train.loop import State
from gpu_runner.world.sharded_files import WEIGHTS
from unfrozen.events import RunStatus
from unfrozen.runner import ROUNDED
from unfrozen.units import format_bytes


@dataclass(slots=True)
class End:
    """Status, reason in words, the error to raise again (if any), and where the model is."""

    status: RunStatus
    reason: str
    error: BaseException | None = None
    model: Path | None = None
    step: int = 0
    """Of a run that is finished, its last."""
    code: ExitCode = ExitCode.OK
    """What the process says of an end that is no error."""
    better: list[Standing] = field(default_factory=list)
    """The checkpoint that did better on the task than the model, if there is one."""
    post_mortem: OutOfMemoryReport | None = None
    """Of a run without memory, what was found."""

    def numbers(
        self, plan: RunPlan, state: State, history: History, spending: Spending | None = None
    ) -> dict[str, Any]:
        """The `summary` of the `run.end` event."""
        predicted = plan.prediction.peak_bytes if plan.prediction else 0
        return {
            "steps": state.step,
            "tokens": state.tokens,
            "skipped": state.skipped,
            "seconds": round(history.seconds, 3),
            "losses": losses(history),
            "drift": history.drift,
            "predicted_peak_bytes": predicted,
            "measured_peak_bytes": history.peak_bytes,
            "memory_ratio": history.peak_bytes / predicted if predicted else 0.0,
            "model": str(self.model) if self.model else "",
            **({} if spending is None else {"cost": spending.now()["cost/spent"]}),
        }


def losses(history: History) -> dict[str, list[float]]:
    """Suite → [loss at step 0, loss at the newest evaluation]."""
    return {suite: [first, history.latest[suite]] for suite, first in history.first.items()}


def describe_error(
    error: BaseException, plan: RunPlan, examine: Callable[[BaseException], OutOfMemoryReport]
) -> End:
    """The end that an exception means; out of memory is examined."""
    if is_out_of_memory(error):
        return _out_of_memory(error, plan, examine)
    if is_lost_process(error):
        text = "another process of this run is gone: what it said last says why"
        return End("failed", text, SystemFailure(f"{text}. Go on from the last checkpoint."))
    if isinstance(error, KeyboardInterrupt):
        return End("stopped", "interrupted twice: left without saving", error)
    if isinstance(error, RunnerError):
        return End("failed", str(error), error)
    return End("failed", f"{type(error).__name__}: {error}", error)


def _out_of_memory(
    error: BaseException, plan: RunPlan, examine: Callable[[BaseException], OutOfMemoryReport]
) -> End:
    """What was found; and if even that fails, in what memory there is, the message and advice."""
    first = (str(error).splitlines() or ["out of memory"])[0]
    try:
        found = examine(error)
    except Exception as second:
        text = f"out of memory ({first}), and no more is known ({type(second).__name__})."
        text += " Lower --micro-batch or --seq-len."
        return End("oom", text, OutOfMemory(text))
    process = f" in process {plan.feed.rank} of {plan.feed.ranks}" if plan.feed.ranks > 1 else ""
    return End(
        "oom", found.sentence, OutOfMemory(f"out of memory{process}.\n{found}"), post_mortem=found
    )


def unloaded(plan: RunPlan) -> str:
    """What is said where a model did not even load."""
    held = plan.prediction.instants.get("load", {}) if plan.prediction else {}
    takes = f"takes {format_bytes(sum(held.values()))}, and " if held else "needs more, and "
    narrow = plan.config.params == "fp32" and plan.config.optimizer in ROUNDED
    remedy = "--params bf16 --set rounding=stochastic, " if narrow else ""
    return (
        f"out of memory before the first step: {plan.source.name} in {plan.config.params} {takes}"
        f"{format_bytes(plan.available_bytes)} were free. Give {remedy}a smaller model, or more"
        " memory."
    )


def summary_of(
    end: End,
    plan: RunPlan,
    directory: Path,
    state: State,
    history: History,
    spending: Spending | None = None,
) -> RunSummary:
    """The end for a person."""
    done, tokens = counted(state.step, "step"), counted(state.tokens, "trainable token")
    headline = {
        "finished": f"Finished: {done} on {tokens}.",
        "stopped": f"Stopped after {state.step} of {plan.steps} steps ({end.reason}).",
        "oom": f"Out of memory after {state.step} of {plan.steps} steps.",
        "failed": f"Failed after {state.step} of {plan.steps} steps.",
    }[end.status]
    found = losses(history)
    scored = any(before != after for before, after in found.values())  # not at step 0 alone
    return RunSummary(
        headline=headline,
        losses={suite: (pair[0], pair[1]) for suite, pair in found.items() if scored},
        drift=history.drift,
        predicted_bytes=plan.prediction.peak_bytes if plan.prediction else 0,
        measured_bytes=history.peak_bytes,
        seconds=history.seconds,
        cost="" if spending is None else spending.told(),
        samples=history.samples if end.status == "finished" else [],
        next_steps=_next_steps(end, directory),
    )


def _made(one: Standing, run: Path, runs: str) -> str:
    """How a checkpoint in shards becomes a model; one of whole files is one."""
    if not (one.path / WEIGHTS).is_dir():
        return ""
    step = step_of(one.path)
    return f", of which {program()} export {_word(run)} --to hf --step {step}{runs} makes a model"


def _next_steps(end: End, directory: Path) -> list[str]:
    place, usual = directory.parent, runs_folder()
    same = place.absolute() == usual.absolute()
    runs = "" if same else f" --runs {shlex.quote(str(place))}"
    steps = []
    if end.model is not None:
        steps.append(f"The trained model is in {end.model} and loads in transformers unchanged.")
        steps += [
            f"Step {step_of(one.path)} did better on the task (loss"
            f" {one.task_loss:.3f}): its weights are in {one.path}{_made(one, directory, runs)}."
            for one in end.better
        ]
        if (last := step_dir(directory / CHECKPOINTS, end.step)).exists():
            files = [file for file in last.rglob("*") if file.is_file()]
            size = format_bytes(sum(file.stat().st_size for file in files))
            steps.append(
                f"Train it further with: {program()} resume {_word(directory)} --steps N{runs};"
                f" what that needs, {size}, is in {last}."
            )
    elif isinstance(end.error, Diverged):
        steps.append(_other_choices(directory))
    else:
        steps.append(f"Go on with: {program()} resume {_word(directory)}{runs}")
    steps.append(f"See it in the page: {program()} serve{runs}")
    return steps


def _word(run: Path) -> str:
    """A run by its name, or by its path where its name would be an option; one word of a shell."""
    return shlex.quote(str(run.absolute()) if run.name.startswith("-") else run.name)


def _other_choices(directory: Path) -> str:
    """What to do where going on, bit by bit, would end the same way again."""
    kept = finished(directory / CHECKPOINTS)
    if not kept:
        return "Resumed, it would end the same way: start it anew with other choices."
    model = shlex.quote(str(kept[-1]))
    return (
        "Resumed, it would end the same way. From its last checkpoint, with other choices:"
        f" {program()} train --model {model} --data … --lr …"
    )

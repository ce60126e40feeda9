"""How a run ended: one record for the log, the terminal and the exit code; why memory ran out."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from gpu_runner.address import find
from gpu_runner.checkpoint.directory import finished, step_dir, step_of
from gpu_runner.checkpoint.sharded_directory import FISHER, INITIAL
from gpu_runner.checkpoint.training_state import History
from gpu_runner.data.feed import BatchShape
from gpu_runner.errors import (
    Diverged,
    ExitCode,
    OutOfMemory,
    RunnerError,
    SystemFailure,
    is_lost_process,
    is_out_of_memory,
)
from gpu_runner.installed import program, runs_folder, short
from gpu_runner.memory.formula import predict
from gpu_runner.memory.limit import AllocatorMessage, find_other_processes, read_limit
from gpu_runner.memory.out_of_memory import (
    ACTIVITIES,
    BatchSize,
    OutOfMemoryReport,
    describe_failure,
    explain,
)
from gpu_runner.memory.tracker import Components
from gpu_runner.plan.plan import RunPlan
from gpu_runner.run.checkpointer import Standing
from gpu_runner.run.directory import CHECKPOINTS
from gpu_runner.run.recorder import Recorder
from gpu_runner.run.terminal import RunSummary, distinct
from gpu_runner.system.price import Spending
from gpu_runner.text import counted, typed
from gpu_runner.train.loop import State
from gpu_runner.train.step_position import StepPosition
from gpu_runner.world import World
from gpu_runner.world.sharded_files import WEIGHTS
from unfrozen.events import RunStatus
from unfrozen.held_out import ExactMatch
from unfrozen.runner import ROUNDED
from unfrozen.units import format_bytes


@dataclass(frozen=True, slots=True)
class RunEnd:
    """Status, reason, the error to raise again (if any), and where the model is."""

    status: RunStatus
    reason: str
    error: BaseException | None = None
    model: Path | None = None
    step: int = 0
    """The last step of a finished run."""
    code: ExitCode = ExitCode.OK
    """The exit code of an end that is no error."""
    better: list[Standing] = field(default_factory=list)
    """The checkpoint that did better on the task than the model, if there is one."""
    post_mortem: OutOfMemoryReport | None = None
    """The cause, where a run ran out of memory."""

    def payload(
        self, plan: RunPlan, state: State, history: History, spending: Spending | None = None
    ) -> dict[str, Any]:
        """Return the payload of the `run.end` event."""
        summary = self.numbers(plan, state, history, spending)
        found: dict[str, Any] = {"status": self.status, "reason": self.reason, "summary": summary}
        if self.post_mortem is not None:
            found["post_mortem"] = self.post_mortem.payload()
        return found

    def numbers(
        self, plan: RunPlan, state: State, history: History, spending: Spending | None = None
    ) -> dict[str, Any]:
        """Return the `summary` of the `run.end` event."""
        predicted = plan.prediction.peak_bytes if plan.prediction else 0
        return {
            "steps": state.step,
            "tokens": state.tokens,
            "skipped": state.skipped,
            "seconds": round(history.seconds, 3),
            "losses": losses(history),
            "exact": exact_matches(history),
            "drift": history.drift,
            "predicted_peak_bytes": predicted,
            "measured_peak_bytes": history.peak_bytes,
            "memory_ratio": history.peak_bytes / predicted if predicted else 0.0,
            "model": str(self.model) if self.model else "",
            **({} if spending is None else {"cost": spending.now()["cost/spent"]}),
        }


def losses(history: History) -> dict[str, list[float]]:
    """Return, for each suite, [loss at step 0, loss at the newest evaluation]."""
    return {suite: [first, history.latest[suite]] for suite, first in history.first.items()}


def exact_matches(history: History) -> dict[str, dict[str, dict[str, Any]]]:
    """Return, for each suite with short answers, its rows by answer before and after."""
    return {
        suite: {
            "before": ExactMatch(*before).as_json(),
            "after": ExactMatch(*history.latest_exact[suite]).as_json(),
        }
        for suite, before in history.first_exact.items()
        if suite in history.latest_exact
    }


def describe_lost(reason: str) -> str:
    """Return how a run ended whose process has ended elsewhere; "": nobody knows why."""
    text = "another process of this run has ended"
    return f"{text}: {reason}" if reason else f"{text}: its last message says why"


def end_by_error(
    error: BaseException,
    plan: RunPlan,
    examine: Callable[[BaseException], OutOfMemoryReport],
    world: World | None = None,
) -> RunEnd:
    """Return the end that an exception means; out of memory is examined."""
    if is_out_of_memory(error):
        return _out_of_memory(error, plan, examine)
    if is_lost_process(error):
        text = describe_lost(world.peers.reason() if world and world.peers else "")
        return RunEnd("failed", text, SystemFailure(f"{text}. Resume from the last checkpoint."))
    if isinstance(error, KeyboardInterrupt):
        return RunEnd("stopped", "interrupted twice: exited without saving", error)
    if isinstance(error, RunnerError):
        return RunEnd("failed", str(error), error)
    return RunEnd("failed", f"{type(error).__name__}: {error}", error)


def _out_of_memory(
    error: BaseException, plan: RunPlan, examine: Callable[[BaseException], OutOfMemoryReport]
) -> RunEnd:
    """Return what was found; if even that fails, in what memory there is, the error and advice."""
    first = (str(error).splitlines() or ["out of memory"])[0]
    try:
        found = examine(error)
    except Exception as second:
        text = f"out of memory ({first}); finding out why failed too ({type(second).__name__})."
        text += " Lower --micro-batch or --seq-len."
        return RunEnd("oom", text, OutOfMemory(text))
    process = f" in process {plan.feed.rank} of {plan.feed.ranks}" if plan.feed.ranks > 1 else ""
    return RunEnd(
        "oom", found.sentence, OutOfMemory(f"out of memory{process}.\n{found}"), post_mortem=found
    )


def describe_load_failure(plan: RunPlan) -> str:
    """Return the message for a model that did not fit into memory when it was loaded."""
    loaded = plan.prediction.instants.get("load", {}) if plan.prediction else {}
    takes = f"takes {format_bytes(sum(loaded.values()))}, and " if loaded else "needs more, and "
    narrow = plan.config.params == "fp32" and plan.config.optimizer in ROUNDED
    remedy = "--params bf16 --rounding stochastic, " if narrow else ""
    return (
        f"out of memory before the first step: {plan.source.name} in {plan.config.params} {takes}"
        f"{format_bytes(plan.available_bytes)} were free. Give {remedy}a smaller model, or more"
        " memory."
    )


def summarize(
    end: RunEnd,
    plan: RunPlan,
    directory: Path,
    state: State,
    history: History,
    spending: Spending | None = None,
    training_losses: Sequence[float] = (),
) -> RunSummary:
    """Return what the terminal shows of the end; `training_losses` are those of each step."""
    done, tokens = counted(state.step, "step"), counted(state.tokens, "trainable token")
    headline = {
        "finished": f"Finished: {done} on {tokens}.",
        "stopped": f"Stopped after {state.step} of {plan.steps} steps ({end.reason}).",
        "oom": f"Out of memory after {state.step} of {plan.steps} steps.",
        "failed": f"Failed after {state.step} of {plan.steps} steps.",
    }[end.status]
    found = losses(history)
    shown = distinct(found)
    scored = any(before != after for before, after in found.values())  # not at step 0 alone
    return RunSummary(
        headline=headline,
        losses={suite: (found[suite][0], found[suite][1]) for suite in shown} if scored else {},
        exact=exact_matches(history) if scored else {},
        drift=history.drift,
        training=list(training_losses),
        predicted_bytes=plan.prediction.peak_bytes if plan.prediction else 0,
        measured_bytes=history.peak_bytes,
        seconds=history.seconds,
        cost="" if spending is None else spending.sentence(),
        samples=history.samples if end.status == "finished" else [],
        next_steps=_next_steps(end, plan, directory),
    )


def _next_steps(end: RunEnd, plan: RunPlan, directory: Path) -> list[str]:
    """Return what to do now, a command in each sentence."""
    place, usual = directory.parent, runs_folder()
    same = place.absolute() == usual.absolute()
    runs = "" if same else f" --runs {short(place)}"
    steps = []
    if end.model is not None:
        steps.append(f"The trained model is in {end.model} and loads in transformers unchanged.")
        steps += [_name_better(one, directory, runs) for one in end.better]
        if step_dir(directory / CHECKPOINTS, end.step).exists():
            steps.append(
                f"To train it further: {program()} resume {_typed(directory)} --steps N{runs}"
            )
        steps += _on_disk(end, directory)
    elif isinstance(end.error, Diverged):
        steps.append(_suggest_other_settings(directory))
    else:
        out = f" --out {short(Path(plan.config.out))}" if plan.config.out else ""
        steps.append(f"To resume: {program()} resume {_typed(directory)}{out}{runs}")
    served = find(place)
    shown = served.run(directory.name) if served else f"{program()} serve{runs}"
    steps.append(f"To see it in the page: {shown}")
    return steps


def _on_disk(end: RunEnd, directory: Path) -> list[str]:
    """Say what a finished run leaves on the disk, and how to keep its model alone."""
    saved = directory / CHECKPOINTS
    last = step_dir(saved, end.step) if end.better else saved
    several = 0 if end.better else len(finished(saved))
    beside = {
        "the last checkpoint" if several < 2 else f"{several} checkpoints": [last],
        "the pre-trained weights": [directory / INITIAL, directory / f"{INITIAL}.safetensors"],
        "the Fisher": [directory / FISHER, directory / f"{FISHER}.safetensors"],
    }
    there = {name: [p for p in places if p.exists()] for name, places in beside.items()}
    found = {name: places for name, places in there.items() if places}
    if end.model is None or not found:
        return []
    sizes = [f"the model {format_bytes(_size(end.model))}"]
    sizes += [f"{name} {format_bytes(sum(map(_size, places)))}" for name, places in found.items()]
    places = " ".join(short(place) for each in found.values() for place in each)
    return [
        f"On disk: {', '.join(sizes)}. Only training it further, blend --last and --ema need more"
        f" than the model; to remove the rest: rm -r -- {places}"
    ]


def _size(place: Path) -> int:
    """Return the bytes of a file, or of all files in a directory."""
    files = [place] if place.is_file() else [file for file in place.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


def _name_better(one: Standing, directory: Path, runs: str) -> str:
    """Name a checkpoint with a lower task loss; one in shards needs `export` to be a model."""
    step = step_of(one.path)
    text = f"Step {step} had a lower task loss ({one.task_loss:.3f}): its weights are in {one.path}"
    if not (one.path / WEIGHTS).is_dir():
        return f"{text}."
    command = f"{program()} export {_typed(directory)} --to hf --step {step}{runs}"
    return f"{text}; to make a model of them: {command}"


def _typed(run: Path) -> str:
    """Spell a run for a shell: by its name, or by its path where its name would be an option."""
    return short(run) if run.name.startswith("-") else typed(run.name)


def _suggest_other_settings(directory: Path) -> str:
    """Say what to do where resuming would end the same way again."""
    saved = finished(directory / CHECKPOINTS)
    if not saved:
        return "Resumed, it would diverge again: start a new run with other settings."
    model = short(saved[-1])
    return (
        "Resumed, it would diverge again. To continue from its last checkpoint with other settings:"
        f" {program()} train --model {model} --data … --lr …"
    )


def examine(
    error: BaseException, planned: RunPlan, position: StepPosition, state: State, recorder: Recorder
) -> OutOfMemoryReport:
    """Return why memory ran out.

    The memory is read first; then the frames that hold it are cleared, because what follows needs
    some memory itself.
    """
    message = AllocatorMessage.parse(error)
    limit = read_limit(planned.device)
    others = find_other_processes(message, planned.device)
    traceback.clear_frames(error.__traceback__)
    shape = _shape_of(planned, position)
    measured = dict(recorder.history.measured)
    if position.memory is not None:
        measured |= position.memory.instants
    in_step = position.micro_batch > 0
    other = recorder.doing.replace(" ", "_")
    failure = describe_failure(
        message,
        limit,
        position.resident,
        measured,
        on_gpu=planned.device.type == "cuda",
        measuring=position.instant,
        available_bytes=planned.available_bytes,
        doing=position.doing if in_step else other if other in ACTIVITIES else "between",
        step=position.step if in_step else state.step,
        micro_batch=position.micro_batch,
        micro_batches=0 if shape is None else shape.parts,
        batch=None if shape is None else BatchSize(shape.rows, shape.length, shape.loss_tokens),
        predicted=_predict(planned, shape),
        growing=position.growing,
        others=others,
    )
    most = failure.suggestion_bytes if failure.measuring else failure.budget_bytes
    suggested = planned.predictor.suggest(planned.config, planned.heaviest, most)
    return explain(error, replace(failure, suggestions=tuple(suggested)))


def _shape_of(planned: RunPlan, position: StepPosition) -> BatchShape | None:
    """Return the shape of the micro-batch in progress on this process; None outside a step."""
    if not position.micro_batch:
        return None
    shapes = planned.feed.shapes(position.step)
    own = islice(shapes, planned.feed.rank, None, planned.feed.ranks)
    return next(islice(own, position.micro_batch - 1, None), None)


def _predict(planned: RunPlan, shape: BatchShape | None) -> dict[str, Components]:
    """Return the prediction for that micro-batch; the run's where there is none to compute.

    The first step has no moments yet, and later ones have them from their start.
    """
    if planned.prediction is None:
        return {}
    if planned.shape is None or shape is None:
        return planned.prediction.instants
    return predict(
        planned.shape, planned.config, planned.compute, shape, planned.feed.ranks
    ).instants

"""Resume a run: from its newest whole checkpoint, after a look at what has changed since.

Nothing that was trained is lost without a message. A damaged checkpoint is skipped only where an
older one is whole, and stays beside it; model, data and held-out sets are compared with what the
checkpoint recorded (`origins`); with another number of steps, the learning rate follows the
schedule of a run of that length.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from gpu_runner import atomic
from gpu_runner.checkpoint import directory as checkpoint
from gpu_runner.checkpoint import training_state
from gpu_runner.checkpoint.origins import Changes, Origins, changes
from gpu_runner.checkpoint.sharded_directory import HELD_OUT
from gpu_runner.checkpoint.training_state import History
from gpu_runner.config.bounds import check_config
from gpu_runner.config.schema import TrainConfig
from gpu_runner.errors import CheckpointError, ExitCode, RunnerError, UsageError, everyones
from gpu_runner.installed import short
from gpu_runner.log.runs import CONFIG_NAME
from gpu_runner.log.tail import LOG_NAME
from gpu_runner.memory.tracing import predict_by_tracing
from gpu_runner.model.load import Source
from gpu_runner.plan.data_report import show_reading
from gpu_runner.plan.plan import RunPlan, check_new, make_plan, schedule_for
from gpu_runner.run.checkpointer import remove_derived
from gpu_runner.run.directory import (
    CHECKPOINTS,
    FINISHED,
    check_output,
    claim,
    finished_step,
    read_config,
    write_config,
)
from gpu_runner.run.fine_tune import (
    PreparedRun,
    check_alike,
    describe_sets,
    fit,
    join_world,
    load_model,
    setup,
)
from gpu_runner.text import counted
from gpu_runner.train.loop import State


@dataclass(frozen=True, slots=True)
class ResumeOptions:
    """How a run is to be resumed, beside its recorded settings.

    trusted         run the model's own code: asked again, as a record can come from anywhere
    steps           train to this step in all, by the schedule of a run of that length
    accept_changes  although its model, its data or its held-out sets have changed
    restart         at step 0, if no checkpoint is whole
    out             directory for the trained model, asked again likewise; None: the run's own
    """

    trusted: bool = False
    steps: int | None = None
    accept_changes: bool = False
    restart: bool = False
    out: str | None = None


@dataclass(frozen=True, slots=True)
class _Found:
    """The checkpoint to resume from, why newer ones were skipped, and what it holds.

    `path` and `origins` are None where there is none.
    """

    path: Path | None
    refused: list[str]
    state: State
    history: History
    origins: Origins | None


def resume(directory: Path, console: Console, options: ResumeOptions = ResumeOptions()) -> ExitCode:
    """Resume the run in `directory` from its newest verified checkpoint; return the exit code.

    If it never had one it starts again at step 0, under the same id. The number of processes may
    differ from before. Raises `CheckpointError` when the run is finished, is no run, has no whole
    checkpoint, or its model or data have changed; `UsageError` for options that contradict it.
    """
    _check_links(directory)
    before, notes = _read_settings(directory, options)
    config = before
    if options.steps is not None:
        config = dataclasses.replace(before, steps=options.steps, epochs=None)
        check_config(config)
    _check_unfinished(directory, options)
    with join_world(config) as world, claim(directory, world):
        console = console if world.first else Console(quiet=True)
        found = _read(*world.on_first(lambda: checkpoint.newest(directory / CHECKPOINTS)))
        world.on_first(lambda: _check_found(directory, found, options))
        world.on_first(lambda: check_output(config.out))
        with show_reading(console) as progress:
            plan = make_plan(config, world.rank, world.size, predict_by_tracing, progress)
        check_alike(plan, world, found.path and directory / CHECKPOINTS / found.path.name)
        source = plan.source
        if found.path is not None and found.origins is not None:
            source = Source("directory", source.name, str(found.path), trusted=options.trusted)
            _check_data(plan, found.origins, options)
        elif world.first:
            remove_derived(directory)  # θ₀ may be another one by now
        model, warnings = load_model(plan, source, world, console)
        attempt = 1 if (directory / LOG_NAME).exists() else 0  # the log knows its number
        state, history = found.state, found.history
        run = setup(plan, directory, model, world, state=state, history=history, attempt=attempt)
        notes += warnings + _compare_origins(run, found, options)
        if options.steps is not None:
            notes.append(_extend(before, run))
        notes += world.on_first(lambda: _change_disk(run, found, config, options))
        if found.path is not None:
            training_state.restore(found.path, model, run.optimizer, world)
        return fit(run, console, [("warn", text) for text in notes])


def _check_links(directory: Path) -> None:
    """Refuse links in a run's folder: what is written through them lies elsewhere.

    Raises `CheckpointError`.
    """
    for place in (directory, directory / CHECKPOINTS):
        for path in sorted(place.iterdir()) if place.is_dir() else ():
            if path.is_symlink():
                text = (
                    f"{path} is a link to {path.readlink()}, and a run writes into its own folder"
                    " only. Put there what it leads to, or remove it."
                )
                raise everyones(CheckpointError(text))


def _read_settings(directory: Path, options: ResumeOptions) -> tuple[TrainConfig, list[str]]:
    """Return the settings of a run as they apply where it lies now, and notes about that.

    A record may be somebody else's: it never says where to write. Raises `UsageError` for an
    output directory that exists.
    """
    check_new(options.out)
    record = read_config(directory)
    config = dataclasses.replace(
        record,
        trust_remote_code=options.trusted,
        runs=str(directory.absolute().parent),
        out=options.out,
    )
    if record.out is None or options.out is not None:
        return config, []
    note = (
        f"The record of this run names {record.out} for the trained model, and a record can come"
        " from anywhere: the model is written into the run's own folder. To write it there, stop"
        f" and resume with --out {short(Path(record.out))}."
    )
    return config, [note]


def _check_unfinished(directory: Path, options: ResumeOptions) -> None:
    """Refuse a finished run that is not to be trained further. Raises `CheckpointError`."""
    if (directory / FINISHED).exists() and options.steps is None:
        text = (
            f"{directory.name} is finished: there is nothing to resume. Give --steps N to train it"
            " further, to step N."
        )
        raise everyones(CheckpointError(text))


def _read(path: Path | None, refused: list[str]) -> _Found:
    """Return what the checkpoint at `path` holds. Raises `CheckpointError` for wrong types."""
    if path is None:
        return _Found(None, refused, State(), History(), None)
    saved = training_state.read_state(path)
    state, history, origins = training_state.parse_state(path, saved)
    return _Found(path, refused, State(**state), History(**history), origins)


def _check_found(directory: Path, found: _Found, options: ResumeOptions) -> None:
    """Refuse to restart without --restart, and steps that are done already.

    Raises `CheckpointError`, `UsageError`.
    """
    if options.restart and found.path is not None:
        raise UsageError(
            f"--restart: {found.path} is whole. Resume from it without --restart, or start a new"
            " run with `train`."
        )
    if found.path is None and found.refused and not options.restart:
        raise CheckpointError(
            f"{directory.name} has no whole checkpoint: {found.refused[0]} Nothing is changed. Put"
            " the file back from a copy; or restart at step 0 with --restart, which keeps the"
            f" damaged one as {checkpoint.finished(directory / CHECKPOINTS)[-1].name}"
            f"{checkpoint.DAMAGED}."
        )
    finished = (directory / FINISHED).exists()
    if finished and (found.path is None or finished_step(directory) != found.state.step):
        raise CheckpointError(
            f"{directory.name} is finished and has no checkpoint of its last step"
            " (keep_state = false, --save-every 0, or it was removed): it cannot be trained"
            f" further. Its model can: train --model {short(directory / 'model')} …"
        )
    if options.steps is not None and options.steps <= found.state.step:
        raise UsageError(
            f"--steps {options.steps}: step {found.state.step} is done already; give more than"
            f" {found.state.step}. It counts all steps of the run."
        )


def _check_data(plan: RunPlan, before: Origins, options: ResumeOptions) -> None:
    """Compare the data with the checkpoint's, before a model loads. Raises `CheckpointError`."""
    suites = {name: rows.sha256 for name, rows in plan.suites.items()}
    now = dataclasses.replace(
        before, data=plan.train.sha256, suites=suites, sets=describe_sets(plan.train)
    )
    if (refused := changes(before, now).refused) and not options.accept_changes:
        raise _refuse(plan.config, refused)


def _refuse(config: TrainConfig, refused: list[str]) -> RunnerError:
    named = "; ".join(refused)
    text = (
        f"since the last checkpoint this has changed: {named} (model {config.model}, data"
        f" {config.data}). Restore what was there, start a new run, or give --accept-changes to"
        " resume with what is there now."
    )
    return everyones(CheckpointError(text))


def _compare_origins(run: PreparedRun, found: _Found, options: ResumeOptions) -> list[str]:
    """Return what has changed since the checkpoint. Raises `CheckpointError` if it may not.

    What held-out sets scored before they changed is forgotten.
    """
    if found.path is None or found.origins is None:
        return []
    seen: Changes = changes(found.origins, run.origins)
    if seen.kinds:
        text = (
            f"{', '.join(seen.kinds)} in {run.directory / CONFIG_NAME}: the checkpoint's optimizer"
            " states are of another kind. Change it back, or start a new run from its weights:"
            f" train --model {short(found.path)} …"
        )
        raise everyones(CheckpointError(text))
    if seen.refused and not options.accept_changes:
        raise _refuse(run.plan.config, seen.refused)
    run.history.forget(_with_totals(seen.suites))
    return [f"Accepted: {text}." for text in seen.meanings] + seen.notes


def _with_totals(suites: set[str]) -> set[str]:
    """Return the sets themselves, and those that sum them up."""
    return suites | {name.partition("/")[0] for name in suites}


def _extend(before: TrainConfig, run: PreparedRun) -> str:
    """Return what another number of steps means for the learning rate."""
    plan, step = run.plan, run.state.step
    old, new = schedule_for(before, plan.feed), plan.schedule
    patience, history = plan.config.early_stop, run.history
    if patience is not None and history.looks_since_best >= patience:
        history.reset_patience()  # or it would stop again at once
    was = f"was {old.at(step):.3g} at step {step}" if step else "had not begun"
    return (
        f"It trains to step {new.total_steps:,} instead of {old.total_steps:,}, by the {new.kind}"
        f" schedule of a run of {counted(new.total_steps, 'step')}: the learning rate {was} and is"
        f" {new.at(step + 1):.3g} at step {step + 1}."
    )


def _change_disk(
    run: PreparedRun, found: _Found, config: TrainConfig, options: ResumeOptions
) -> list[str]:
    """Change what is on disk, now that nothing can be refused any more; return notes about it.

    What another θ₀ held likeliest goes: KL is measured from the one of now.
    """
    notes, directory = [], run.directory
    if found.origins and found.origins.model != run.origins.model:
        atomic.remove_folder(directory / HELD_OUT, damaged=True)
        atomic.check_replaceable(directory / HELD_OUT)  # or it would be read as if it were of now
    if found.refused:
        moved = checkpoint.set_aside(directory / CHECKPOINTS, found.path)
        then = "The one before it is used" if found.path else "The run restarts at step 0"
        stays = ", ".join(path.name for path in moved)
        notes = [f"{text} {then}; the damaged one stays as {stays}." for text in found.refused[:1]]
        notes += found.refused[1:]
    if options.steps is not None:
        write_config(config, directory)
        atomic.remove_file(directory / FINISHED)
    return notes

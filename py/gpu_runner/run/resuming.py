"""A run that goes on: from its newest whole checkpoint, with what is still there, or not at all.

Nothing that was trained is given up in silence. A damaged checkpoint is passed over only where an
older one is whole, and stays beside it; what a run is made of is looked at again (`origins`); and
with another number of steps a run goes on by the schedule of a run of that length.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console

from gpu_runner.checkpoint import directory as checkpoint
from gpu_runner.checkpoint import training_state
from gpu_runner.checkpoint.origins import Changes, Origins, changes
from gpu_runner.checkpoint.training_state import History
from gpu_runner.config import bounds
from gpu_runner.config.file import stored
from gpu_runner.config.schema import TrainConfig
from gpu_runner.errors import CheckpointError, ExitCode, RunnerError, UsageError, everyones
from gpu_runner.log.runs import CONFIG_NAME
from gpu_runner.log.tail import LOG_NAME
from gpu_runner.memory.tracing import predict_by_tracing
from gpu_runner.model.load import Source
from gpu_runner.plain import read_whole
from gpu_runner.plan import plan
from gpu_runner.plan.plan import RunPlan
from gpu_runner.plan.schedule import schedule_for
from gpu_runner.plan.shown.reading import reading
from gpu_runner.run.checkpointer import CHECKPOINTS, FINISHED, remove_derived
from gpu_runner.run.loading import loaded
from gpu_runner.run.prepared import PreparedRun
from gpu_runner.run.running import execute
from gpu_runner.run.start import claimed, prepare, sets_of, world_of, write_config
from gpu_runner.text import counted
from gpu_runner.train.loop import State

MOST_CONFIG_BYTES: Final = 1024 * 1024
_MOST_MARK_BYTES: Final = 64


@dataclass(frozen=True, slots=True)
class Wish:
    """How a run is to go on, beside what its record says.

    trusted         let the model's own code run: asked for anew, as a record can come from anywhere
    steps           to this step in all, by the schedule of a run of that length
    accept_changes  although its model, its data or its held-out rows are not what they were
    restart         at step 0, if no checkpoint is whole
    """

    trusted: bool = False
    steps: int | None = None
    accept_changes: bool = False
    restart: bool = False


@dataclass(frozen=True, slots=True)
class _Found:
    """The checkpoint to go on from (None: none), why newer ones were passed over, what it holds."""

    path: Path | None
    refused: list[str]
    state: State
    history: History
    origins: Origins | None
    data_sha256: str | None = None


def resume(directory: Path, console: Console, wish: Wish = Wish()) -> ExitCode:
    """Go on with the run in `directory` from its newest verified checkpoint.

    If it never had one it starts again at step 0, under the same id. The number of processes may be
    another one than before. Raises `CheckpointError` when the run is finished, is no run, has no
    checkpoint that is whole, or is not made of the same any more; `UsageError` for a wish that
    cannot be.
    """
    config, notes = _at_home(_read_config(directory), directory)
    before = dataclasses.replace(config, trust_remote_code=wish.trusted)
    config = before
    if wish.steps is not None:
        config = dataclasses.replace(before, steps=wish.steps, epochs=None)
        bounds.check(config)
    _check_unfinished(directory, wish)
    with world_of(config) as world, claimed(directory, world):
        quiet = console if world.first else Console(quiet=True)
        found = _read(*world.on_first(lambda: checkpoint.newest(directory / CHECKPOINTS)))
        world.on_first(lambda: _check_found(directory, found, wish))
        with reading(quiet) as watch:
            planned = plan.make(config, world.rank, world.size, predict_by_tracing, watch)
        source = planned.source
        if found.path is not None:
            source = Source("directory", source.name, str(found.path), trusted=wish.trusted)
            _check_data(planned, found, wish)
        elif world.first:
            remove_derived(directory)  # θ₀ may be another one by now
        model, how = loaded(planned, source, world, quiet)
        notes += how
        prepared = prepare(planned, directory, model, world, found.history, found.state)
        prepared.attempt = 1 if (directory / LOG_NAME).exists() else 0  # the log knows better
        notes += _changes(directory, prepared, found, wish)
        if wish.steps is not None:
            notes.append(_longer(before, prepared))
        notes += world.on_first(lambda: _settle(directory, found, config, wish))
        prepared.notes = [("warn", text) for text in notes]
        if found.path is not None:
            training_state.restore(found.path, model, prepared.optimizer, world)
        return execute(prepared, quiet)


def _check_unfinished(directory: Path, wish: Wish) -> None:
    """Refuse a finished run that is not to go further. Raises `CheckpointError`."""
    if (directory / FINISHED).exists() and wish.steps is None:
        text = (
            f"{directory.name} is finished: there is nothing to resume. With --steps N it goes on"
            " to step N."
        )
        raise everyones(CheckpointError(text))


def _read(path: Path | None, refused: list[str]) -> _Found:
    """What the checkpoint at `path` holds. Raises `CheckpointError` for what is not of its type."""
    if path is None:
        return _Found(None, refused, State(), History(), None)
    kept = training_state.read_state(path)
    stood, history, origins = training_state.remembered(path, kept)
    data = kept.get("data_sha256")
    return _Found(path, refused, State(**stood), History(**history), origins, data)


def _check_found(directory: Path, found: _Found, wish: Wish) -> None:
    """Refuse to begin again without being told to, and steps that are done already.

    Raises `CheckpointError`, `UsageError`.
    """
    if wish.restart and found.path is not None:
        raise UsageError(
            f"--restart: {found.path} is whole. Go on from it without --restart, or begin anew with"
            " `train`."
        )
    if found.path is None and found.refused and not wish.restart:
        raise CheckpointError(
            f"{directory.name} has no whole checkpoint: {found.refused[0]} Nothing is changed. Put"
            " the file back from a copy; or begin again at step 0 with --restart, which keeps the"
            f" damaged one as {checkpoint.finished(directory / CHECKPOINTS)[-1].name}"
            f"{checkpoint.DAMAGED}."
        )
    mark = directory / FINISHED
    if mark.exists():
        last = read_whole(mark, _MOST_MARK_BYTES).decode("utf-8", "replace").strip()
        if found.path is None or last != str(found.state.step):
            raise CheckpointError(
                f"{directory.name} is finished and has kept no checkpoint of its last step"
                " (keep_state = false, --save-every 0, or it was removed): it cannot go on. Its"
                f" model can: train --model {directory / 'model'} …"
            )
    if wish.steps is not None and wish.steps <= found.state.step:
        raise UsageError(
            f"--steps {wish.steps}: step {found.state.step} is done already; give more than"
            f" {found.state.step}. It counts all steps of the run."
        )


def _check_data(planned: RunPlan, found: _Found, wish: Wish) -> None:
    """The first look at what has changed, before a model is loaded. Raises `CheckpointError`."""
    if found.origins is None:
        if not wish.accept_changes and found.data_sha256 not in (None, planned.train.sha256):
            raise _refusal(planned.config, ["the training data"])
        return
    suites = {name: rows.sha256 for name, rows in planned.suites.items()}
    now = dataclasses.replace(
        found.origins, data=planned.train.sha256, suites=suites, sets=sets_of(planned.train)
    )
    if (refused := changes(found.origins, now).refused) and not wish.accept_changes:
        raise _refusal(planned.config, refused)


def _refusal(config: TrainConfig, refused: list[str]) -> RunnerError:
    named = "; ".join(refused)
    text = (
        f"since the last checkpoint this has changed: {named} (model {config.model}, data"
        f" {config.data}). Put back what was there, start a new run, or go on with what is there"
        " now by --accept-changes."
    )
    return everyones(CheckpointError(text))


def _changes(directory: Path, prepared: PreparedRun, found: _Found, wish: Wish) -> list[str]:
    """What has changed since the checkpoint, in sentences. Raises `CheckpointError` if it may not.

    Held-out sets that are other ones are forgotten: their change begins anew.
    """
    if found.path is None:
        return []
    if found.origins is None or prepared.origins is None:
        return [
            "Its checkpoint is of an older version, which does not say what the run is made of:"
            " whether model and held-out rows are the same was not looked at."
        ]
    seen: Changes = changes(found.origins, prepared.origins)
    if seen.kinds:
        text = (
            f"{', '.join(seen.kinds)} in {directory / CONFIG_NAME}: the moments of the checkpoint"
            " are of another kind. Put it back, or start a new run from its weights: train --model"
            f" {found.path} …"
        )
        raise everyones(CheckpointError(text))
    if seen.refused and not wish.accept_changes:
        raise _refusal(prepared.plan.config, seen.refused)
    prepared.history.forget(_with_totals(seen.suites))
    return [f"Accepted: {text}." for text in seen.meanings] + seen.notes


def _with_totals(suites: set[str]) -> set[str]:
    """The sets themselves, and those that sum them up."""
    return suites | {name.partition("/")[0] for name in suites}


def _longer(before: TrainConfig, prepared: PreparedRun) -> str:
    """What another number of steps means for the learning rate, in a sentence."""
    planned, step = prepared.plan, prepared.state.step
    old, new = schedule_for(before, planned.feed), planned.schedule
    patience, history = planned.config.early_stop, prepared.history
    if patience is not None and history.looks_since_best >= patience:
        history.looks_since_best = 0  # or it would stop again at once
    was = f"{old.at(step):.3g} at step {step}" if step else "not begun"
    return (
        f"It goes on to step {new.total_steps:,} instead of {old.total_steps:,}, by the"
        f" {new.kind} schedule of a run of {counted(new.total_steps, 'step')}: the rate was {was}"
        f" and is {new.at(step + 1):.3g} at step {step + 1}."
    )


def _settle(directory: Path, found: _Found, config: TrainConfig, wish: Wish) -> list[str]:
    """Change what is on disk, when nothing can be refused any more; what is to be said of it."""
    notes = []
    if found.refused:
        moved = checkpoint.set_aside(directory / CHECKPOINTS, found.path)
        then = "The one before is used" if found.path else "The run starts again at step 0"
        stays = ", ".join(path.name for path in moved)
        notes = [f"{text} {then}; it stays as {stays}." for text in found.refused[:1]]
        notes += found.refused[1:]
    if wish.steps is not None:
        write_config(config, directory)
        (directory / FINISHED).unlink(missing_ok=True)
    return notes


def _at_home(config: TrainConfig, directory: Path) -> tuple[TrainConfig, list[str]]:
    """The choices of a run as they are meant where it lies now, and what is to be said of that.

    The record of a run that was copied still names the place for the model of the other one.
    """
    runs = directory.absolute().parent
    made = Path(config.runs).expanduser() / directory.name
    if config.out is None or made.resolve() == directory.resolve():
        return dataclasses.replace(config, runs=str(runs)), []
    note = (
        f"This run was copied or moved from {made}: its model goes into its own folder, not to"
        f" {config.out}."
    )
    return dataclasses.replace(config, runs=str(runs), out=None), [note]


def _read_config(directory: Path) -> TrainConfig:
    path = directory / CONFIG_NAME
    try:
        config = stored(read_whole(path, MOST_CONFIG_BYTES), "its record")
        bounds.check(config)
        return config
    except FileNotFoundError:
        raise CheckpointError(
            f"{directory} is not a run of `train`: it has no {CONFIG_NAME}. Give a run's id or"
            " path."
        ) from None
    except (OSError, ValueError, TypeError, UsageError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}): the run cannot go on.") from None

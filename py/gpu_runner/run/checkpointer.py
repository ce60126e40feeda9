"""What a run writes to disk: checkpoints while it trains, the trained model when it is finished.

Three checkpoints stay: the last; the best, whose task loss is lowest; and the last healthy one,
written while no step was being skipped. Often they are the same; then the one before it stays too,
so that a damaged file never costs the whole run.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from gpu_runner import atomic
from gpu_runner.atomic import Saved, Written, write_file
from gpu_runner.checkpoint import directory as checkpoint
from gpu_runner.checkpoint import training_state
from gpu_runner.checkpoint.origins import Origins
from gpu_runner.checkpoint.sharded_directory import (
    DERIVED,
    HELD_OUT,
    ShardedDirectory,
    Work,
    writing_shards,
)
from gpu_runner.checkpoint.training_state import History
from gpu_runner.data.dataset import TASK
from gpu_runner.errors import CheckpointError
from gpu_runner.model.save import save_around, save_weights
from gpu_runner.optim.optimizer import Optimizer
from gpu_runner.run.directory import CHECKPOINTS, FINISHED
from gpu_runner.run.model_card import LoggedRun, write_card
from gpu_runner.train.initial_weights import REVISION
from gpu_runner.train.loop import State
from gpu_runner.world import World, full_tensor


@dataclass(frozen=True, slots=True)
class Standing:
    """How good a checkpoint is: its task loss (inf if never measured) and its health."""

    path: Path
    task_loss: float
    healthy: bool


@dataclass(slots=True)
class Checkpointer:
    """Writes for one run in `directory`; its trained model goes to `output`.

    Every process of `world` calls it alike. The first writes whole tensors, which the others send,
    or, if `sharded`, each writes its own rows.
    """

    directory: Path
    output: Path
    model: Any
    tokenizer: Any
    optimizer: Optimizer
    history: History
    origins: Origins
    world: World
    sharded: bool = False
    """Whether every process writes its own shards, and none holds all of them."""
    asynchronous: bool = False
    """Whether files are written, from a copy, while training continues."""
    keep_last: int = 1
    """The number of the newest checkpoints that stay."""
    keep_state: bool = False
    """Whether a finished run keeps what it needs to train further: last checkpoint, θ₀, Fisher."""
    _pending: tuple[ShardedDirectory, State, dict[str, Any]] | None = None

    def choose(self, **settings: int | None) -> None:
        """Record settings that the run has chosen itself in the checkpoints from here on."""
        self.origins = replace(self.origins, choices={**self.origins.choices, **settings})

    def save(self, state: State) -> Saved | None:
        """Write a checkpoint at `state` and return it; None while it is written, until `settled`.

        Raises `SystemFailure` if the disk refuses.
        """
        is_scored = self.history.latest_step == state.step  # with these weights
        record = {
            "state": asdict(state),
            "history": self.history.as_json(),
            "task_loss": self.history.latest.get(TASK) if is_scored else None,
            "healthy": state.skipped_in_a_row == 0,
            "origins": self.origins.as_json(),
        }
        one = ShardedDirectory(
            checkpoint.step_dir(self.directory / CHECKPOINTS, state.step), self.world
        )
        one.begin()
        work = self._shards() if self.sharded else self._whole_files()
        (one.start if self.asynchronous else one.do)(work)
        self._pending = one, replace(state), record
        return None if self.asynchronous else self._end()[1]

    def _shards(self) -> Work:
        """Return what writes this process's shards."""
        parts = training_state.parts(
            self.model, self.optimizer, self.world, copies=self.asynchronous
        )
        return writing_shards(parts[0], self.world, parts[1])

    def _whole_files(self) -> Work:
        """Return what writes whole tensors, on the first process; the others send what they hold.

        Asynchronous, of a single process alone: it writes copies.
        """
        found = training_state.collect(
            self.model, self.optimizer, self.world, copies=self.asynchronous
        )
        whole_of = _whole_of(self.model)
        if self.asynchronous:
            copies = {name: t.detach().to("cpu", copy=True) for name, t in _named(self.model)}
            whole_of = copies.pop

        def work(place: Path) -> dict[str, Written]:
            files = save_weights(self.model, place, whole_of, writes=self.world.first)
            return files | (training_state.write(place, *found) if self.world.first else {})

        return work

    def _end(self) -> tuple[State, Saved]:
        assert self._pending is not None
        (one, state, record), self._pending = self._pending, None

        def fill(directory: Path) -> None:
            save_around(self.model, self.tokenizer, directory)
            training_state.write_state(directory, record)

        return state, replace(one.end(fill), seconds=one.seconds)

    def sizes(self) -> tuple[int, int]:
        """Return the bytes of a checkpoint that one process writes, and of them the weights'."""
        states = (value for state in self.optimizer.state.values() for value in state.values())
        moments = sum(value.nbytes for value in states if isinstance(value, Tensor))
        weights = sum(parameter.nbytes for parameter in self.model.parameters())
        parts = self.world.size if self.sharded else 1
        return (weights + moments) // parts, weights // parts

    @property
    def pending(self) -> bool:
        """Whether a checkpoint is being written; the same on all processes."""
        return self._pending is not None

    @property
    def writing(self) -> bool:
        """Whether this process still writes its shard of one."""
        return self._pending is not None and not self._pending[0].written

    def settled(self) -> tuple[State, Saved] | None:
        """Wait for the one that is being written; return where it was taken and what is on disk.

        None if there is none. Raises `SystemFailure` where a process could not write its shard.
        """
        return self._end() if self.pending else None

    def prune(self, newest: Saved) -> None:
        """Remove the checkpoints that `newest` replaces; the best and the last healthy one stay.

        So do the newest `keep_last`; never fewer than two, where there are two.
        """
        root = self.directory / CHECKPOINTS
        if self.world.first:
            found = [standing(path) for path in checkpoint.finished(root)]
            healthy = [one.path for one in found if one.healthy]
            last = [one.path for one in found[-self.keep_last :]]
            staying = {newest.path, *last, *healthy[-1:], *map(_path, best(found))}
            if len(staying) == 1:
                staying |= {*[one.path for one in found if one.path != newest.path][-1:]}
            checkpoint.remove_all_except(root, staying)

    def finish(self) -> Saved:
        """Write the trained model, readable by everybody whom the umask allows.

        With no more than one file and one layer of it in the host memory of any process.
        """
        one = ShardedDirectory(self.output, self.world, private=False)
        one.begin()
        first = self.world.first  # the others send what it asks for
        one.do(lambda place: save_weights(self.model, place, _whole_of(self.model), writes=first))

        def fill(directory: Path) -> None:
            save_around(self.model, self.tokenizer, directory)
            self._write_card(directory)

        return one.end(fill)

    def _write_card(self, directory: Path) -> None:
        """Write the card of the finished model."""
        logged = LoggedRun.read(self.directory)
        after = logged.scores_of(sys.maxsize, self.history.latest.get(TASK))
        write_card(directory, self.directory, "", after)

    def clean_up(self, state: State) -> None:
        """Mark the run as finished at `state` and remove what it does not need any more.

        To be called when its last event is written: before that, a killed run must be able to
        resume. A checkpoint with a lower task loss than the finished model stays; see `better`. So
        do the newest `keep_last`, if that is more than one, the finished model counted. With
        `keep_state` its last one stays too, with what training further needs.
        """
        if not self.world.first:
            return
        root = self.directory / CHECKPOINTS
        last = checkpoint.step_dir(root, state.step)
        going_on = self.keep_state and last.exists()
        write_file(self.directory / FINISHED, f"{state.step}\n")
        staying = [one.path for one in self.better()] + [last] * going_on
        if self.keep_last > 1:
            earlier = [path for path in checkpoint.finished(root) if path != last]
            staying += earlier[1 - self.keep_last :]
        checkpoint.remove_all_except(root, staying)
        atomic.remove_folder(self.directory / HELD_OUT, damaged=True)  # θ₀ can make it again
        if not going_on:
            remove_derived(self.directory)
        with suppress(OSError):  # something stays there
            root.rmdir()

    def best(self) -> Path:
        """Return the checkpoint with the lowest task loss.

        Raises `CheckpointError` if there is none, or if its files have changed since.
        """
        root = self.directory / CHECKPOINTS
        for one in best(list(map(standing, checkpoint.finished(root)))):
            atomic.verify(one.path)
            return one.path
        raise CheckpointError(
            f"{root} has no checkpoint with a task loss: there is nothing to restore."
        )

    def better(self) -> list[Standing]:
        """Return the checkpoint with a lower task loss than the newest evaluation, if any."""
        now = self.history.latest.get(TASK, math.inf)
        found = map(standing, checkpoint.finished(self.directory / CHECKPOINTS))
        return [one for one in best(list(found)) if one.task_loss < now]


def remove_derived(run: Path) -> None:
    """Remove what a run has derived from its θ₀, and which θ₀ that was."""
    atomic.remove_file(run / REVISION)
    for name in DERIVED:
        atomic.remove_file(run / f"{name}.safetensors")
        atomic.remove_folder(run / name, damaged=True)


def standing(path: Path) -> Standing:
    """Return how good a checkpoint is; one that cannot be read counts as the worst."""
    try:
        record = training_state.read_state(path)
        loss = record["task_loss"]
        return Standing(path, math.inf if loss is None else float(loss), record["healthy"] is True)
    except (CheckpointError, ValueError, KeyError, TypeError, OverflowError):
        return Standing(path, math.inf, False)


def best(found: list[Standing]) -> list[Standing]:
    """Return the one with the lowest finite task loss, the newest of equals, in a list; or []."""
    measured = [one for one in found if math.isfinite(one.task_loss)]
    return [min(reversed(measured), key=lambda one: one.task_loss)] if measured else []


def _path(one: Standing) -> Path:
    return one.path


def _named(model: Any) -> tuple[tuple[str, Tensor], ...]:
    """Return every weight and buffer by name, tied ones once."""
    return (*model.named_parameters(), *model.named_buffers())


def _whole_of(model: Any) -> Callable[[str], Tensor]:
    """Return what gives whole tensors on the host by name; every process asks for the same."""
    tensors = dict(_named(model))
    return lambda name: full_tensor(tensors[name].detach()).cpu()

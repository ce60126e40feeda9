"""What a run leaves on disk: checkpoints while it goes on, the trained model when it is done.

Three checkpoints stay: the last; the best, whose task loss is lowest; and the last healthy one,
written while no step was being skipped. Often they are one.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from gpu_runner.checkpoint import directory as checkpoint
from gpu_runner.checkpoint import training_state
from gpu_runner.checkpoint.directory import Saved
from gpu_runner.checkpoint.history import History
from gpu_runner.data.rows import TASK
from gpu_runner.errors import CheckpointError
from gpu_runner.model.load import save
from gpu_runner.optim.optimizer import Optimizer
from gpu_runner.train.loop import State
from gpu_runner.world import World

FINISHED: Final = "finished"  # an empty file: this run has its model and cannot be resumed
CHECKPOINTS: Final = "checkpoints"


@dataclass(frozen=True, slots=True)
class Standing:
    """How good a checkpoint is: its task loss (inf if never measured), and its health."""

    path: Path
    task_loss: float
    healthy: bool


@dataclass(slots=True)
class Checkpointer:
    """Writes for one run in `directory`; its trained model goes to `output`.

    Every process of `world` calls it alike: tensors are gathered from all, the first one writes.
    """

    directory: Path
    output: Path
    model: Any
    tokenizer: Any
    optimizer: Optimizer
    history: History
    data_sha256: str
    world: World

    def save(self, state: State) -> Saved:
        """A complete checkpoint at `state`. Raises `SystemFailure` if the disk refuses."""
        kept = {
            "state": asdict(state),
            "history": self.history.as_json(),
            "data_sha256": self.data_sha256,
            "task_loss": self.history.latest.get(TASK),
            "healthy": state.skipped_in_a_row == 0,
        }
        write = self._model_writer()
        tensors, metadata = training_state.collect(self.model, self.optimizer, self.world)

        def fill(directory: Path) -> None:
            write(directory)
            training_state.write(directory, tensors, metadata, kept)

        place = checkpoint.step_dir(self.directory / CHECKPOINTS, state.step)
        return self.world.on_first(lambda: checkpoint.publish(place, fill))

    def prune(self, newest: Saved) -> None:
        """Remove the checkpoints that `newest` replaces; the best and the last healthy one stay."""
        root = self.directory / CHECKPOINTS
        if self.world.first:
            found = [standing(path) for path in checkpoint.finished(root)]
            healthy = [one.path for one in found if one.healthy]
            checkpoint.keep_only(root, {newest.path, *healthy[-1:], *map(_path, best(found))})

    def finish(self) -> Saved:
        """Write the trained model."""
        write = self._model_writer()
        return self.world.on_first(lambda: checkpoint.publish(self.output, write))

    def clean_up(self) -> None:
        """Mark the run as finished and remove what only an unfinished one needs.

        To be called when its last event is written: before that, a killed run must be able to go
        on. A checkpoint that did better on the task than the finished model stays; see `better`.
        """
        if self.world.first:
            (self.directory / FINISHED).touch()
            checkpoint.keep_only(self.directory / CHECKPOINTS, map(_path, self.better()))
            if not self.better():
                shutil.rmtree(self.directory / CHECKPOINTS, ignore_errors=True)
            for name in ("initial.safetensors", "fisher.safetensors"):
                (self.directory / name).unlink(missing_ok=True)

    def _model_writer(self) -> Callable[[Path], None]:
        """Who writes the model as it is now; gathers its weights first where they are spread."""
        weights = training_state.weights(self.model, self.world)
        return lambda directory: save(self.model, self.tokenizer, directory, weights)

    def best(self) -> Path:
        """The checkpoint with the lowest task loss. Raises `CheckpointError` if there is none."""
        root = self.directory / CHECKPOINTS
        for one in best(list(map(standing, checkpoint.finished(root)))):
            return one.path
        raise CheckpointError(
            f"{root} has no checkpoint with a task loss: none can be gone back to."
        )

    def better(self) -> list[Standing]:
        """The checkpoint that did better on the task than the newest evaluation, if any did."""
        now = self.history.latest.get(TASK, math.inf)
        found = map(standing, checkpoint.finished(self.directory / CHECKPOINTS))
        return [one for one in best(list(found)) if one.task_loss < now]


def standing(path: Path) -> Standing:
    """What a checkpoint says of itself; one that cannot be read is as bad as can be."""
    try:
        kept = json.loads((path / training_state.STATE).read_text("utf-8"))
        loss = kept["task_loss"]
        return Standing(path, math.inf if loss is None else float(loss), kept["healthy"] is True)
    except (OSError, ValueError, KeyError, TypeError):
        return Standing(path, math.inf, False)


def best(found: list[Standing]) -> list[Standing]:
    """The one with the lowest finite task loss, the newest of equals; none if there is none."""
    measured = [one for one in found if math.isfinite(one.task_loss)]
    return [min(reversed(measured), key=lambda one: one.task_loss)] if measured else []


def _path(one: Standing) -> Path:
    return one.path

"""What a run leaves on disk: checkpoints while it goes on, the trained model when it is done."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch

from gpu_runner import checkpoint
from gpu_runner.checkpoint import Saved
from gpu_runner.model import save
from gpu_runner.record import History
from gpu_runner.train import State

FINISHED: Final = "finished"  # an empty file: this run has its model and cannot be resumed
CHECKPOINTS: Final = "checkpoints"


@dataclass(slots=True)
class Keeper:
    """Writes for one run in `directory`; its trained model goes to `output`."""

    directory: Path
    output: Path
    model: Any
    tokenizer: Any
    optimizer: torch.optim.Optimizer
    history: History
    data_sha256: str

    def save(self, state: State) -> Saved:
        """A complete checkpoint at `state`. Raises `SystemFailure` if the disk refuses."""
        kept = {
            "state": asdict(state),
            "history": self.history.as_json(),
            "data_sha256": self.data_sha256,
        }

        def fill(directory: Path) -> None:
            save(self.model, self.tokenizer, directory)
            checkpoint.write_training_state(directory, self.model, self.optimizer, kept)

        return checkpoint.publish(self._checkpoint(state.step), fill)

    def prune(self, newest: Saved) -> None:
        """Remove the checkpoints that `newest` replaces."""
        checkpoint.keep_only(self.directory / CHECKPOINTS, newest.path)

    def finish(self) -> Saved:
        """Write the trained model, then remove what only an unfinished run needs."""
        saved = checkpoint.publish(
            self.output, lambda directory: save(self.model, self.tokenizer, directory)
        )
        (self.directory / FINISHED).touch()
        shutil.rmtree(self.directory / CHECKPOINTS, ignore_errors=True)
        (self.directory / "initial.safetensors").unlink(missing_ok=True)
        return saved

    def _checkpoint(self, step: int) -> Path:
        return self.directory / CHECKPOINTS / f"step-{step:06d}"

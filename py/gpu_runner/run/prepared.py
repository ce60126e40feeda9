"""What a run has before it begins, or goes on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpu_runner.checkpoint.origins import Origins
from gpu_runner.checkpoint.training_state import History
from gpu_runner.optim import optimizer as optim
from gpu_runner.plan.plan import RunPlan, in_parts
from gpu_runner.run.checkpointer import Checkpointer
from gpu_runner.system.price import Spending
from gpu_runner.train.initial_weights import Anchor
from gpu_runner.train.loop import State
from gpu_runner.train.step_position import StepPlace
from gpu_runner.world import World


@dataclass(slots=True)
class PreparedRun:
    """A run that is about to begin or to go on."""

    plan: RunPlan
    directory: Path
    model: Any
    anchor: Anchor
    optimizer: optim.Optimizer
    world: World
    state: State
    history: History
    attempt: int
    notes: list[tuple[str, str]]
    origins: Origins | None = None
    """What it is made of; None where no checkpoint will tell."""
    place: StepPlace = field(default_factory=StepPlace)
    spending: Spending | None = None

    def checkpointer(self) -> Checkpointer:
        """Who writes its checkpoints and its model."""
        out = self.plan.config.out
        return self.checkpointer_of(
            Checkpointer, Path(out).expanduser() if out else self.directory / "model"
        )

    def checkpointer_of(self, kind: type[Checkpointer], output: Path) -> Checkpointer:
        """One of this run, which leaves in `output` what was trained."""
        return kind(
            directory=self.directory,
            output=output,
            model=self.model,
            tokenizer=self.plan.tokenizer,
            optimizer=self.optimizer,
            history=self.history,
            origins=self.origins,
            world=self.world,
            in_parts=in_parts(self.plan.config, self.world.size),
            beside_steps=self.plan.config.async_checkpoints,
            keep_state=self.plan.config.keep_state and self.plan.save_every > 0,
        )

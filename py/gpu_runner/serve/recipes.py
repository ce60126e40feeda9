"""Which runs the page may start: recipes by name, and a few of their numbers within bounds.

A recipe is the demo, or a `run.toml` in the folder that `serve --recipes` names; its name is the
stem of that file. Names come from listing the folder, and a requested one is looked up among them.
What a page may change are the numbers below: never a path, a model, or a word.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gpu_runner.config import bounds
from gpu_runner.config.options import configuration
from gpu_runner.config.schema import DEMO, RANGES, TrainConfig
from gpu_runner.errors import UsageError

NUMBERS: Final = (
    "steps",
    "lr",
    "warmup",
    "micro_batch",
    "grad_accum",
    "seq_len",
    "seed",
    "eval_every",
    "save_every",
)
SUFFIX: Final = ".toml"


@dataclass(frozen=True, slots=True)
class RunRecipe:
    """A run that can be started by name."""

    name: str
    options: Mapping[str, str]
    """What `train` is told: `model` for the demo, `config` for a file."""

    def configured(self, numbers: Mapping[str, float]) -> TrainConfig:
        """The run with these numbers. Raises `UsageError` with the value, the bound, the remedy."""
        for name, value in numbers.items():
            _check(name, value)
        return configuration({**self.options, **numbers})

    def arguments(self, numbers: Mapping[str, float]) -> list[str]:
        """The command line of `train` for it; to be called with numbers that were checked."""
        words = [f"--{name}={value}" for name, value in self.options.items()]
        return words + [f"--{name.replace('_', '-')}={value!r}" for name, value in numbers.items()]

    def described(self) -> dict[str, Any]:
        """What the page shows: its numbers with their bounds, or why it cannot be started."""
        try:
            config = self.configured({})
        except UsageError as error:
            return {"name": self.name, "problem": str(error), "numbers": {}}
        numbers = {name: _number(name, getattr(config, name)) for name in NUMBERS}
        return {"name": self.name, "problem": "", "numbers": numbers}


class RecipeIndex:
    """Looks its folder up each time it is asked. Raises `UsageError` for one that is none."""

    def __init__(self, folder: Path | None) -> None:
        if folder is not None and not folder.is_dir():
            raise UsageError(f"--recipes {folder} is no folder: give one with *.toml files in it.")
        self._folder = folder

    def all(self) -> dict[str, RunRecipe]:
        """Every recipe by its name, the demo first; a demo.toml does not replace it."""
        found = {DEMO: RunRecipe(DEMO, {"model": DEMO})}
        if self._folder is None:
            return found
        try:
            with os.scandir(self._folder) as entries:
                files = [entry for entry in entries if entry.is_file(follow_symlinks=False)]
        except OSError:  # the folder was taken away: its recipes are gone with it
            return found
        for path in sorted(Path(entry.path) for entry in files):
            if path.suffix == SUFFIX and not path.name.startswith("."):
                found.setdefault(path.stem, RunRecipe(path.stem, {"config": str(path.absolute())}))
        return found


def _check(name: str, value: object) -> None:
    """Refuse what is no number, or out of its bounds. Raises `UsageError`."""
    if name not in NUMBERS:
        raise UsageError(f"{name[:40]!r} cannot be set from here: {', '.join(NUMBERS)} can.")
    low, high = RANGES[name]
    whole = isinstance(low, int)
    kinds = (int,) if whole else (int, float)
    if not (isinstance(value, kinds) and not isinstance(value, bool) and low <= value <= high):
        kind = "a whole number" if whole else "a number"
        raise UsageError(
            f"{name} is {str(value)[:40]}: give {kind} from {bounds.shown(low)} to"
            f" {bounds.shown(high)}."
        )


def _number(name: str, value: float | None) -> dict[str, Any]:
    low, high = RANGES[name]
    return {"value": value, "low": low, "high": high, "whole": isinstance(low, int)}

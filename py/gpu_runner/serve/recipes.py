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
from gpu_runner.config import file as config_file
from gpu_runner.config.resolve import resolve
from gpu_runner.config.schema import DEMO, RANGES, TrainConfig
from gpu_runner.errors import RunnerError, UsageError
from gpu_runner.plain import read_whole
from gpu_runner.text import printable

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
MOST_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class RunRecipe:
    """A run that can be started by name: the demo, or what a file says."""

    name: str
    file: Path | None = None

    def configured(self, numbers: Mapping[str, float]) -> TrainConfig:
        """The run with these numbers. Raises `RunnerError` with the value, bound and remedy."""
        for name, value in numbers.items():
            _check(name, value)
        return resolve({**self._choices(), **numbers})

    def _choices(self) -> dict[str, Any]:
        if self.file is None:
            return {"model": DEMO}
        if self.name != self.file.stem:
            raise UsageError("its name cannot be sent to a page: rename the file.")
        try:
            text = read_whole(self.file, MOST_BYTES)
        except OSError as error:
            raise UsageError(f"it cannot be read ({error.strerror}).") from None
        return config_file.parsed(text, self.file.name)

    def arguments(self, numbers: Mapping[str, float]) -> list[str]:
        """The command line of `train` for it; to be called with numbers that were checked."""
        words = [f"--model={DEMO}" if self.file is None else f"--config={self.file}"]
        return words + [f"--{name.replace('_', '-')}={value!r}" for name, value in numbers.items()]

    def described(self) -> dict[str, Any]:
        """What the page shows: its numbers with their bounds, or why it cannot be started."""
        try:
            config = self.configured({})
        except RunnerError as error:
            return {"name": self.name, "problem": printable(str(error)), "numbers": {}}
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
        found = {DEMO: RunRecipe(DEMO)}
        if self._folder is None:
            return found
        try:
            with os.scandir(self._folder) as entries:
                files = [entry for entry in entries if entry.is_file(follow_symlinks=False)]
        except OSError:  # the folder was taken away: its recipes are gone with it
            return found
        for path in sorted(Path(entry.path) for entry in files):
            if path.suffix == SUFFIX and not path.name.startswith("."):
                name = printable(path.stem)
                found.setdefault(name, RunRecipe(name, path.absolute()))
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

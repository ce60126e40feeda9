"""The directory of a run: made, claimed by one process at a time, its settings written.

runs/<id>/config.json            the settings; `resume` needs nothing else
          events.jsonl           everything that happened (see `log`)
          initial.safetensors    θ₀, only where no safetensors files of the model hold it
          initial.json           the revision of a model of the hub, whose cache holds θ₀
          checkpoints/step-…/    what `resume` continues from
          model/                 the result; loads in transformers unchanged
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Final

from gpu_runner import atomic
from gpu_runner.checkpoint import directory as checkpoint
from gpu_runner.config.bounds import check_config
from gpu_runner.config.load import load_record
from gpu_runner.config.schema import TrainConfig
from gpu_runner.errors import CheckpointError, SystemFailure, UsageError, everyones
from gpu_runner.locks import try_lock
from gpu_runner.log.runs import CONFIG_NAME, new_run_id
from gpu_runner.log.tail import LOG_NAME, writer_alive
from unfrozen.plain import open_plain, read_whole

if TYPE_CHECKING:
    from gpu_runner.world import World

FINISHED: Final = "finished"  # a file that holds the last step of a finished run
CHECKPOINTS: Final = "checkpoints"
MOST_CONFIG_BYTES: Final = 1024 * 1024
_MOST_MARK_BYTES: Final = 64


def make_directory(config: TrainConfig) -> Path:
    """Make a directory for a new run, write its settings into it and return its path.

    Raises `SystemFailure` where it cannot be made.
    """
    directory = Path(config.runs).expanduser() / new_run_id()
    try:
        directory.mkdir(mode=0o700, parents=True)
        write_config(config, directory)
    except OSError as error:
        raise SystemFailure(
            f"--runs {config.runs}: cannot create a run there ({error.strerror})."
            " Give another directory."
        ) from None
    return directory


def write_config(config: TrainConfig, directory: Path) -> None:
    """Write the settings of a run, whole or not at all. Raises `OSError`."""
    text = json.dumps(config.anchored().as_json(), indent=1)
    atomic.write_file(directory / CONFIG_NAME, text + "\n")


def read_config(directory: Path) -> TrainConfig:
    """Return the settings that a run has recorded. Raises `CheckpointError` where it is no run."""
    path = directory / CONFIG_NAME
    try:
        config = load_record(read_whole(path, MOST_CONFIG_BYTES), "its record")
        check_config(config)
        return config
    except FileNotFoundError:
        raise CheckpointError(
            f"{directory} is not a run of `train`: it has no {CONFIG_NAME}. Give a run's id or"
            " path."
        ) from None
    except (OSError, ValueError, TypeError, UsageError) as error:
        raise CheckpointError(
            f"{path} cannot be read ({error}): without it the run cannot be used."
        ) from None


def read_saved(run: Path, step: int | None = None) -> dict[Path, bytes]:
    """Return what changes with the models that a run has saved, or with its checkpoint of `step`.

    That is its settings, its end and the manifests, which hold the hash of every file.
    """
    root = run / CHECKPOINTS
    steps = checkpoint.finished(root) if step is None else [checkpoint.step_dir(root, step)]
    manifests = [place / atomic.MANIFEST for place in (run / "model", *steps)]
    found = {}
    for file in (run / CONFIG_NAME, run / FINISHED, *manifests):
        with suppress(OSError):
            found[file] = read_whole(file, atomic.MOST_MANIFEST_BYTES)
    return found


def finished_step(run: Path) -> int:
    """Return the last step of a finished run. Raises `CheckpointError` for a mark without one."""
    try:
        return int(read_whole(run / FINISHED, _MOST_MARK_BYTES))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{run / FINISHED} does not name the last step ({error}).") from None


def check_output(out: str | None) -> None:
    """Refuse, before the first step, a place where the model could not be written."""
    if out is None:
        return
    place = Path(out).expanduser().parent
    try:
        place.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise SystemFailure(
            f"--out {out}: cannot write a model there ({error.strerror}). Give another directory."
        ) from None


@contextmanager
def claim(directory: Path, world: World) -> Iterator[None]:
    """Hold a run for this process, from before it loads a model until it ends.

    Raises `CheckpointError` where another process holds it: it would remove what is loaded here.
    """
    held = world.on_first(lambda: _lock(directory))
    try:
        yield
    finally:
        if world.first and held >= 0:
            os.close(held)


def _lock(directory: Path) -> int:
    """Return a descriptor that locks a run's settings; −1 if the file system has no locks."""
    log = directory / LOG_NAME
    held = open_plain(directory / CONFIG_NAME)
    free = try_lock(held)
    with suppress(OSError):  # its settings were written again since
        free = free and not (log.is_file() and writer_alive(log))
    if not free:
        os.close(held)
    if free is None:
        return -1
    if not free:
        text = f"{directory.name} is being trained by another process: wait for it, or stop it."
        raise everyones(CheckpointError(text))
    return held

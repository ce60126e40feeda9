"""The checkpoints of a run: folders named by their step, each whole or absent (see `atomic`).

The newest whole one is found, damaged ones are set aside for their owner, older ones are removed.
`training_state` says what is inside; here, files are files.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable
from itertools import count
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any, Final

from gpu_runner import atomic
from gpu_runner.atomic import free_bytes, verify, write_failure
from gpu_runner.errors import CheckpointError, SystemFailure
from unfrozen.units import format_bytes

if TYPE_CHECKING:
    from torch import Tensor, dtype

DAMAGED: Final = ".damaged"
"""The end of the name of a checkpoint whose files have changed: its owner's, never read."""
_STEP: Final = "step-"


def checkpoint_failure(final: Path, error: BaseException) -> SystemFailure:
    """Return the error for a folder that could not be written; earlier ones are mentioned."""
    earlier = step_of(final) is not None and finished(final.parent)
    return write_failure(final, error, " Earlier checkpoints are intact." * bool(earlier))


def write_tensors(tensors: dict[str, Tensor], final: Path) -> None:
    """Make the file `final`, safetensors of `tensors`, appear whole or not at all.

    Raises `SystemFailure` (disk full, no permission); nothing half-written stays.
    """
    from safetensors.torch import save_file

    try:
        with atomic.new_files(final, new=False) as (unfinished,):
            save_file(tensors, unfinished)
    except Exception as error:
        if atomic.is_write_error(error):
            raise write_failure(final, error) from error
        raise


PROBE_BYTES: Final = 32 * 1024 * 1024


def time_writing(folder: Path, size_bytes: int) -> float:
    """Return the seconds that a checkpoint of this size takes to write in a folder.

    Up to PROBE_BYTES are written and summed as those of a checkpoint, into a file without a name:
    nothing stays of it, whatever becomes of this process. Raises `SystemFailure`.
    """
    size = max(1, min(size_bytes, PROBE_BYTES))
    content, started = os.urandom(size), time.monotonic()
    try:
        with TemporaryFile(dir=folder) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise write_failure(folder / "checkpoints", error) from error
    hashlib.sha256(content)
    return (time.monotonic() - started) * max(1.0, size_bytes / size)


def check_room(final: Path, model: Any, stored_as: dtype | None = None) -> None:
    """Refuse to write the weights of `model` where they do not fit. Raises `SystemFailure`.

    They are `stored_as` that, in their own dtype if None.
    """
    needed = sum(p.numel() * (stored_as or p.dtype).itemsize for p in model.parameters())
    free = free_bytes(final)
    if needed > free:
        raise SystemFailure(
            f"{final} needs {format_bytes(needed)} for its weights, and {format_bytes(free)} are"
            " free there: make room, or write it elsewhere."
        )


def step_dir(root: Path, step: int) -> Path:
    """Return the path of the checkpoint of `step`."""
    return root / f"{_STEP}{step:06d}"


def step_of(path: Path) -> int | None:
    """Return the step in a checkpoint's name; None for any other name, which no run gave."""
    digits = path.name.removeprefix(_STEP)
    return int(digits) if path.name != digits and digits.isdecimal() and digits.isascii() else None


def newest(root: Path) -> tuple[Path | None, list[str]]:
    """Return the newest checkpoint that passes `verify`, and why newer ones were passed over."""
    atomic.sweep(root)
    refused: list[str] = []
    for path in reversed(finished(root)):
        try:
            verify(path)
        except CheckpointError as error:
            refused.append(str(error))
        else:
            return path, refused
    return None, refused


def finished(root: Path) -> list[Path]:
    """Return every checkpoint in `root`, the oldest first."""
    found = [(step, path) for path in root.glob(f"{_STEP}*") if (step := step_of(path)) is not None]
    return [path for _, path in sorted(found)]


def set_aside(root: Path, good: Path | None) -> list[Path]:
    """Rename every checkpoint newer than `good` (None: all), so that nobody removes or reads them.

    Returns where they are now. Raises `SystemFailure` where that is not allowed.
    """
    found = finished(root)
    moved = []
    for path in found[found.index(good) + 1 if good else 0 :]:
        names = (f"{path.name}{DAMAGED}{f'-{n}' if n > 1 else ''}" for n in count(1))
        aside = path.with_name(next(name for name in names if not (root / name).exists()))
        try:
            moved.append(path.rename(aside))
        except OSError as error:
            raise write_failure(aside, error) from error
    return moved


def remove_all_except(root: Path, wanted: Iterable[Path]) -> None:
    """Remove every other checkpoint as it was written, and what an interrupted save left behind."""
    stay = set(wanted)
    for path in finished(root):
        if path not in stay:
            atomic.remove_folder(path)
    atomic.sweep(root)

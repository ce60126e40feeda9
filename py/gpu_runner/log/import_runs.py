"""Import runs of other tools into the folder of runs: found in a path, written as logs of ours.

    a file                     that run; of an event file, with those beside it
    a folder                   every run in it: event files of one folder are one run, as for
                               TensorBoard, with the folders of `add_scalars` below it; of
                               checkpoints side by side the furthest counts; of tables of metrics
                               those named as Lightning names them

Links are not followed. A run's id is made of what its files hold, so that a second import finds the
first one. The log appears whole or not at all.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from gpu_runner.atomic import write_file
from gpu_runner.errors import DataError, SystemFailure
from gpu_runner.log.event_files import (
    first_tag,
    is_event_file,
    order,
    read_event_files,
    scalars_key,
)
from gpu_runner.log.tail import LOG_NAME
from gpu_runner.system import foreign
from gpu_runner.system.foreign import ForeignCodeError
from unfrozen.errors import ForeignFileError
from unfrozen.imported.foreign_files import MOST_BYTES, read_foreign
from unfrozen.imported.log import ForeignRun, lines
from unfrozen.imported.tools import EXPECTED
from unfrozen.plain import read_plain

MOST_ENTRIES: Final = 20_000
"""Files and folders that are listed below a path."""
_DEEPEST: Final = 8
_STATE: Final = "trainer_state.json"
_TABLE: Final = "metrics.csv"  # of Lightning's CSVLogger
_CHECKPOINT: Final = "checkpoint-"


@dataclass(frozen=True, slots=True)
class Imported:
    """The result of importing the files of one run."""

    files: tuple[Path, ...]
    directory: Path | None = None
    """Where its log lies; None where it could not be read."""
    is_new: bool = False
    run: ForeignRun | None = None
    problem: str = ""


def import_runs(path: Path, runs: Path, name: str = "") -> Iterator[Imported]:
    """Import every run in `path` into the folder `runs`; yield the results one by one.

    `name`: its name in the page; else that of its folder. Raises `DataError` where there is no run,
    `SystemFailure` when the disk refuses.
    """
    found = find_runs(path)
    if not found:
        raise DataError(f"{path}: there is no run of another tool in it; {EXPECTED}.")
    total = foreign.Total(lambda: sum(os.times()[2:4]))  # of the child processes
    for files in found:
        try:
            total.check()
            run, written = foreign.call(partial(_read, files))
        except ForeignFileError as error:
            yield Imported(files, problem=f"{files[0].parent}: {error}")
        except ForeignCodeError as error:
            yield Imported(files, problem=f"{files[0]}: reading it {error}")
        except OSError as error:
            yield Imported(files, problem=f"{files[0]}: {error.strerror or error}")
        else:
            directory = runs / run.id
            is_new = not (directory / LOG_NAME).exists()
            if is_new:
                _write(directory, run, name or run.name or _title(files[0]), written)
            yield Imported(files, directory, is_new, run)


def find_runs(path: Path) -> list[tuple[Path, ...]]:
    """Return the files of each run in `path`, by their names; a single file is always one."""
    if path.is_symlink() or not path.exists():
        what = "it is a link, which is not followed" if path.is_symlink() else "it is not there"
        raise DataError(f"{path}: {what}; give the file, or the folder it lies in.")
    if path.is_file():
        return [_with_its_run(path)]
    events: list[Path] = []
    states: dict[Path, list[Path]] = {}
    others: list[tuple[Path, ...]] = []
    for file in _files(path):
        if is_event_file(file):
            events.append(file)
        elif file.name == _STATE:
            states.setdefault(_output_folder(file), []).append(file)
        elif file.name == _TABLE:
            others.append((file,))
    found = [*_event_runs(events), *((max(files, key=_progress),) for files in states.values())]
    return sorted(found + others)


def _with_its_run(file: Path) -> tuple[Path, ...]:
    """Return a file with those of the same run: event files lie beside each other."""
    if not is_event_file(file):
        return (file,)
    beside = filter(is_event_file, _files(file.parent, 1))
    return next(files for files in _event_runs({file, *beside}) if file in files)


def _event_runs(files: Iterable[Path]) -> list[tuple[Path, ...]]:
    """Return event files run by run: those of a folder, then those that `add_scalars` put below."""
    folders: dict[Path, list[Path]] = {}
    for file in sorted(files, key=order):
        folders.setdefault(file.parent, []).append(file)
    for folder in sorted(folders, reverse=True):
        if folder.parent in folders and _is_of_add_scalars(folders[folder][0]):
            folders[folder.parent] += folders.pop(folder)
    return [tuple(found) for found in folders.values()]


def _is_of_add_scalars(file: Path) -> bool:
    with suppress(ForeignCodeError, ForeignFileError, OSError):
        return bool(scalars_key(file.parent.name, foreign.call(partial(first_tag, file))))
    return False


def _output_folder(state: Path) -> Path:
    """Return the folder of the run of a state: checkpoints lie one level below it."""
    folder = state.parent
    return folder.parent if folder.name.startswith(_CHECKPOINT) else folder


def _progress(state: Path) -> tuple[bool, int]:
    """Return how far a state is: the one beside the checkpoints was written last."""
    number = state.parent.name.removeprefix(_CHECKPOINT)
    is_checkpoint = state.parent.name.startswith(_CHECKPOINT) and number.isdecimal()
    return not is_checkpoint, int(number[:18]) if is_checkpoint else 0


def _files(folder: Path, deep: int = _DEEPEST) -> Iterator[Path]:
    """Yield the plain files below a folder, by name. Raises `DataError` for too many."""
    left = MOST_ENTRIES
    waiting = [(folder, deep)]
    while waiting:
        place, deeper = waiting.pop()
        try:
            entries = sorted(os.scandir(place), key=lambda entry: entry.name)
        except OSError as error:
            raise DataError(
                f"{place}: {error.strerror or error}; give the folder of the run itself."
            ) from None
        left -= len(entries)
        if left < 0:
            raise DataError(
                f"{folder} holds more than {MOST_ENTRIES:,} files and folders: give the folder of"
                " the run itself."
            )
        for entry in entries:
            if entry.is_dir(follow_symlinks=False) and deeper:
                waiting.append((Path(entry.path), deeper - 1))
            elif entry.is_file(follow_symlinks=False):
                yield Path(entry.path)


def _read(files: tuple[Path, ...]) -> tuple[ForeignRun, float]:
    """Return the run in some files, and when the last of them was written."""
    written = max(file.stat().st_mtime for file in files)
    if is_event_file(files[0]):
        return read_event_files(files), written
    return read_foreign(files[0].name, read_plain(files[0], MOST_BYTES + 1)), written


def _title(file: Path) -> str:
    """Return the name of a run by its folder; of a checkpoint, by the folder above it."""
    folder = _output_folder(file) if file.name == _STATE else file.parent
    return folder.resolve().name or file.name


def _write(directory: Path, run: ForeignRun, name: str, written: float) -> None:
    """Write the log of a run, whole or not at all."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_file(directory / LOG_NAME, lines(run, name, written), private=True)
    except OSError as error:
        raise SystemFailure(f"{directory} cannot be written ({error.strerror}).") from None

"""Copies of runs in a bucket that is mounted as a folder: what a lost machine leaves behind.

Such a mount takes files that are written from their beginning to their end and closed; it refuses
to append, to write in the middle and to rename a folder, and shows a file to others only once it
is closed. So a run is written on a disk of the machine, and copied file by file:

    RUN/config.json            first: without it a folder is no run
        initial.safetensors    θ₀ and the Fisher, where the run has them
        checkpoints/step-…/    its files, then manifest.json: without it a checkpoint is none
        events.jsonl           whole, again and again
        model/                 as a checkpoint
        finished               last

What the run has removed is removed here after what replaces it is complete.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from gpu_runner.atomic import MANIFEST, MOST_MANIFEST_BYTES, remove_file, remove_folder
from gpu_runner.checkpoint.directory import finished
from gpu_runner.checkpoint.sharded_directory import DERIVED
from gpu_runner.log.runs import CONFIG_NAME
from gpu_runner.log.tail import LOG_NAME
from gpu_runner.plain import read_whole

FINISHED: Final = "finished"
_CHECKPOINTS: Final = "checkpoints"
_MODEL: Final = "model"
_BESIDE: Final = tuple(f"{name}.safetensors" for name in DERIVED)


def push_runs(runs: Path, bucket: Path) -> None:
    """Bring every run of `runs` up to date in `bucket`. Raises `OSError` where it cannot be."""
    for run in runs_in(runs):
        _push(run, bucket / run.name)


def fetch_runs(bucket: Path, runs: Path) -> None:
    """Bring every unfinished run of `bucket` that is not there to `runs`.

    Raises `OSError` where it cannot be.
    """
    for run in runs_in(bucket):
        destination = runs / run.name
        if (destination / CONFIG_NAME).exists() or (run / FINISHED).exists():
            continue
        destination.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in DERIVED:
            if (run / name / MANIFEST).exists():
                _copy_whole(run / name, destination / name)
        for checkpoint in _with_manifest(run / _CHECKPOINTS):
            _copy_whole(checkpoint, destination / _CHECKPOINTS / checkpoint.name)
        for name in (LOG_NAME, *_BESIDE, CONFIG_NAME):  # without the last it is no run
            _renew(run / name, destination / name)


def runs_in(folder: Path) -> list[Path]:
    """Folders of runs, the newest last; their names begin with the time."""
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted(path for path in found if (path / CONFIG_NAME).is_file())


def _push(run: Path, destination: Path) -> None:
    destination.mkdir(parents=True, exist_ok=True)
    for name in (CONFIG_NAME, *_BESIDE):
        _renew(run / name, destination / name)
    for name in DERIVED:
        if (run / name / MANIFEST).exists():
            _copy_whole(run / name, destination / name)
        else:
            remove_folder(destination / name)
    current = {path.name for path in finished(run / _CHECKPOINTS)}
    for name in current:
        _copy_whole(run / _CHECKPOINTS / name, destination / _CHECKPOINTS / name)
    for old in finished(destination / _CHECKPOINTS):
        if old.name not in current:
            remove_folder(old)
    if (run / _MODEL / MANIFEST).exists():
        _copy_whole(run / _MODEL, destination / _MODEL)
    for name in (LOG_NAME, FINISHED):
        _renew(run / name, destination / name)
    if not (run / FINISHED).exists():  # it goes on to more steps
        remove_file(destination / FINISHED)


def _renew(source: Path, destination: Path) -> None:
    """Copy a file that has changed in length, or is new; remove one that is no longer there."""
    try:
        size = source.stat().st_size
    except FileNotFoundError:
        remove_file(destination)
        return
    if source.name == CONFIG_NAME or not destination.exists() or destination.stat().st_size != size:
        shutil.copyfile(source, destination)


def _copy_whole(source: Path, destination: Path) -> None:
    """Copy a folder with a manifest, that last; nothing where it is there, or gone meanwhile.

    Of two folders with the same manifest the files are the same: it holds their sha256.
    """
    try:
        wanted = read_whole(source / MANIFEST, MOST_MANIFEST_BYTES)
        with suppress(FileNotFoundError):
            if read_whole(destination / MANIFEST, MOST_MANIFEST_BYTES) == wanted:
                return
        remove_file(destination / MANIFEST)
        for file in _files(source):
            target = destination / file.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
        shutil.copyfile(source / MANIFEST, destination / MANIFEST)
    except FileNotFoundError:
        if source.exists():
            raise


def _files(folder: Path) -> Iterator[Path]:
    """Everything in it but the manifest."""
    return (path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)


def _with_manifest(folder: Path) -> list[Path]:
    return [path for path in finished(folder) if (path / MANIFEST).exists()]

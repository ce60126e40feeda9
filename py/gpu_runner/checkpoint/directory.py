"""Directories and files that are whole or absent, whenever the process dies.

    step-000120.tmp/  the files are written, each flushed to disk; then manifest.json (name, bytes,
                      sha256 of each), flushed; then the directories, flushed
    step-000120/      the same directory renamed: it exists only complete; the parent is flushed

What is written before the rename cannot be seen under the final name, and what is removed is
removed after it. `training_state` says what is inside; here, files are files.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from safetensors import SafetensorError

from gpu_runner.errors import CheckpointError, SystemFailure
from gpu_runner.plain import read_whole
from unfrozen.units import format_bytes

if TYPE_CHECKING:
    from torch import Tensor, dtype

    from gpu_runner.world.sharded_files import Written

MANIFEST: Final = "manifest.json"
MOST_MANIFEST_BYTES: Final = 64 * 1024 * 1024
UNFINISHED: Final = ".tmp"  # being written
REPLACED: Final = ".old"  # complete, and on its way out
DAMAGED: Final = (
    ".damaged"  # its files are not those that were saved; left for its owner, never read
)
_STEP: Final = "step-"


@dataclass(frozen=True, slots=True)
class Saved:
    """A directory that is complete on disk; `sha256` is that of its manifest."""

    path: Path
    size_bytes: int
    sha256: str
    seconds: float = 0.0
    """How long this process wrote its files, steps beside them or not; 0: not timed."""


def publish(final: Path, fill: Callable[[Path], None], *, private: bool = True) -> Saved:
    """Let `fill` write files into a temporary directory, then make it appear as `final` at once.

    An older directory of that name steps aside before and goes after, so that one of the two is
    there at every moment. What is not `private` may be read by whom the umask lets. Raises
    `SystemFailure` (disk full, no permission); nothing half-written stays and earlier checkpoints
    are untouched.
    """
    try:
        temporary = begin(final, private=private)
        fill(temporary)
        return complete(final, {}, private=private)
    except BaseException as error:
        if (failure := discard(final, error)) is error:
            raise
        raise failure from error


def begin(final: Path, *, private: bool = True) -> Path:
    """Make the temporary directory of `final`, empty. Raises `OSError`, `SystemFailure`."""
    temporary = final.with_name(final.name + UNFINISHED)
    if final.exists() and not (final / MANIFEST).is_file():
        raise SystemFailure(
            f"{final} is there and was not written by a run: move it away, it is not replaced."
        )
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(mode=0o700 if private else 0o777, parents=True)
    return temporary


def complete(final: Path, known: Mapping[str, Written], *, private: bool = True) -> Saved:
    """Seal what was written since `begin`, and make it appear. Raises `OSError`.

    Files that are `known` are flushed, with a checksum that need not be computed again.
    """
    temporary, older = (final.with_name(final.name + end) for end in (UNFINISHED, REPLACED))
    if not private:
        _open_to_others(temporary)
    size, digest = _seal(temporary, known)
    if final.exists():
        shutil.rmtree(older, ignore_errors=True)
        final.rename(older)
    temporary.rename(final)
    _flush(final.parent)
    shutil.rmtree(older, ignore_errors=True)
    return Saved(final, size, digest)


def discard(final: Path, error: BaseException) -> BaseException:
    """Remove what was written since `begin`; return the error to raise for `error`."""
    shutil.rmtree(final.with_name(final.name + UNFINISHED), ignore_errors=True)
    return write_failure(final, error) if isinstance(error, (OSError, SafetensorError)) else error


def write_failure(final: Path, error: Exception) -> SystemFailure:
    """Return the error for a directory that could not be written; earlier ones are mentioned."""
    earlier = step_of(final) is not None and finished(final.parent)
    return _refused(final, error, " Earlier checkpoints are intact." * bool(earlier))


def write_tensors(tensors: dict[str, Tensor], final: Path) -> None:
    """Make the file `final`, safetensors of `tensors`, appear whole or not at all.

    Raises `SystemFailure` (disk full, no permission); nothing half-written stays.
    """
    from safetensors.torch import save_file

    temporary = final.with_suffix(UNFINISHED)
    try:
        save_file(tensors, temporary)
        _flush(temporary)
        temporary.rename(final)
        _flush(final.parent)
    except (OSError, SafetensorError) as error:
        temporary.unlink(missing_ok=True)
        raise _refused(final, error) from error


PROBE_BYTES: Final = 32 * 1024 * 1024


def time_writing(folder: Path, size_bytes: int) -> float:
    """Return the seconds that a checkpoint of this size takes to write in a folder.

    A directory of up to PROBE_BYTES is written there as a checkpoint is, and removed. Raises
    `SystemFailure`.
    """
    size = max(1, min(size_bytes, PROBE_BYTES))
    content, place = os.urandom(size), folder / f"write-test-{os.getpid()}"

    def fill(inside: Path) -> None:
        (inside / "content").write_bytes(content)

    started = time.monotonic()
    try:
        publish(place, fill)
    finally:
        seconds = time.monotonic() - started
        shutil.rmtree(place, ignore_errors=True)
    return seconds * max(1.0, size_bytes / size)


def check_room(final: Path, model: Any, stored_as: dtype | None = None) -> None:
    """Refuse to write the weights of `model` where they do not fit. Raises `SystemFailure`.

    They are `stored_as` that, in their own dtype if None.
    """
    needed = sum(p.numel() * (stored_as or p.dtype).itemsize for p in model.parameters())
    free = _free(final)
    if needed > free:
        raise SystemFailure(
            f"{final} needs {format_bytes(needed)} for its weights, and {format_bytes(free)} are"
            " free there: make room, or write it elsewhere."
        )


def _free(final: Path) -> int:
    there = next((place for place in final.absolute().parents if place.exists()), Path.cwd())
    return shutil.disk_usage(there).free


def _refused(final: Path, error: Exception, intact: str = "") -> SystemFailure:
    """Return the error for a `final` that the operating system did not let us write."""
    free = _free(final)
    return SystemFailure(
        f"{final} could not be written ({error}); {format_bytes(free)} are free there."
        f" Make room, or choose another --runs or --out.{intact}"
    )


def _seal(directory: Path, known: Mapping[str, Written] | None = None) -> tuple[int, str]:
    """Flush every file, write and flush the manifest, flush the directories from the inside out.

    Returns the total bytes and the sha256 of the manifest.
    """
    files: dict[str, dict[str, int | str]] = {}
    total = 0
    inside = sorted(directory.rglob("*"))
    for path in (p for p in inside if p.is_file()):
        name = path.relative_to(directory).as_posix()
        if (written := (known or {}).get(name)) is None:
            _flush(path)
            size, digest = path.stat().st_size, _sha256(path)
        else:
            size, digest = written.size_bytes, written.sha256
        files[name] = {"bytes": size, "sha256": digest}
        total += size
    text = json.dumps({"files": files}, indent=1)
    manifest = directory / MANIFEST
    manifest.write_text(text, "utf-8")
    _flush(manifest)
    for folder in (*reversed([p for p in inside if p.is_dir()]), directory):
        _flush(folder)
    return total, hashlib.sha256(text.encode()).hexdigest()


def _open_to_others(directory: Path) -> None:
    """Give every file the rights that a new one of this process has: libraries write their own."""
    probe = directory / UNFINISHED
    probe.touch()
    rights = probe.stat().st_mode & 0o777
    probe.unlink()
    for path in directory.rglob("*"):
        if path.is_file():
            path.chmod(rights)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def step_dir(root: Path, step: int) -> Path:
    """Return the path of the checkpoint of `step`."""
    return root / f"{_STEP}{step:06d}"


def step_of(path: Path) -> int | None:
    """Return the step in a checkpoint's name, also of one being written or being replaced.

    None for any other name: what a run did not write is neither read nor removed.
    """
    name = path.name.removesuffix(UNFINISHED).removesuffix(REPLACED)
    digits = name.removeprefix(_STEP)
    return int(digits) if name != digits and digits.isdecimal() and digits.isascii() else None


def verify(path: Path) -> None:
    """Compare every file with the manifest; raises `CheckpointError` naming the first bad file."""
    files = _manifest(path)
    for name, expected in files.items():
        file = path / name
        if not file.is_file():
            raise CheckpointError(f"{path}: {name} is missing.")
        size = file.stat().st_size
        if size != expected["bytes"]:
            raise CheckpointError(f"{file} has {size:,} bytes, not {expected['bytes']:,}.")
        if _sha256(file) != expected["sha256"]:
            raise CheckpointError(f"{file} is not the file that was saved (its sha256 differs).")
    here = {file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()}
    if extra := sorted(here - files.keys() - {MANIFEST}):
        raise CheckpointError(f"{path / extra[0]} is not in {MANIFEST}: it was not saved here.")


def _manifest(path: Path) -> dict[str, Any]:
    """The `files` of a manifest, checked; raises `CheckpointError` for anything else."""
    try:
        files = json.loads(read_whole(path / MANIFEST, MOST_MANIFEST_BYTES))["files"]
        if not files or not all(
            {"bytes", "sha256"} <= entry.keys() and {"..", "/"}.isdisjoint(Path(name).parts)
            for name, entry in files.items()
        ):
            raise ValueError("it names no files, or names them wrongly")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path}: no readable {MANIFEST} ({error}).") from None
    return dict(files)


def newest(root: Path) -> tuple[Path | None, list[str]]:
    """The newest checkpoint that passes `verify`, and why newer ones were passed over."""
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
    """Every checkpoint in `root` that was written to its end, the oldest first.

    One that was being replaced when the process died stands before the one that replaces it.
    """
    found = [
        (step, path.suffix != REPLACED, path)
        for path in root.glob(f"{_STEP}*")
        if (step := step_of(path)) is not None and path.suffix != UNFINISHED
    ]
    return [path for _, _, path in sorted(found)]


def set_aside(root: Path, good: Path | None) -> list[Path]:
    """Rename every checkpoint newer than `good` (None: all), so that nobody removes or reads them.

    Returns where they are now. Raises `SystemFailure` where that is not allowed.
    """
    found = finished(root)
    moved = []
    for path in found[found.index(good) + 1 if good else 0 :]:
        aside = path.with_name(path.name + DAMAGED)
        try:
            shutil.rmtree(aside, ignore_errors=True)
            moved.append(path.rename(aside))
        except OSError as error:
            raise _refused(aside, error) from error
    return moved


def remove_all_except(root: Path, wanted: Iterable[Path]) -> None:
    """Remove every other checkpoint, and what an interrupted save left behind."""
    stay = set(wanted)
    for path in root.glob(f"{_STEP}*"):
        if path not in stay and step_of(path) is not None:
            shutil.rmtree(path, ignore_errors=True)

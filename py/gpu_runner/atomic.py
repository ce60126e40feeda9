"""Files and folders that appear whole or not at all, and take nobody else's place.

    .m.3f9ac02e.unfinished/  a folder under a name of its own. Its manifest.json is locked while its
                             writer lives. Files are written and flushed; then the manifest (name,
                             bytes, sha256 of each), then the directories are flushed
    m/                       the same folder renamed: it exists only complete; the parent is flushed

An older folder is replaced only if its manifest names exactly what is in it, so that all of it was
written here; both change names at once where the system can do that. A private one, of a run or a
cache, is replaced where files of it are missing or damaged, too. Only what this process has made is
removed, and what a process left unfinished that is dead: nobody holds its lock.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gpu_runner.errors import CheckpointError, SystemFailure
from gpu_runner.locks import try_lock, wait_for_lock
from unfrozen.plain import open_plain, read_json, require_plain
from unfrozen.units import format_bytes

MANIFEST: Final = "manifest.json"
MOST_MANIFEST_BYTES: Final = 64 * 1024 * 1024
UNFINISHED: Final = "unfinished"
REPLACED: Final = "replaced"  # complete, and on its way out
_TEMPORARY: Final = re.compile(rf"\.(.+)\.[0-9a-f]{{8}}\.({UNFINISHED}|{REPLACED})", re.DOTALL)
_AT_CWD: Final = -100
_SWAP: Final = 2


@dataclass(frozen=True, slots=True)
class Written:
    """A file that is flushed to disk, as its entry in a manifest."""

    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Saved:
    """A folder that is complete on disk; `sha256` is that of its manifest."""

    path: Path
    size_bytes: int
    sha256: str
    seconds: float = 0.0
    """Seconds that this process took to write its files; 0: not timed."""


def write_file(
    path: Path,
    content: str | Iterable[str],
    *,
    private: bool = False,
    mtime_ns: int | None = None,
) -> None:
    """Write a file whole, in place of a plain one.

    What is `private` only its owner can read. `mtime_ns` is set where a reader looks for a change;
    such a file is not flushed. Raises `OSError`: `NotPlain` for a link or a folder.
    """
    path = _place(path)
    _require_free(path, new=False)
    temporary, lock = _lock_new(path, private=private)
    try:
        with os.fdopen(lock, "w", encoding="utf-8", newline="") as file:
            file.writelines((content,) if isinstance(content, str) else content)
            file.flush()
            if mtime_ns is None:
                os.fsync(file.fileno())
            else:  # clocks of file systems tick every few milliseconds
                os.utime(temporary, ns=(mtime_ns, mtime_ns))
            if os.name == "nt":  # which renames nothing that is open
                file.close()
            temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if mtime_ns is None:
        _flush(path.parent)


@contextmanager
def new_files(*files: Path, new: bool = True) -> Iterator[list[Path]]:
    """Yield where a library can write these files of one folder; then all appear, or none.

    They replace no others if they should be `new`. Raises `OSError`: `FileExistsError` for one that
    is there and should be new, `NotPlain` for a link or a folder.
    """
    files = tuple(map(_place, files))
    files[0].parent.mkdir(parents=True, exist_ok=True)
    for file in files:
        _require_free(file, new=new)
    folder, lock = _lock_new_folder(files[0], private=True)
    done: list[Path] = []
    try:
        yield [folder / file.name for file in files]
        for file in files:
            _flush(folder / file.name)
        for file in files:
            _put(folder / file.name, file, new=new)
            done.append(file)
        _flush(files[0].parent)
    except BaseException:
        for file in done:
            file.unlink(missing_ok=True)
        raise
    finally:
        os.close(lock)
        shutil.rmtree(folder, ignore_errors=True)


def publish(
    final: Path, fill: Callable[[Path], None], *, private: bool = True, of: str = ""
) -> Saved:
    """Let `fill` write files into a folder, then make it appear as `final`; see `NewFolder`.

    Raises `SystemFailure` (disk full, no permission, a folder that is not replaced); nothing
    half-written stays.
    """
    folder = NewFolder(final, private=private, of=of)
    try:
        fill(folder.path)
        return folder.complete({})
    except BaseException as error:
        folder.discard()
        if is_write_error(error):
            raise write_failure(final, error) from error
        raise


class NewFolder:
    """A folder that is being written at `path`, and appears as `final` when it is complete.

    An older folder of that name must be empty, or have been written here and for the same `of`: the
    name of what it is made of. Unless it is `private`, it must be unchanged. Raises `SystemFailure`
    where it is another one, or none can be written.
    """

    def __init__(self, final: Path, *, private: bool = True, of: str = "") -> None:
        self._final, self._private, self._of = final, private, of
        check_replaceable(final, of, damaged=private)
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            self._place = _place(final)
            self.path, self._lock = _lock_new_folder(self._place, private=private)
        except OSError as error:
            raise write_failure(final, error) from error

    def complete(self, known: Mapping[str, Written]) -> Saved:
        """Seal what was written, and make it appear. Raises `OSError`, `SystemFailure`.

        Files that are `known` are flushed, with a checksum that need not be computed again.
        """
        size, digest = self._seal(known)
        older = self.path
        if os.path.lexists(self._place):
            check_replaceable(self._final, self._of, damaged=self._private)
            if not any(self._place.iterdir()):
                self.path.chmod(self._place.stat().st_mode & 0o7777)
            older = self._replace()
        else:
            self.path.rename(self._place)
        _flush(self._place.parent)
        os.close(self._lock)
        shutil.rmtree(older, ignore_errors=True)
        return Saved(self._final, size, digest)

    def _replace(self) -> Path:
        """Rename the older folder and this one; return where the older one is."""
        if _swap(self.path, self._place):
            return self.path
        aside = _temporary(self._place, REPLACED)
        self._place.rename(aside)
        try:
            self.path.rename(self._place)
        except BaseException:
            aside.rename(self._place)
            raise
        return aside

    def discard(self) -> None:
        """Remove what was written."""
        with suppress(OSError):
            os.close(self._lock)
        shutil.rmtree(self.path, ignore_errors=True)

    def _seal(self, known: Mapping[str, Written]) -> tuple[int, str]:
        """Flush every file, write the manifest, flush the directories from the inside out.

        Returns the total bytes and the sha256 of the manifest.
        """
        files: dict[str, dict[str, int | str]] = {}
        rights = os.fstat(self._lock).st_mode & 0o777  # those of a new file of this process
        inside = sorted(self.path.rglob("*"))
        for path in (p for p in inside if p.is_file() and p != self.path / MANIFEST):
            if not self._private:  # libraries write their own
                path.chmod(rights)
            name = path.relative_to(self.path).as_posix()
            if (written := known.get(name)) is None:
                _flush(path)
                written = Written(path.stat().st_size, _sha256(path))
            files[name] = {"bytes": written.size_bytes, "sha256": written.sha256}
        text = json.dumps(({"of": self._of} if self._of else {}) | {"files": files}, indent=1)
        with os.fdopen(os.dup(self._lock), "w", encoding="utf-8") as manifest:
            manifest.write(text)
        os.fsync(self._lock)
        for folder in (*reversed([p for p in inside if p.is_dir()]), self.path):
            _flush(folder)
        size = sum(int(entry["bytes"]) for entry in files.values())
        return size, hashlib.sha256(text.encode()).hexdigest()


def check_replaceable(final: Path, of: str = "", *, damaged: bool = False) -> None:
    """Refuse a place that a new folder must not take; see `NewFolder`. Raises `SystemFailure`.

    A folder that was written here may be `damaged`: it may lack files or have changed ones.
    """
    if not os.path.lexists(final):
        return
    try:
        if final.is_symlink():
            why = f"it is a link to {final.readlink()}"
        elif not final.is_dir():
            why = "it is a file"
        elif os.path.ismount(final) or final.resolve() in (Path.cwd(), *Path.cwd().parents):
            why = "it is mounted, or the working directory is in it"
        elif not any(final.iterdir()):
            return
        else:
            check_files(final, damaged=True) if damaged else verify(final)
            if (other := _manifest(final).get("of", of)) == of:
                return
            why = f"it is of {other}, not of {of}"
    except (OSError, CheckpointError) as error:
        why = str(error).rstrip(".")
    raise SystemFailure(
        f"{final} is there and is not replaced: {why}. Move it away, or give another name."
    )


def verify(path: Path) -> None:
    """Compare every file with the manifest; raises `CheckpointError` naming the first bad file."""
    check_files(path)
    for name, expected in _manifest(path)["files"].items():
        if _sha256(path / name) != expected["sha256"]:
            raise CheckpointError(
                f"{path / name} is not the file that was saved (its sha256 differs)."
            )


def check_files(path: Path, *, damaged: bool = False) -> None:
    """Compare names, kinds and sizes in a folder with its manifest. Raises `CheckpointError`.

    If it may be `damaged`, only names that are not in the manifest are refused.
    """
    files = _manifest(path)["files"]
    for name, expected in () if damaged else files.items():
        file = path / name
        if not file.is_file():
            raise CheckpointError(f"{path}: {name} is missing.")
        size = file.stat().st_size
        if size != expected["bytes"]:
            raise CheckpointError(f"{file} has {size:,} bytes, not {expected['bytes']:,}.")
    folders = {parent.as_posix() for name in files for parent in Path(name).parents}
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path).as_posix()
        known = folders if file.is_dir() and not file.is_symlink() else {*files, MANIFEST}
        if name not in known:
            raise CheckpointError(f"{file} is not in {MANIFEST}: it was not saved here.")


def remove_folder(path: Path, *, damaged: bool = False) -> bool:
    """Remove a folder that was written here; return whether it was: another one stays as it is.

    So does one with a file that has another size or is missing, unless it may be `damaged`.
    """
    aside = _temporary(path, UNFINISHED)
    try:
        check_files(path, damaged=damaged)
        path.rename(aside)
    except (OSError, CheckpointError):
        return False
    shutil.rmtree(aside, ignore_errors=True)
    return True


def remove_file(path: Path) -> None:
    """Remove a plain file of ours, if it is there. Raises `OSError`."""
    with suppress(FileNotFoundError):
        require_plain(path.lstat().st_mode)
        path.unlink()


def sweep(parent: Path, name: str = "") -> None:
    """Remove what dead processes have left unfinished in a folder, of `name` or of all names.

    A folder that was on its way out is put back where its successor never came.
    """
    for path in list(parent.iterdir()) if parent.is_dir() else ():
        made = _TEMPORARY.fullmatch(path.name)
        if made is None or name not in ("", made[1]):
            continue
        is_folder = path.is_dir() and not path.is_symlink()
        with suppress(OSError):  # its writer had made nothing more
            path.rmdir()
        with suppress(OSError), os.fdopen(_open_dead(path / MANIFEST if is_folder else path), "rb"):
            if made[2] == REPLACED and not os.path.lexists(parent / made[1]):
                path.rename(parent / made[1])
            elif is_folder:
                shutil.rmtree(path)
            else:
                path.unlink()


def write_failure(final: Path, error: BaseException, intact: str = "") -> SystemFailure:
    """Return the error for a `final` that the operating system did not let us write."""
    free = format_bytes(free_bytes(final))
    return SystemFailure(
        f"{final} could not be written ({error}); {free} are free there."
        f" Make room, or choose another --runs or --out.{intact}"
    )


def is_write_error(error: BaseException) -> bool:
    """Return whether the system refused to write; safetensors has an error of its own for that."""
    return isinstance(error, OSError) or type(error).__name__ == "SafetensorError"


def free_bytes(final: Path) -> int:
    """Return how many bytes are free where `final` is or will be."""
    there = next((place for place in final.absolute().parents if place.exists()), Path.cwd())
    return shutil.disk_usage(there).free


def _manifest(path: Path) -> dict[str, Any]:
    """Return the manifest of a folder, checked; raises `CheckpointError` for anything else."""
    try:
        found = read_json(path / MANIFEST, MOST_MANIFEST_BYTES)
        if not found["files"] or not all(
            {"bytes", "sha256"} <= entry.keys() and {"..", "/"}.isdisjoint(Path(name).parts)
            for name, entry in found["files"].items()
        ):
            raise ValueError("it names no files, or names them wrongly")
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: no readable {MANIFEST} ({error}).") from None
    return dict(found)


def _place(path: Path) -> Path:
    """Return an absolute path whose last part has a name, unlike "." and "..", and is no link."""
    return path.resolve() if path.name in ("", "..") else path.parent.resolve() / path.name


def _require_free(path: Path, *, new: bool) -> None:
    """Raise `FileExistsError` or `NotPlain` where a file must not be written."""
    with suppress(FileNotFoundError):
        require_plain(path.lstat().st_mode)
        if new:
            raise FileExistsError(errno.EEXIST, "it exists already: give another name", str(path))


def _put(temporary: Path, path: Path, *, new: bool) -> None:
    """Give a finished file its name; a `new` one takes no other's."""
    if not new:
        temporary.replace(path)
        return
    try:
        path.hardlink_to(temporary)
        temporary.unlink()
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        _require_free(path, new=new)
        temporary.rename(path)


def _temporary(final: Path, kind: str) -> Path:
    return final.with_name(f".{final.name}.{secrets.token_hex(4)}.{kind}")


def _lock_new(final: Path, *, private: bool, inside: str = "") -> tuple[Path, int]:
    """Make a temporary file for `final`, or one inside of a new folder; hold its lock.

    Returns the path of file or folder, and a descriptor of the file: whoever can lock it knows that
    its writer is dead.
    """
    sweep(final.parent, final.name)
    while True:
        path = _temporary(final, UNFINISHED)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
        if inside:
            path.mkdir(mode=0o700 if private else 0o777)
        try:
            lock = os.open(path / inside, flags, 0o600 if private else 0o666)
        except FileNotFoundError:
            if inside:  # somebody took it for a dead one's before there was a lock
                continue
            raise
        wait_for_lock(lock)
        if os.fstat(lock).st_nlink:
            return path, lock
        os.close(lock)  # … before it was locked


def _lock_new_folder(final: Path, *, private: bool) -> tuple[Path, int]:
    return _lock_new(final, private=private, inside=MANIFEST)


def _open_dead(path: Path) -> int:
    """Return a descriptor of a plain file, locked. Raises `OSError` where another holds it."""
    lock = open_plain(path, os.O_RDWR)
    if not try_lock(lock):
        os.close(lock)
        raise BlockingIOError(errno.EAGAIN, "another process holds it", str(path))
    return lock


def _swap(one: Path, two: Path) -> bool:
    """Let two folders change names at once; return whether the system has done it."""
    if not (sys.platform == "linux" and hasattr(system := ctypes.CDLL(None), "renameat2")):
        return False
    ends = _AT_CWD, os.fsencode(one), _AT_CWD, os.fsencode(two), _SWAP
    return bool(system.renameat2(*ends) == 0)


def _flush(path: Path) -> None:
    if os.name == "nt":  # which opens no folder, and flushes nothing that is open for reading
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""What a person adds to a run: tags, a note, whether it is archived; and the trash.

    {"v":1,"tags":["rates"],"note":"Forgets least so far.","archived":false}

It is `notes.json` in the folder of the run, so that a copied folder keeps it, whatever trained the
run. A change says what each field was: where another page or program has changed the field since,
it is refused and nothing is lost. Other fields may be changed at the same time.

A run that is deleted moves, as it is, to `.trash/WHEN/` in the folder of runs, and back when that
is undone. Only `unfrozen runs --empty-trash` frees the space.
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from gpu_runner.errors import RunnerError
from gpu_runner.log.commands import locked, write_private
from gpu_runner.log.tail import LOG_NAME, writer_alive
from gpu_runner.plain import read_whole
from unfrozen.events import LIVE_STATUSES
from unfrozen.schema import NOTES, read_file
from unfrozen.schema.files import MOST_NOTES_BYTES

NAME: Final = "notes.json"
TRASH: Final = ".trash"
_WHEN: Final = re.compile(r"\d{8}-\d{6}-[0-9a-f]{4}")


@dataclass(frozen=True, slots=True)
class Notes:
    """What somebody noted about a run."""

    tags: tuple[str, ...] = ()
    note: str = ""
    archived: bool = False


class NotesConflict(RunnerError):
    """Somebody else changed it since, or what is wanted is in the way of something."""


class NoSuchRun(RunnerError):
    """There is no deleted run of that name."""


def read_notes(folder: Path) -> Notes:
    """Return the notes of the run in `folder`. Raises `OSError` or `ValueError` for a bad file."""
    try:
        data = read_whole(folder / NAME, MOST_NOTES_BYTES)
    except FileNotFoundError:
        return Notes()
    found = read_file(NOTES, data, NAME)
    if found.problem:
        raise ValueError(found.problem)
    return Notes(tuple(found.value["tags"]), found.value["note"], found.value["archived"])


def change_notes(folder: Path, was: dict[str, Any], now: dict[str, Any]) -> Notes:
    """Write the fields of `now`, if they still are what they were; return all of the notes.

    Raises `NotesConflict` where they are not, or where the file cannot be read; else `OSError`.
    """
    if was.keys() != now.keys() or not now:
        raise NotesConflict("a change names the same fields in was and now, at least one")
    with locked(folder):
        try:
            before = read_notes(folder)
        except ValueError as error:
            raise NotesConflict(f"{error}: mend {NAME} in the folder of the run") from None
        old = json.loads(json.dumps(asdict(before)))
        for name, value in was.items():
            if old[name] != value:
                told = json.dumps(old[name], ensure_ascii=False)
                raise NotesConflict(f"somebody else has changed its {name}, to {told[:200]}")
        after = replace(before, **now | ({"tags": tuple(now["tags"])} if "tags" in now else {}))
        text = json.dumps({"v": 1, **asdict(after)}, ensure_ascii=False)
        write_private(folder / NAME, f"{text}\n")
    return after


@dataclass(frozen=True, slots=True)
class Deleted:
    """A run in the trash: `key` names it there."""

    key: str
    id: str
    bytes: int


def delete_run(folder: Path, status: str) -> Deleted:
    """Move a run to the trash. Raises `NotesConflict` for a live one, or `OSError`."""
    if status in LIVE_STATUSES or writer_alive(folder / LOG_NAME):
        raise NotesConflict(f"run {folder.name} is {status}: stop it before you delete it")
    when = time.strftime("%Y%m%d-%H%M%S")
    place = _trash(folder.parent) / f"{when}-{secrets.token_hex(2)}"
    place.mkdir(mode=0o700, parents=True)
    try:
        folder.rename(place / folder.name)
    except OSError:
        place.rmdir()
        raise
    return Deleted(place.name, folder.name, _size(place))


def deleted_runs(root: Path) -> list[Deleted]:
    """Return the runs in the trash, the last one deleted first."""
    try:
        keys = sorted((p for p in _trash(root).iterdir() if _WHEN.fullmatch(p.name)), reverse=True)
    except OSError:
        return []
    return [Deleted(key.name, run.name, _size(run)) for key in keys for run in _folders(key)]


def restore_run(root: Path, key: str) -> Deleted:
    """Move a run back out of the trash. Raises `NoSuchRun`, `NotesConflict` or `OSError`."""
    found = next((each for each in deleted_runs(root) if each.key == key), None)
    if found is None:
        raise NoSuchRun(f"there is no deleted run {key[:40]!r}: the trash was emptied")
    if os.path.lexists(root / found.id):
        raise NotesConflict(f"there is another run {found.id} by now: rename its folder first")
    place = _trash(root) / key
    (place / found.id).rename(root / found.id)
    place.rmdir()
    return found


def empty_trash(root: Path) -> list[Deleted]:
    """Delete for good what is in the trash; return what was. Raises `OSError`."""
    found = deleted_runs(root)
    for each in found:
        shutil.rmtree(_trash(root) / each.key)
    return found


def _trash(root: Path) -> Path:
    """Return the folder of deleted runs. Raises `OSError` for a link, which leads elsewhere."""
    place = root / TRASH
    if place.is_symlink():
        raise NotADirectoryError(errno.ENOTDIR, f"{TRASH} is a link")
    return place


def _folders(place: Path) -> Iterator[Path]:
    with os.scandir(place) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield place / entry.name


def _size(place: Path) -> int:
    """Return the bytes of all files below `place`."""
    files = (Path(folder) / name for folder, _, names in os.walk(place) for name in names)
    return sum(found.st_size for path in files if stat.S_ISREG((found := path.lstat()).st_mode))

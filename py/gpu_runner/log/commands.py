"""Commands to a run: one small file in its directory, written by `serve`, read by the run.

    {"v":1,"run":"2026…","att":0,"seq":1764101523417000,"paused":true,"save":0,"look":0,"stop":false}

It holds the wanted state, not the next action: a command that comes before the last one was read
adds to it or takes it back, and none is lost. `seq` grows with every command, over all attempts;
`save` is the `seq` of the newest command to save a checkpoint, `look` of the newest to evaluate.
The file is replaced whole, so a reader sees the old one or the new one. A run obeys only what names
it and its attempt: commands to an earlier attempt are void. Any other file is ignored, with one
warning. It is a file because a signal carries no arguments, torchrun forwards only some signals, a
process id in a log may belong to another process by now, and a trainer should open no port.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Final, Literal, get_args

from gpu_runner.atomic import write_file
from gpu_runner.locks import wait_for_lock
from unfrozen.plain import read_whole
from unfrozen.schema import COMMANDS as COMMANDS_FILE
from unfrozen.schema import read_file

NAME: Final = "commands.json"
VERSION: Final = 1
MAX_BYTES: Final = 4096
LOCK_SECONDS: Final = 2.0

Command = Literal["pause", "resume", "checkpoint", "evaluate", "stop", "ask"]
COMMANDS: Final[tuple[Command, ...]] = get_args(Command)[:-1]
"""The commands that say everything by themselves; a question has a file of its own."""


class CommandFileError(Exception):
    """A file that we did not write, or that others than its owner can write."""


@dataclass(frozen=True, slots=True)
class Commands:
    """The wanted state of one attempt of a run."""

    seq: int = 0
    """The number of the newest command, at least Unix microseconds: it grows if a file is lost."""
    paused: bool = False
    save: int = 0
    """The `seq` of the newest command to save a checkpoint; 0 for none."""
    stop: bool = False
    look: int = 0
    """The `seq` of the newest command to evaluate; 0 for none."""
    ask: int = 0
    """The `seq` of the newest question; 0 for none. It lies in a file of its own."""

    def after(self, command: Command, seq: int) -> Commands:
        """Return the wanted state once `command` is added."""
        if command == "checkpoint":
            return replace(self, seq=seq, save=seq)
        if command == "evaluate":
            return replace(self, seq=seq, look=seq)
        if command == "ask":
            return replace(self, seq=seq, ask=seq)
        if command == "stop":
            return replace(self, seq=seq, stop=True)
        return replace(self, seq=seq, paused=command == "pause")


class CommandReader:
    """The run's side: finds out with one `stat` whether there is a new command."""

    def __init__(self, directory: Path, run: str, attempt: int) -> None:
        self.problem = ""
        """Why the newest file was ignored; "" when it was not."""
        self.directory = directory
        self.run = run
        self.attempt = attempt
        self._path = directory / NAME
        self._seen: tuple[int, int, int] | None = None
        self._wanted = Commands()

    def read(self) -> Commands:
        """Return the wanted state. Never raises: a file that cannot be obeyed changes nothing."""
        try:
            found = self._path.stat(follow_symlinks=False)
        except OSError:  # no command yet, or the file was removed: continue
            before = self._wanted
            self._seen, self._wanted = (
                None,
                Commands(before.seq, save=before.save, look=before.look, ask=before.ask),
            )
            return self._wanted
        sign = (found.st_ino, found.st_mtime_ns, found.st_size)
        if sign != self._seen:
            self._seen, self.problem = sign, ""
            self._take()
        return self._wanted

    def _take(self) -> None:
        try:
            data = _read(self._path)
            wanted = _parse(data, self.run, self.attempt)
        except (OSError, CommandFileError) as error:
            self.problem = f"{self._path} is ignored: {error}"
            return
        if wanted is not None:
            self._wanted = wanted


def post_command(
    directory: Path,
    run: str,
    attempt: int,
    command: Command,
    beside: Callable[[int], None] = lambda _: None,
) -> Commands:
    """The server's side: add `command` for `attempt` of `run`; return the state now wanted.

    `beside` writes what belongs to it, given its `seq`, before the run can read it. Raises
    `OSError` where the file cannot be written. A file that is not ours is replaced; a link, a pipe
    and a folder are not.
    """
    path = directory / NAME
    with locked(directory):
        try:
            data = _read(path)
            newest, before = int(data["seq"]), _parse(data, run, attempt)
        except (OSError, CommandFileError):
            newest, before = 0, None
        seq = max(newest + 1, time.time_ns() // 1000)
        wanted = (before or Commands()).after(command, seq)
        head = {"v": VERSION, "run": run, "att": attempt}
        beside(seq)
        text = json.dumps(head | asdict(wanted)) + "\n"
        write_file(path, text, private=True, mtime_ns=seq * 1000)
    return wanted


def _read(path: Path) -> dict[str, Any]:
    """Return the object in the file. Raises `OSError`, or `CommandFileError` for anything else."""
    try:
        text = read_whole(path, MAX_BYTES, own=True)
    except PermissionError as error:
        raise CommandFileError(str(error.strerror)) from None
    verdict = read_file(COMMANDS_FILE, text)
    if verdict.problem:
        raise CommandFileError(verdict.problem)
    return dict(verdict.value)


def _parse(data: dict[str, Any], run: str, attempt: int) -> Commands | None:
    """Return the wanted state; None when it is that of an earlier attempt.

    Raises `CommandFileError` for another run's file, and for another version of it.
    """
    if data["v"] != VERSION or data["run"] != run:
        raise CommandFileError(f"it is version {data['v']} for run {data['run'][:80]!r}")
    if data["att"] != attempt:
        return None
    return Commands(**{field.name: data[field.name] for field in fields(Commands)})


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold a lock on a directory, also among several servers; without effect where it has none.

    Raises `OSError` when another process holds it for longer than any of ours would.
    """
    if os.name == "nt":  # which opens no folder: one server is the normal case
        yield
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        if wait_for_lock(descriptor, LOCK_SECONDS) is False:
            raise OSError(errno.EBUSY, "another process keeps it locked")
        yield
    finally:
        os.close(descriptor)

"""Runs that the page starts: a process of its own, which the end of the server does not end.

    runs/started.json    which process, of which recipe or run, since when
         started.txt     what it prints; a start that failed is told from its last lines

One at a time, also after a restart of the server: the file remembers the process; the moment it was
born and its command line tell it from another that got its number.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import psutil

from gpu_runner.errors import RunnerError
from gpu_runner.log.mailbox import alone, write_private
from gpu_runner.log.runs import RunIndex
from gpu_runner.plain import open_plain, read_plain, read_whole
from gpu_runner.serve.recipes import RunRecipe
from gpu_runner.text import printable
from unfrozen.schema import STARTED, read_file

STATE: Final = "started.json"
OUTPUT: Final = "started.txt"
VERBS: Final = ("train", "resume")
READ_BYTES: Final = 64 * 1024
LAST_LINES: Final = 12
CANCEL_SECONDS: Final = 5.0  # that a process has to end by itself
NAMED: Final = re.compile(r"This is run (\S+?)\.(?:\s|$)")


class Busy(RunnerError):
    """The run that was started last is still going on."""


class TooLate(RunnerError):
    """There is no start any more that could be cancelled."""


class Launcher:
    """Starts runs in `runs`, and knows how the last start went."""

    def __init__(self, runs: Path, index: RunIndex, secret_names: tuple[str, ...]) -> None:
        self._runs = runs.absolute()
        self._index = index
        self._secret_names = secret_names  # of environment variables that a run has no use for
        self._child: subprocess.Popen[bytes] | None = None

    def start(self, recipe: RunRecipe, numbers: Mapping[str, float]) -> dict[str, Any]:
        """Start `recipe` and return `state()`; does not wait for its first step.

        Raises `UsageError` for numbers that cannot be, `Busy` while an earlier one goes on,
        `OSError` where no process can be started or no file be written.
        """
        recipe.configured(numbers)
        return self._start(recipe.name, "train", recipe.arguments(numbers))

    def resume(self, run: Path) -> dict[str, Any]:
        """Go on with a run that ended before its last step. Raises like `start`."""
        return self._start(run.name, "resume", ["--", str(run.absolute())])

    def cancel(self, name: str) -> None:
        """End the start of `name` while it still loads; afterwards it is as if it had not been.

        Raises `TooLate` when it has come to its run, has ended, or was not the last one.
        """
        last = self._last()
        if last is None or last["name"] != name:
            raise TooLate(f"{name[:40]!r} is not what was started last: there is nothing to cancel")
        with alone(self._runs):
            if not self._alive(last):
                raise TooLate(f"{name} has ended by itself: there is nothing to cancel")
            if self._run() is not None:
                raise TooLate(f"{name} has begun its run: stop that instead")
            if process := self._process(last):
                with suppress(psutil.NoSuchProcess):  # it has just ended by itself
                    process.terminate()
                    try:
                        process.wait(CANCEL_SECONDS)
                    except psutil.TimeoutExpired:
                        process.kill()
            self._child = None
            (self._runs / STATE).unlink()

    def _start(self, name: str, verb: str, words: list[str]) -> dict[str, Any]:
        self._runs.mkdir(mode=0o700, parents=True, exist_ok=True)
        with alone(self._runs):
            last = self._last()
            if last is not None and self._alive(last):
                since = time.strftime("%H:%M", time.localtime(last["at"]))
                raise Busy(
                    f"{last['name']}, started at {since}, still runs (process {last['pid']}):"
                    " stop it first, or wait for its end. One run is started from here at a time."
                )
            self._child = self._begin(verb, words)
            state = {
                "name": name,
                "pid": self._child.pid,
                "born": psutil.Process(self._child.pid).create_time(),
                "at": time.time(),
            }
            write_private(self._runs / STATE, json.dumps(state) + "\n")
        return self.state() or {}

    def state(self) -> dict[str, Any] | None:
        """How the last start stands; None when nothing was ever started here.

        `run` is the id of its run, None before there is one; `code` its exit code, where known;
        `lines` its last words, once it ended without a run.
        """
        last = self._last()
        if last is None:
            return None
        alive = self._alive(last)
        run = self._run()
        code = self._child.poll() if self._child and self._child.pid == last["pid"] else None
        return {
            "name": last["name"],
            "at": last["at"],
            "alive": alive,
            "run": run,
            "code": code,
            "lines": [] if alive or run else self._last_lines(),
        }

    def is_of(self, run: str) -> bool:
        """Whether the last start has come to this run, and goes on."""
        last = self._last()
        return last is not None and self._run() == run and self._alive(last)

    def _begin(self, verb: str, words: list[str]) -> subprocess.Popen[bytes]:
        command = [sys.executable, *self._words(verb), *words]
        kept = {k: value for k, value in os.environ.items() if k not in self._secret_names}
        output = open_plain(self._runs / OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            return subprocess.Popen(
                command,
                env={**kept, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C on the server is not for it
            )
        finally:
            os.close(output)

    def _last(self) -> dict[str, Any] | None:
        """The last start, as remembered; None too when the file is none of ours."""
        try:
            verdict = read_file(STARTED, read_whole(self._runs / STATE, READ_BYTES))
        except OSError:
            return None
        return dict(verdict.value) if verdict.value else None

    def _alive(self, last: dict[str, Any]) -> bool:
        if self._child is not None and self._child.pid == last["pid"]:
            return self._child.poll() is None
        return self._process(last) is not None

    def _process(self, last: dict[str, Any]) -> psutil.Process | None:
        """The process that was started, if it still runs.

        The file that remembers it can be edited, and numbers are given out again. So it is known by
        its number, the moment of its birth, and a command line that only this launcher writes.
        """
        try:
            process = psutil.Process(last["pid"])
            born_then = abs(process.create_time() - last["born"]) < 1
            ended = process.status() == psutil.STATUS_ZOMBIE
            ours = process.cmdline()[1:5] in [self._words(verb) for verb in VERBS]
        except (psutil.Error, OSError, ValueError, OverflowError):
            return None
        return process if born_then and ours and not ended else None

    def _words(self, verb: str) -> list[str]:
        """How every command line of ours begins, after the interpreter."""
        return ["-m", "gpu_runner", verb, f"--runs={self._runs}"]

    def _run(self) -> str | None:
        """The id of the run that the output names, once the run is in the list."""
        try:
            said = read_plain(self._runs / OUTPUT, READ_BYTES).decode("utf-8", "replace")
        except OSError:
            return None
        found = NAMED.search(said)
        return found[1] if found and self._index.log(found[1]) else None

    def _last_lines(self) -> list[str]:
        path = self._runs / OUTPUT
        try:
            start = max(0, path.lstat().st_size - READ_BYTES // 8)
            text = read_plain(path, READ_BYTES, start).decode("utf-8", "replace")
        except OSError:
            return []
        lines = printable(text.replace("\r", "\n")).splitlines()
        return [line[:500] for line in lines if line.strip()][-LAST_LINES:]

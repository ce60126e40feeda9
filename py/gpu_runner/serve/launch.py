"""Runs that the page resumes or blends, and the processes that do it.

    runs/started.json    which process, of which run, since when
         started.txt     what it prints; its last lines tell why a launch failed

A launch is a process of its own, which the end of the server does not end. One goes on at a time,
also after a restart of the server: the file remembers the process; the moment it was born and its
command line tell it from another process that got its number.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import psutil

from gpu_runner.atomic import remove_file, write_file
from gpu_runner.errors import RunnerError
from gpu_runner.log.commands import locked
from gpu_runner.log.runs import RunIndex
from gpu_runner.log.tail import writer_alive
from gpu_runner.text import printable
from unfrozen.plain import open_plain, read_plain, read_whole
from unfrozen.schema import STARTED, read_file

STATE: Final = "started.json"
OUTPUT: Final = "started.txt"
BLEND: Final = "blend"
VERBS: Final = ("resume", BLEND)
READ_BYTES: Final = 64 * 1024
LAST_LINES: Final = 12
CANCEL_SECONDS: Final = 5.0  # that a process has to end by itself


class NotNow(RunnerError):
    """The last launch still runs, or is none any more that could be cancelled."""


class Launcher:
    """Resumes and blends runs in `runs`, and knows how the last launch went."""

    def __init__(self, runs: Path, index: RunIndex, secret_names: tuple[str, ...]) -> None:
        self._runs = runs.absolute()
        self._index = index
        self._secret_names = secret_names  # of environment variables that a run has no use for
        self._child: subprocess.Popen[bytes] | None = None

    def cancel(self, name: str) -> None:
        """End the launch of `name` while it still loads, and forget it.

        Raises `NotNow` when its run has begun, when it has ended, or was not the last one.
        """
        last = self._last()
        if last is None or last["name"] != name:
            raise NotNow(f"{name[:40]!r} was not launched last: there is nothing to cancel")
        with locked(self._runs):
            if not self._alive(last):
                raise NotNow(f"{name} has ended by itself: there is nothing to cancel")
            if self._begun_run(last) is not None:
                raise NotNow(f"the run of {name} has begun: stop it instead")
            if process := self._process(last):
                with suppress(psutil.NoSuchProcess):  # it has just ended by itself
                    process.terminate()
                    try:
                        process.wait(CANCEL_SECONDS)
                    except psutil.TimeoutExpired:
                        process.kill()
                        process.wait(CANCEL_SECONDS)
            self._child = None
            remove_file(self._runs / STATE)

    def launch(self, run: Path, verb: str) -> dict[str, Any]:
        """Launch one of `VERBS` for a run that does not train, and return `state()`.

        Raises `NotNow` while an earlier launch goes on, `OSError` where no process can be started
        or no file be written.
        """
        with locked(self._runs):
            last = self._last()
            if last is not None and self._alive(last):
                since = time.strftime("%H:%M", time.localtime(last["at"]))
                raise NotNow(
                    f"{last['name']}, launched at {since}, still runs (process {last['pid']}): stop"
                    " it first, or wait until it ends. One run is launched from here at a time."
                )
            log = self._index.log(run.name)
            logged = 0 if log is None else log.lstat().st_size  # by earlier attempts
            self._child = self._spawn(run, verb)
            state = {
                "name": run.name,
                "verb": verb,
                "run": run.name,
                "logged": logged,
                "pid": self._child.pid,
                "born": psutil.Process(self._child.pid).create_time(),
                "at": time.time(),
            }
            write_file(self._runs / STATE, json.dumps(state) + "\n", private=True)
        return self.state() or {}

    def state(self) -> dict[str, Any] | None:
        """Return how the last launch stands; None when nothing was ever launched here.

        `run` is the id of its run once that has begun, else None; `lines` its last lines, once it
        ended without a run.
        """
        last = self._last()
        if last is None:
            return None
        alive = self._alive(last)
        run = self._begun_run(last)
        return {
            "name": last["name"],
            "verb": last["verb"],
            "at": last["at"],
            "alive": alive,
            "run": run,
            "lines": [] if alive or run else self._last_lines(),
        }

    def _spawn(self, run: Path, verb: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, *self._command(verb), "--", str(run.absolute())]
        inherited = {k: value for k, value in os.environ.items() if k not in self._secret_names}
        output = open_plain(self._runs / OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            return subprocess.Popen(
                command,
                env={**inherited, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C on the server is not for it
            )
        finally:
            os.close(output)

    def _last(self) -> dict[str, Any] | None:
        """Return the last launch as the file remembers it; None if the file is not ours."""
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
        """Return the process that was launched, if it still runs.

        The file that remembers it can be edited, and process ids are used again. So it is known by
        its id, the moment of its birth, and a command line that only this launcher writes.
        """
        try:
            process = psutil.Process(last["pid"])
            born_then = abs(process.create_time() - last["born"]) < 1
            ended = process.status() == psutil.STATUS_ZOMBIE
            ours = process.cmdline()[1:5] in [self._command(verb) for verb in VERBS]
        except (psutil.Error, OSError, ValueError, OverflowError):
            return None
        return process if born_then and ours and not ended else None

    def _command(self, verb: str) -> list[str]:
        """Return how every command line of ours begins, after the interpreter."""
        return ["-m", "gpu_runner", verb, f"--runs={self._runs}"]

    def _begun_run(self, last: dict[str, Any]) -> str | None:
        """Return the id of the run of a launch, once it has opened its log."""
        run: str = last["run"]
        log = self._index.log(run)
        if log is None:
            return None
        grown = log.lstat().st_size != last["logged"]
        return run if grown or writer_alive(log) else None

    def _last_lines(self) -> list[str]:
        path = self._runs / OUTPUT
        try:
            start = max(0, path.lstat().st_size - READ_BYTES // 8)
            text = read_plain(path, READ_BYTES, start).decode("utf-8", "replace")
        except OSError:
            return []
        lines = printable(text.replace("\r", "\n")).splitlines()
        return [line[:500] for line in lines if line.strip()][-LAST_LINES:]

"""Runs that the page launches: recipes by name, and the processes they become.

A recipe is the demo, or a `run.toml` in the folder that `serve --recipes` names; its name is the
stem of that file. Names come from listing the folder, and a requested one is looked up among them.
What a page may change are the numbers below: never a path, a model, or a text.

    runs/started.json    which process, of which recipe and run, since when
         started.txt     what it prints; its last lines tell why a launch failed

A run is a process of its own, which the end of the server does not end. The launcher chooses the
run's id and passes it to the process. One run is launched at a time, also after a restart of the
server: the file remembers the process; the moment it was born and its command line tell it from
another process that got its number.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from gpu_runner.atomic import remove_file, write_file
from gpu_runner.config.bounds import format_bound
from gpu_runner.config.load import parse_toml, resolve
from gpu_runner.config.schema import DEMO, RANGES, TrainConfig
from gpu_runner.errors import RunnerError, UsageError
from gpu_runner.log.commands import locked
from gpu_runner.log.runs import RUN_ID_ENV, RunIndex, new_run_id
from gpu_runner.log.tail import writer_alive
from gpu_runner.text import printable
from unfrozen.plain import open_plain, read_plain, read_whole
from unfrozen.schema import STARTED, read_file

NUMBERS: Final = (
    "steps",
    "lr",
    "warmup",
    "micro_batch",
    "grad_accum",
    "seq_len",
    "seed",
    "eval_every",
    "save_every",
)
SUFFIX: Final = ".toml"
MOST_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class RunRecipe:
    """A run that can be launched by name: the demo, or the settings of a file."""

    name: str
    file: Path | None = None

    def configured(self, numbers: Mapping[str, float]) -> TrainConfig:
        """Return its settings with these numbers. Raises `RunnerError` with the bound."""
        for name, value in numbers.items():
            _check(name, value)
        return resolve({**self._choices(), **numbers})

    def _choices(self) -> dict[str, Any]:
        if self.file is None:
            return {"model": DEMO}
        if self.name != self.file.stem:
            raise UsageError("its name has characters that a page cannot show: rename the file.")
        try:
            text = read_whole(self.file, MOST_BYTES)
        except OSError as error:
            raise UsageError(f"it cannot be read ({error.strerror}).") from None
        return parse_toml(text, self.file.name)

    def arguments(self, numbers: Mapping[str, float]) -> list[str]:
        """Return its arguments for `train`; to be called with numbers that were checked."""
        source = f"--model={DEMO}" if self.file is None else f"--config={self.file}"
        return [source] + [
            f"--{name.replace('_', '-')}={value!r}" for name, value in numbers.items()
        ]

    def described(self) -> dict[str, Any]:
        """Return what the page shows: its numbers with bounds, or why it cannot be launched."""
        try:
            config = self.configured({})
        except RunnerError as error:
            return {"name": self.name, "problem": printable(str(error)), "numbers": {}}
        numbers = {name: _number(name, getattr(config, name)) for name in NUMBERS}
        return {"name": self.name, "problem": "", "numbers": numbers}


class RecipeIndex:
    """Lists its folder each time it is asked. Raises `UsageError` for what is no folder."""

    def __init__(self, folder: Path | None) -> None:
        if folder is not None and not folder.is_dir():
            raise UsageError(
                f"--recipes {folder} is not a folder: give one with *.toml files in it."
            )
        self._folder = folder

    def all(self) -> dict[str, RunRecipe]:
        """Return every recipe by its name, the demo first; a demo.toml does not replace it."""
        found = {DEMO: RunRecipe(DEMO)}
        if self._folder is None:
            return found
        try:
            with os.scandir(self._folder) as entries:
                files = [entry for entry in entries if entry.is_file(follow_symlinks=False)]
        except OSError:  # the folder was removed, and its recipes with it
            return found
        for path in sorted(Path(entry.path) for entry in files):
            if path.suffix == SUFFIX and not path.name.startswith("."):
                name = printable(path.stem)
                found.setdefault(name, RunRecipe(name, path.absolute()))
        return found


def _check(name: str, value: object) -> None:
    """Refuse what is no number, or out of its bounds. Raises `UsageError`."""
    if name not in NUMBERS:
        raise UsageError(f"{name[:40]!r} cannot be set from here: {', '.join(NUMBERS)} can.")
    low, high = RANGES[name]
    whole = isinstance(low, int)
    kinds = (int,) if whole else (int, float)
    if not (isinstance(value, kinds) and not isinstance(value, bool) and low <= value <= high):
        kind = "a whole number" if whole else "a number"
        raise UsageError(
            f"{name} is {str(value)[:40]}: give {kind} from {format_bound(low)} to"
            f" {format_bound(high)}."
        )


def _number(name: str, value: float | None) -> dict[str, Any]:
    low, high = RANGES[name]
    return {"value": value, "low": low, "high": high, "whole": isinstance(low, int)}


STATE: Final = "started.json"
OUTPUT: Final = "started.txt"
BLEND: Final = "blend"
VERBS: Final = ("train", "resume", BLEND)
READ_BYTES: Final = 64 * 1024
LAST_LINES: Final = 12
CANCEL_SECONDS: Final = 5.0  # that a process has to end by itself


class Busy(RunnerError):
    """The run that was launched last still runs."""


class TooLate(RunnerError):
    """There is no launch any more that could be cancelled."""


class Launcher:
    """Launches runs in `runs`, and knows how the last launch went."""

    def __init__(self, runs: Path, index: RunIndex, secret_names: tuple[str, ...]) -> None:
        self._runs = runs.absolute()
        self._index = index
        self._secret_names = secret_names  # of environment variables that a run has no use for
        self._child: subprocess.Popen[bytes] | None = None

    def start(self, recipe: RunRecipe, numbers: Mapping[str, float]) -> dict[str, Any]:
        """Launch `recipe` and return `state()`; does not wait for its first step.

        Raises `UsageError` for numbers out of bounds, `Busy` while an earlier run goes on,
        `OSError` where no process can be started or no file be written.
        """
        recipe.configured(numbers)
        return self._launch(recipe.name, new_run_id(), "train", recipe.arguments(numbers))

    def resume(self, run: Path) -> dict[str, Any]:
        """Launch a run again that ended before its last step. Raises like `start`."""
        return self._launch(run.name, run.name, "resume", ["--", str(run.absolute())])

    def blend(self, run: Path) -> dict[str, Any]:
        """Launch `blend` for a run that has ended; it has begun once its log has the curve."""
        return self._launch(run.name, run.name, BLEND, ["--", str(run.absolute())])

    def cancel(self, name: str) -> None:
        """End the launch of `name` while it still loads, and forget it.

        Raises `TooLate` when its run has begun, when it has ended, or was not the last one.
        """
        last = self._last()
        if last is None or last["name"] != name:
            raise TooLate(f"{name[:40]!r} was not launched last: there is nothing to cancel")
        with locked(self._runs):
            if not self._alive(last):
                raise TooLate(f"{name} has ended by itself: there is nothing to cancel")
            if self._begun_run(last) is not None:
                raise TooLate(f"the run of {name} has begun: stop it instead")
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

    def _launch(self, name: str, run: str, verb: str, arguments: list[str]) -> dict[str, Any]:
        self._runs.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(self._runs):
            last = self._last()
            if last is not None and self._alive(last):
                since = time.strftime("%H:%M", time.localtime(last["at"]))
                raise Busy(
                    f"{last['name']}, launched at {since}, still runs (process {last['pid']}): stop"
                    " it first, or wait until it ends. One run is launched from here at a time."
                )
            log = self._index.log(run)
            logged = 0 if log is None else log.lstat().st_size  # by earlier attempts
            self._child = self._spawn(run, verb, arguments)
            state = {
                "name": name,
                "verb": verb,
                "run": run,
                "logged": logged,
                "pid": self._child.pid,
                "born": psutil.Process(self._child.pid).create_time(),
                "at": time.time(),
            }
            write_file(self._runs / STATE, json.dumps(state) + "\n", private=True)
        return self.state() or {}

    def state(self) -> dict[str, Any] | None:
        """Return how the last launch stands; None when nothing was ever launched here.

        `run` is the id of its run once that has begun, else None; `code` its exit code, where
        known; `lines` its last lines, once it ended without a run.
        """
        last = self._last()
        if last is None:
            return None
        alive = self._alive(last)
        run = self._begun_run(last)
        code = self._child.poll() if self._child and self._child.pid == last["pid"] else None
        return {
            "name": last["name"],
            "verb": last["verb"],
            "at": last["at"],
            "alive": alive,
            "run": run,
            "code": code,
            "lines": [] if alive or run else self._last_lines(),
        }

    def is_of(self, run: str) -> bool:
        """Return whether the last launch has begun this run, and still runs."""
        last = self._last()
        return last is not None and self._begun_run(last) == run and self._alive(last)

    def _spawn(self, run: str, verb: str, arguments: list[str]) -> subprocess.Popen[bytes]:
        command = [sys.executable, *self._command(verb), *arguments]
        inherited = {k: value for k, value in os.environ.items() if k not in self._secret_names}
        output = open_plain(self._runs / OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            return subprocess.Popen(
                command,
                env={**inherited, "PYTHONUNBUFFERED": "1", RUN_ID_ENV: run},
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

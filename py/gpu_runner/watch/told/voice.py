"""What a person hears of a watched run on the terminal; where it lies, and how it ends."""

from __future__ import annotations

import secrets
import sys
import weakref
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol

from gpu_runner.errors import SystemFailure, is_lost_process, is_out_of_memory
from gpu_runner.installed import program, short
from gpu_runner.text import printable
from gpu_runner.train.evaluate import Score
from gpu_runner.train.loop import State, StepResult
from unfrozen.events import RunStatus

ALONE: Final = (
    "Its weights are spread over processes, and not all of them watch: no held-out row is scored."
    " Call unfrozen.watch in every process, with the same arguments."
)
GONE: Final[tuple[RunStatus, str]] = ("stopped", "the model is gone")


class Voice:
    """What a person is told on the terminal: only what they should act on."""

    def __init__(self, *, silent: bool = False) -> None:
        self._silent = silent

    def say(self, text: str) -> None:
        """Nothing: the page says it."""
        del text

    def warn(self, text: str) -> None:
        """One line, on standard error."""
        if not self._silent:
            print(f"unfrozen: {printable(text)}", file=sys.stderr, flush=True)

    def busy(self, text: str) -> None:
        """Nothing."""
        del text

    def hold(self, *, still: bool) -> None:
        """Whether training stands still because the page asked for it."""
        self.warn("paused by the page." if still else "training goes on.")

    def step(self, state: State, result: StepResult, measured_bytes: int) -> None:
        """Nothing."""
        del state, result, measured_bytes

    def scores(self, step: int, scores: list[Score], first: dict[str, float]) -> None:
        """Nothing."""
        del step, scores, first


def new_place(runs: Path, name: str | None) -> Path:
    """A new folder for a run, `name` or the time; a name that is taken gets a number.

    Raises `SystemFailure` where none can be made.
    """
    wanted = name or f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    if Path(wanted).name != wanted or wanted.startswith("."):
        raise SystemFailure(f"{wanted!r} is no name of a folder: give one without slashes.")
    for number in range(1, 10_000):
        place = runs / (wanted if number == 1 else f"{wanted}-{number}")
        try:
            place.mkdir(mode=0o700, parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise SystemFailure(f"no run can be kept in {runs} ({error.strerror})") from None
        return place
    raise SystemFailure(f"{runs} holds 10,000 runs called {wanted}: give another name.")


def begins(place: Path) -> str:
    """What is said when a run begins."""
    runs = short(place.parent)
    return f"watching run {place.name}: see it with {program()} serve --runs {runs}"


def end_of(error: BaseException | None) -> tuple[RunStatus, str]:
    """How a run ended whose loop was left by `error`, or by nothing."""
    if error is None:
        return "finished", ""
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return "stopped", "interrupted"
    text = f"{type(error).__name__}: {error}"[:1000]
    if is_lost_process(error):
        return "failed", f"another process is gone ({text})"[:1000]
    return ("oom" if is_out_of_memory(error) else "failed"), text


class Left(Protocol):
    """What can be told that its loop is over."""

    def left_by(self, error: BaseException | None) -> None:
        """By an error, or without one."""


class Closing:
    """Closes a run when the interpreter ends; keeps nothing alive until then."""

    def __init__(self, run: Left) -> None:
        self._run = weakref.ref(run)

    def __call__(self) -> None:
        """Close it, by the error that left the interpreter where there is one."""
        run = self._run()
        if run is not None:
            run.left_by(getattr(sys, "last_value", None))

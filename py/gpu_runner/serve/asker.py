"""Asks the models of a run that has ended: in a process of its own, through its standard input.

The process is `ask RUN --json`, which loads both models once and answers a line with a line. One
is kept at a time, for as long as it is asked something now and then; it ends by itself when the
server does, for then its input is closed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import Empty, Queue
from typing import Any, Final

from gpu_runner.errors import RunnerError
from gpu_runner.log.questions import Question
from gpu_runner.text import printable

ANSWER_SECONDS: Final = 300.0
"""The time for loading two models and for two answers."""
IDLE_SECONDS: Final = 600.0
MOST_REASON: Final = 500


class AskerError(RunnerError):
    """The models of a run cannot be asked."""


@dataclass(frozen=True, slots=True)
class _Child:
    run: Path
    process: subprocess.Popen[str]
    lines: Queue[str]
    """The lines that it prints; "" once it has ended."""
    errors: list[str]
    threads: list[threading.Thread]

    def end(self) -> None:
        """Kill it and wait; its threads close what they read."""
        with suppress(OSError):
            self.process.kill()
        self.process.wait()
        with suppress(OSError):  # a line that it did not read
            self.process.stdin.close()  # type: ignore[union-attr]  # it is a pipe
        for thread in self.threads:
            thread.join()


class Asker:
    """Keeps the process that answers for one run."""

    def __init__(self, secret_names: tuple[str, ...], idle_seconds: float = IDLE_SECONDS) -> None:
        self._secret_names = secret_names  # of environment variables that it has no use for
        self._idle_seconds = idle_seconds
        self._child: _Child | None = None
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None

    def ask(self, run: Path, question: Question) -> dict[str, Any]:
        """Return the answers as `AnswerPair.as_json` does; waits for those before it.

        Raises `UsageError` for what cannot be asked, `AskerError` where the models cannot be
        loaded or do not answer in time.
        """
        question.check()
        with self._lock, self._idle_later():
            child = self._child
            if child is None or child.run != run or child.process.poll() is not None:
                self._end()
                child = self._child = self._spawn(run)
            assert child.process.stdin is not None
            with suppress(OSError):  # it has ended: it says why below
                child.process.stdin.write(json.dumps(asdict(question)) + "\n")
                child.process.stdin.flush()
            answer = self._read(child)
        if "error" in answer:
            raise AskerError(answer["error"])
        return answer

    def close(self) -> None:
        """End the process."""
        if self._timer is not None:
            self._timer.cancel()
        with self._lock:
            self._end()

    def _end(self) -> None:
        if self._child is not None:
            self._child.end()
        self._child = None

    @contextmanager
    def _idle_later(self) -> Iterator[None]:
        """End the process some time after the last answer."""
        if self._timer is not None:
            self._timer.cancel()
        yield
        self._timer = threading.Timer(self._idle_seconds, self.close)
        self._timer.daemon = True
        self._timer.start()

    def _spawn(self, run: Path) -> _Child:
        inherited = {k: value for k, value in os.environ.items() if k not in self._secret_names}
        process = subprocess.Popen(
            [sys.executable, "-m", "gpu_runner", "ask", "--json", "--", str(run.absolute())],
            env={**inherited, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C on the server is not for it
        )
        child = _Child(run, process, Queue(), [], [])
        for target in (_take_answers, _take_errors):
            child.threads.append(threading.Thread(target=target, args=(child,), daemon=True))
            child.threads[-1].start()
        return child

    def _read(self, child: _Child) -> dict[str, Any]:
        try:
            line = child.lines.get(timeout=ANSWER_SECONDS)
        except Empty:
            self._end()
            raise AskerError(f"the models did not answer within {ANSWER_SECONDS:.0f} s") from None
        if line:
            found: dict[str, Any] = json.loads(line)
            return found
        self._end()
        said = [text for text in child.errors if text.startswith("Error: ")] or child.errors
        reason = said[-1].removeprefix("Error: ") if said else "it printed nothing"
        raise AskerError(printable(reason)[:MOST_REASON])


def _take_answers(child: _Child) -> None:
    assert child.process.stdout is not None
    with child.process.stdout as lines:
        for line in lines:
            child.lines.put(line)
    child.lines.put("")


def _take_errors(child: _Child) -> None:
    """Keep the last lines that it prints beside its answers."""
    assert child.process.stderr is not None
    with child.process.stderr as lines:
        for line in lines:
            child.errors.append(line.strip())
            del child.errors[:-8]

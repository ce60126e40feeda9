"""Runs what is foreign in a child process with limits: templates, tokenizers, GGUF files, other
tools' logs.

A chat template may loop for ever, and a tokenizer's normalizer may double a text until memory is
full; neither can be interrupted from inside the process. So they run in a forked child, which may
take CPU_SECONDS for each of its results, TOTAL_SECONDS and EACH_SECONDS a result for all of them,
and ROOM_BYTES more memory than its parent had, mapped files apart; what it makes is pickled back.
Processes of a pool of ours are limited themselves, by `limit_process`.

Only Linux forks safely beside PyTorch's threads and holds both limits: elsewhere the code runs in
the process itself.
"""

from __future__ import annotations

import faulthandler
import math
import os
import pickle
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO, Final, TypeVar

import psutil

from gpu_runner.text import counted

CPU_SECONDS: Final = 60
TOTAL_SECONDS: Final = 300
EACH_SECONDS: Final = 1
ROOM_BYTES: Final = 4 * 2**30
_MEMORY_CODE: Final = 77  # exit code of a child whose memory ran out
T = TypeVar("T")
limited_here = sys.platform != "linux"
"""Whether this process itself is limited, or cannot be: what is foreign runs in it then."""


class ForeignCodeError(Exception):
    """A child was ended by a limit; the message is the rest of a sentence about its code."""


class Total:
    """The seconds of `clock` that all results of something foreign take together."""

    def __init__(self, clock: Callable[[], float] = time.process_time) -> None:
        self._clock, self._begun, self._count = clock, clock(), 0

    def check(self) -> None:
        """Count a result. Raises `ForeignCodeError` where they took too long by then."""
        self._count += 1
        most = TOTAL_SECONDS + EACH_SECONDS * self._count
        if self._count > 1 and self._clock() - self._begun > most:
            before = counted(self._count - 1, "result")
            raise ForeignCodeError(f"worked for more than {most} seconds, with {before} before it")


def limited(work: Callable[[], Iterable[T]]) -> Iterator[T]:
    """Yield what `work()` yields in a child process; its results and its errors can be pickled.

    Raises `ForeignCodeError` where a limit ended the child, and what `work` raises.
    """
    if limited_here:
        yield from work()
        return
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads: the child uses none
        child = os.fork()
    if child == 0:
        os.close(reader)
        _run_child(work, writer)
    os.close(writer)
    try:
        with os.fdopen(reader, "rb") as pipe:
            yield from _results(pipe)
    except EOFError:
        reason = _reason(os.waitpid(child, 0)[1])
        child = 0
        raise ForeignCodeError(reason) from None
    finally:
        if child:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def call(work: Callable[[], T]) -> T:
    """Return what `work()` returns in a child process; see `limited`."""
    return next(limited(lambda: [work()]))


def limit_process() -> None:
    """Limit this process, which runs nothing else, for good; `grant_time` renews its time."""
    global limited_here
    if limited_here:
        return
    limited_here = True
    this = psutil.Process()
    room = this.memory_info().data + ROOM_BYTES
    hard = this.rlimit(psutil.RLIMIT_DATA)[1]
    room = room if hard == psutil.RLIM_INFINITY else min(room, hard)
    this.rlimit(psutil.RLIMIT_DATA, (room, hard))
    this.rlimit(psutil.RLIMIT_CORE, (0, this.rlimit(psutil.RLIMIT_CORE)[1]))
    grant_time()


def grant_time() -> None:
    """Let this limited process work CPU_SECONDS from now on."""
    if sys.platform != "linux":
        return
    this, soft = psutil.Process(), math.ceil(time.process_time()) + CPU_SECONDS
    this.rlimit(psutil.RLIMIT_CPU, (soft, this.rlimit(psutil.RLIMIT_CPU)[1]))


def _run_child(work: Callable[[], Iterable[Any]], writer: int) -> None:
    """Send what `work` yields, then end this process without anything that its parent would do."""
    code = 1
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGXCPU):
            signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else signal.SIG_DFL)
        faulthandler.disable()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # the parent reports its end
        os.environ["TOKENIZERS_PARALLELISM"] = "false"  # its threads are not in this process
        limit_process()
        with os.fdopen(writer, "wb") as pipe:
            try:
                total = Total()
                for one in work():
                    total.check()
                    pickle.dump(("result", one), pipe)
                    pipe.flush()
                    grant_time()
                pickle.dump(("end", None), pipe)
            except MemoryError:
                raise
            except Exception as error:
                pickle.dump(("error", (type(error), error.args, vars(error))), pipe)
        code = 0
    except MemoryError:
        code = _MEMORY_CODE
    finally:
        os._exit(code)


def _results(pipe: BinaryIO) -> Iterator[Any]:
    while True:
        kind, value = pickle.load(pipe)  # written by our own child
        if kind == "error":
            raised, args, state = value
            error = raised.__new__(raised, *args)  # whatever its class takes to be made
            vars(error).update(state)
            raise error
        if kind == "end":
            return
        yield value


def _reason(status: int) -> str:
    ended_by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    if ended_by == signal.SIGXCPU:
        return f"worked for more than {CPU_SECONDS} seconds"
    if ended_by == signal.SIGABRT or os.waitstatus_to_exitcode(status) == _MEMORY_CODE:
        return f"needed more than {ROOM_BYTES / 2**30:g} GiB of memory"
    name = signal.Signals(ended_by).name if ended_by else f"exit code {os.WEXITSTATUS(status)}"
    return f"ended its process ({name})"

"""The errors of a run and their exit codes.

Every error that a user can cause is a `RunnerError`: one message with the value, the bound and the
remedy. `cli.console` prints it and exits with its code; a traceback always means a bug in Unfrozen.
"""

from __future__ import annotations

import errno
from enum import IntEnum
from typing import Final


class ExitCode(IntEnum):
    """Exit codes of `unfrozen`; scripts may rely on them."""

    OK = 0  # finished, or stopped on request, with everything saved
    INTERNAL = 1  # a bug: the only case with a traceback
    USAGE = 2  # an option out of bounds, or options that contradict each other
    DATA = 3  # a data file is missing, malformed, or has nothing to train on
    PORT = 4  # the port of `serve` is in use
    MODEL = 5  # the model cannot be found, read, or trusted
    MEMORY = 6  # out of memory
    DIVERGED = 7  # too many steps in a row with non-finite gradients
    CHECKPOINT = 8  # no usable checkpoint, or the run cannot be resumed as asked
    SYSTEM = 9  # disk full, permission denied
    NOT_READY = 10  # doctor or selftest found a problem of this machine
    NO_GAIN = 11  # of `blend`: no blend wins anything back beyond the noise, and none is written
    STOPPED = 75  # of `gpu_runner.cluster`: stopped by a signal, launch again (EX_TEMPFAIL)
    INTERRUPTED = 130  # a second Ctrl-C: exited at once, the last checkpoint remains


MEANINGS: Final = {
    ExitCode.OK: "finished, or stopped on request with everything saved",
    ExitCode.INTERNAL: "a bug in Unfrozen",
    ExitCode.USAGE: "invalid options",
    ExitCode.DATA: "unusable data",
    ExitCode.PORT: "port in use",
    ExitCode.MODEL: "unusable model",
    ExitCode.MEMORY: "out of memory",
    ExitCode.DIVERGED: "diverged",
    ExitCode.CHECKPOINT: "no usable checkpoint",
    ExitCode.SYSTEM: "disk full or no permission",
    ExitCode.NOT_READY: "doctor or selftest found a problem",
    ExitCode.NO_GAIN: "nothing to win back: no model was written",
    ExitCode.STOPPED: "gpu_runner.cluster was stopped early: launch it again",
    ExitCode.INTERRUPTED: "interrupted twice",
}
"""What each code means, for `--help`."""


class RunnerError(Exception):
    """An error that the user can fix; the message says how."""

    exit_code = ExitCode.USAGE
    shared = False
    """Whether every process of the run raises it, so that one message is enough."""


def everyones(error: RunnerError) -> RunnerError:
    """Return the error, marked as one that every process of the run raises."""
    error.shared = True
    return error


class UsageError(RunnerError):
    """Options are out of bounds or contradict each other."""


class DataError(RunnerError):
    """A data set cannot be read or trained on."""

    exit_code = ExitCode.DATA


class ModelLoadError(RunnerError):
    """A model cannot be found, read, or trusted."""

    exit_code = ExitCode.MODEL


class OutOfMemory(RunnerError):
    """The device or the host has no memory left for the step."""

    exit_code = ExitCode.MEMORY


class Diverged(RunnerError):
    """Several steps in a row had non-finite gradients."""

    exit_code = ExitCode.DIVERGED


class CheckpointError(RunnerError):
    """A checkpoint is missing, incomplete, altered, or of another run."""

    exit_code = ExitCode.CHECKPOINT


class SystemFailure(RunnerError):
    """The operating system refused: disk full, no permission."""

    exit_code = ExitCode.SYSTEM


class NotReady(RunnerError):
    """Something the command needs is not installed."""

    exit_code = ExitCode.NOT_READY


_NO_MEMORY: Final = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "_status_alloc_failed",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether `error` means that the device or the host is out of memory.

    CUDA's allocator raises its own type; that of the CPU, CUDA itself and its libraries raise plain
    RuntimeErrors, recognized by their texts; the system returns ENOMEM.
    """
    text = str(error).lower()
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or (isinstance(error, RuntimeError) and any(part in text for part in _NO_MEMORY))
    )


def is_lost_process(error: BaseException) -> bool:
    """Return whether `error` means that another process of the run has ended.

    NCCL has its own types; gloo raises a plain RuntimeError, recognized by its text.
    """
    return isinstance(error, RuntimeError) and (
        type(error).__name__.startswith("Dist") or "gloo/transport" in str(error)
    )

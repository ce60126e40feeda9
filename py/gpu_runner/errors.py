"""What can go wrong in a run, and the exit code that says so.

Every error a person can cause is a `RunnerError`: one message that holds the value, the bound and
the remedy. `commands` prints it and exits with its code; a traceback always means a bug of ours.
"""

from __future__ import annotations

import errno
from enum import IntEnum
from typing import Final


class ExitCode(IntEnum):
    """Exit codes of `unfrozen`; scripts may rely on them."""

    OK = 0  # finished, or stopped as it was asked to, with everything saved
    INTERNAL = 1  # a bug: the only case with a traceback
    USAGE = 2  # an option or a combination of options that cannot be
    DATA = 3  # a data file is missing, malformed, or has nothing to train on
    PORT = 4  # the port of `serve` is in use
    MODEL = 5  # the model cannot be found, read, or trusted
    MEMORY = 6  # out of memory
    DIVERGED = 7  # too many steps in a row with non-finite gradients
    CHECKPOINT = 8  # no usable checkpoint, or the run cannot be resumed as asked
    SYSTEM = 9  # disk full, permission denied
    NOT_READY = 10  # doctor or selftest found that this machine cannot train as it should
    STOPPED = 75  # of `gpu_runner.cluster`: cut short by a signal, start again (EX_TEMPFAIL)
    INTERRUPTED = 130  # a second Ctrl-C: left at once, the last checkpoint is what remains


MEANINGS: Final = {
    ExitCode.OK: "done, or stopped as asked with everything saved",
    ExitCode.INTERNAL: "a bug of ours",
    ExitCode.USAGE: "options",
    ExitCode.DATA: "data",
    ExitCode.PORT: "port in use",
    ExitCode.MODEL: "model",
    ExitCode.MEMORY: "out of memory",
    ExitCode.DIVERGED: "diverged",
    ExitCode.CHECKPOINT: "no usable checkpoint",
    ExitCode.SYSTEM: "disk full or no permission",
    ExitCode.NOT_READY: "doctor or selftest found something",
    ExitCode.STOPPED: "of gpu_runner.cluster: stopped early, start it again",
    ExitCode.INTERRUPTED: "interrupted twice",
}
"""What each code says, in the words of `--help`."""


class RunnerError(Exception):
    """A mistake that the user can repair; the message says how."""

    exit_code = ExitCode.USAGE
    shared = False
    """Whether every process of the run has it, so that one message is enough."""


def everyones(error: RunnerError) -> RunnerError:
    """The same error, marked as one that every process of the run has."""
    error.shared = True
    return error


class UsageError(RunnerError):
    """Options that are out of bounds or contradict each other."""


class DataError(RunnerError):
    """A data set that cannot be read or trained on."""

    exit_code = ExitCode.DATA


class ModelLoadError(RunnerError):
    """A model that cannot be found, read, or trusted."""

    exit_code = ExitCode.MODEL


class OutOfMemory(RunnerError):
    """The device or the host has no memory left for the step."""

    exit_code = ExitCode.MEMORY


class Diverged(RunnerError):
    """Several steps in a row had non-finite gradients."""

    exit_code = ExitCode.DIVERGED


class CheckpointError(RunnerError):
    """A checkpoint that is absent, incomplete, altered, or of another run."""

    exit_code = ExitCode.CHECKPOINT


class SystemFailure(RunnerError):
    """The operating system refused: disk full, no permission."""

    exit_code = ExitCode.SYSTEM


class NotReady(RunnerError):
    """Something that the command needs is not installed."""

    exit_code = ExitCode.NOT_READY


_NO_MEMORY: Final = (
    "can't allocate memory",
    "not enough memory",
    "cuda error: out of memory",
    "cublas_status_alloc_failed",
    "cannot allocate memory",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that the device or the host has no memory left.

    CUDA's allocator raises its own type; that of the CPU, CUDA itself and its libraries raise plain
    RuntimeErrors, known by their texts; the system says ENOMEM.
    """
    text = str(error).lower()
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or (isinstance(error, RuntimeError) and any(words in text for words in _NO_MEMORY))
    )


def is_lost_process(error: BaseException) -> bool:
    """Whether `error` says that another process of the run is gone.

    NCCL has its own types; gloo raises a plain RuntimeError, known by its text.
    """
    return isinstance(error, RuntimeError) and (
        type(error).__name__.startswith("Dist") or "gloo/transport" in str(error)
    )

"""How a command begins and ends: libraries loaded, an error as one message with its exit code."""

from __future__ import annotations

import gc
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from gpu_runner.errors import (
    ExitCode,
    NotReady,
    OutOfMemory,
    RunnerError,
    SystemFailure,
    is_out_of_memory,
)
from gpu_runner.installed import pip_install, wait_for_training_setup
from gpu_runner.text import make_console, printable

if TYPE_CHECKING:
    from rich.console import Console


def exit_with(command: Callable[[], int]) -> None:
    """Run a command and exit; an error of the user becomes one message and its exit code."""
    several = os.environ.get("WORLD_SIZE", "1") != "1"
    try:
        code = int(command())
    except RunnerError as error:
        if _prints(error):
            typer.secho(
                f"Error: {printable(str(error), lines=isinstance(error, OutOfMemory))}",
                err=True,
                fg="red",
            )
        code = error.exit_code
    except KeyboardInterrupt:
        typer.echo("Interrupted.", err=True)
        code = ExitCode.INTERRUPTED
    except Exception as error:
        if not is_out_of_memory(error):
            if several:
                traceback.print_exc()
                _leave(ExitCode.INTERNAL)
            raise
        typer.secho(printable(f"Error: out of memory: {error}"), err=True, fg="red")
        code = ExitCode.MEMORY
    if several and code:
        _leave(code)
    raise typer.Exit(int(code))


def exits(command: Callable[..., int]) -> Callable[..., None]:
    """Return a command that runs so and exits with the code that it returned."""

    @wraps(command)
    def run(*given: Any, **options: Any) -> None:
        exit_with(lambda: command(*given, **options))

    return run


def _leave(code: int) -> NoReturn:
    """End a process of several now: libraries that clean up would wait for the others."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _prints(error: RunnerError) -> bool:
    """Return whether this process prints the error: of several, not all print the same."""
    if os.environ.get("RANK", "0") == "0":
        return True
    first_here = os.environ.get("LOCAL_RANK", "0") == "0"
    return not error.shared and (first_here or isinstance(error, SystemFailure | OutOfMemory))


def console_with_libraries() -> Console:
    """Load and configure the libraries of a run; return the terminal.

    They read their environment when they are imported; what the user has set there stays. Their
    progress bars are off. PyTorch threads that wait for each other sleep instead of spinning: on a
    busy machine a small step on two cores took 3 s spinning and 0.1 s sleeping; on an idle one the
    difference is within the noise.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TQDM_DISABLE", "1")  # read when tqdm is imported: hence before it
    wait_for_training_setup()
    if missing := [name for name in ("torch", "transformers") if find_spec(name) is None]:
        raise NotReady(f"this needs {' and '.join(missing)}, not installed here: {pip_install()}")
    for name in ("torchao", "torch.utils._pytree"):
        logging.getLogger(name).setLevel(logging.ERROR)  # of what torchao brings for other machines
    with _garbage_collector_off():
        import transformers.modeling_utils

    transformers.utils.logging.set_verbosity_error()
    return make_console()


@contextmanager
def _garbage_collector_off() -> Iterator[None]:
    """Turn the garbage collector off while PyTorch is imported: of a million objects, all stay.

    Collecting took a sixth of the time; afterwards it skips them. Where PyTorch is imported
    already, nothing is changed.
    """
    if "torch" in sys.modules:
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()

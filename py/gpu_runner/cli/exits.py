"""How a command ends: a mistake of the user becomes one message and its exit code."""

from __future__ import annotations

import os
from collections.abc import Callable

import typer

from gpu_runner.errors import ExitCode, OutOfMemory, RunnerError, SystemFailure, is_out_of_memory
from gpu_runner.text import printable


def exit_with(command: Callable[[], int]) -> None:
    """Run a command; a mistake of the user becomes one message and its exit code."""
    try:
        code = int(command())
    except RunnerError as error:
        if _speaks(error):
            typer.secho(f"Error: {printable(str(error))}", err=True, fg="red")
        code = error.exit_code
    except KeyboardInterrupt:
        typer.echo("Interrupted.", err=True)
        code = ExitCode.INTERRUPTED
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        typer.secho(f"Error: out of memory: {error}", err=True, fg="red")
        code = ExitCode.MEMORY
    raise typer.Exit(int(code))


def _speaks(error: RunnerError) -> bool:
    """Whether this process tells: of several under torchrun, not all of them say the same."""
    if os.environ.get("RANK", "0") == "0":
        return True
    first_here = os.environ.get("LOCAL_RANK", "0") == "0"
    return not error.shared and (first_here or isinstance(error, SystemFailure | OutOfMemory))

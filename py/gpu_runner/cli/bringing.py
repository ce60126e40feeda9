"""`import`: runs of other tools, beside one's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gpu_runner.cli.commands import Runs
from gpu_runner.cli.exits import exit_with
from gpu_runner.errors import ExitCode, UsageError
from gpu_runner.installed import program, runs_folder, short
from gpu_runner.text import counted, printable

if TYPE_CHECKING:
    from gpu_runner.log.importing import Imported

NAME_MOST = 200


def import_(
    path: Annotated[
        Path,
        typer.Argument(
            help="trainer_state.json, TensorBoard's event files, run-….wandb; or a folder of them."
        ),
    ],
    runs: Runs = None,
    name: Annotated[str, typer.Option(help="What the page calls it; else its folder's name.")] = "",
) -> None:
    """Files of Hugging Face Trainer, TensorBoard or W&B as runs of the page. Needs no PyTorch."""

    def go() -> ExitCode:
        from gpu_runner.log.importing import bring

        if len(name) > NAME_MOST:
            raise UsageError(f"--name has {len(name):,} characters: give at most {NAME_MOST}.")
        place = runs_folder() if runs is None else Path(runs).expanduser()
        done = []
        for found in bring(path.expanduser(), place, name):
            _say(found)
            done.append(found)
        if all(found.problem for found in done):
            return ExitCode.DATA
        served = "" if runs is None else f" --runs {short(Path(runs))}"
        typer.echo(f"`{program()} serve{served}` shows {'it' if len(done) == 1 else 'them'}.")
        return ExitCode.OK

    exit_with(go)


import_.__name__ = "import"  # the word that is typed, which Python has taken


def _say(found: Imported) -> None:
    if found.problem or found.run is None or found.directory is None:
        typer.secho(f"Error: {printable(found.problem)}.", err=True, fg="red")
        return
    run = found.run
    size = f"{counted(run.points.count, 'number')} up to step {run.last_step:,}"
    said = size if found.is_new else "imported before, nothing was changed"
    typer.echo(printable(f"{short(found.directory)}: {said}, from {_origin(found)}"))
    for note in run.notes:
        typer.echo(printable(f"  {note}"))


def _origin(found: Imported) -> str:
    first, more = found.files[0], len(found.files) - 1
    return f"{first}{f' and {more} more' if more else ''}"

"""`calibrate`: what this machine really does, in place of what the planner assumes."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from gpu_runner.cli.commands import DeviceName, Runs
from gpu_runner.cli.exits import exit_with
from gpu_runner.cli.loading import console_with_libraries
from gpu_runner.errors import ExitCode
from gpu_runner.installed import program, runs_folder, short


def calibrate(
    device: DeviceName = "auto",
    runs: Runs = None,
    to: Annotated[
        str | None,
        typer.Option(help="The file it goes to; else $UNFROZEN_CALIBRATION, else your settings."),
    ] = None,
) -> None:
    """Measure products, memory and launches; plan and train estimate with them from then on."""

    def go() -> ExitCode:
        console = console_with_libraries()
        from gpu_runner.calibrate.all import measure
        from gpu_runner.plan.machine import choose_device
        from gpu_runner.system.calibration import keep, place

        folder = runs_folder() if runs is None else Path(runs).expanduser()
        path = place() if to is None else Path(to).expanduser()
        found = measure(choose_device(device), folder, date.today().isoformat())
        keep(found, path)
        console.print(found.words(), highlight=False, soft_wrap=True)
        shown = "" if to is None else f" Set UNFROZEN_CALIBRATION={short(path)} to use it."
        console.print(
            f"Kept in {short(path)}: `{program()} plan` and `{program()} train` estimate with it."
            f"{shown}",
            highlight=False,
            soft_wrap=True,
        )
        return ExitCode.OK

    exit_with(go)

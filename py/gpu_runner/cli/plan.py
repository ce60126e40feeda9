"""`unfrozen plan`: the planner's own command line, with what this machine knows.

Nothing heavy is imported before a plan is to be opened in the page.
"""

from __future__ import annotations

import os
import sys
import webbrowser
from typing import NoReturn


def run_planner(arguments: list[str]) -> NoReturn:
    """Run `unfrozen plan`; what `unfrozen calibrate` measured of this machine applies."""
    from gpu_runner.system.calibration import FILE_ENV, calibration_path
    from unfrozen.__main__ import main as planner

    if calibration_path().is_file():
        os.environ.setdefault(FILE_ENV, str(calibration_path()))
    sys.exit(planner(arguments, "unfrozen", _open_plan))


def _open_plan(query: str) -> None:
    """Open the planner at a plan: on the server of this machine, else on one that starts now."""
    from gpu_runner.address import find
    from gpu_runner.cli.console import exit_with
    from gpu_runner.installed import built_page, runs_folder

    runs = runs_folder()
    if (address := find(runs)) is not None:
        print(f"The plan is at  {address.plan(query)}")
        webbrowser.open(address.plan(query))
        return
    from gpu_runner.serve.app import run_server

    exit_with(
        lambda: run_server(runs=runs, site=built_page(None), port=0, open_page=True, plan=query)
    )

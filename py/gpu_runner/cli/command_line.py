"""`unfrozen`: one command for the page, the planner and the runner.

`unfrozen plan` goes straight to the planner, which parses its own options. Everything else goes to
typer, which also completes command lines in a shell.
"""

from __future__ import annotations

import os
import sys
import webbrowser
from typing import Any, Final, NoReturn

COMPLETE_ENV: Final = "_UNFROZEN_COMPLETE"  # typer's: set by a shell that asks for completions

WELCOME: Final = """\
Unfrozen: an article on full fine-tuning that you can run, and a runner that does it for real.

  {0} serve                 the article and your runs, in your browser
  {0} train --model demo    fine-tune a small model, and watch it in the page
  {0} plan --model Llama-3.1-8B --gpu H100
  {1}                       predict the memory of a run before it launches
  {0} doctor                check this machine

More commands: data, import, resume, export, calibrate, selftest, bench, trace; see --help.
--install-completion completes them in your shell. Runs are in {2}.
"""


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line; `arguments` replace `sys.argv[1:]`."""
    arguments = sys.argv[1:] if arguments is None else arguments
    completing = COMPLETE_ENV in os.environ
    if arguments[:1] == ["plan"] and not completing:
        run_planner(arguments)
    if not arguments and not completing:
        print(welcome(), end="")
        return None
    from gpu_runner.cli.application import alone, application

    if not completing and (one := alone(arguments[0])) is not None:
        return one(args=arguments[1:], prog_name=f"unfrozen {arguments[0]}")
    return application(completing=completing)(args=arguments, prog_name="unfrozen")


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


def welcome() -> str:
    """Return what this is and what to type, in ten lines."""
    from gpu_runner.installed import program, runs_folder, short

    own = program()
    return WELCOME.format(own, " " * len(own), short(runs_folder()))

"""`unfrozen`: one command for the page, the planner and the runner.

`unfrozen plan` goes straight to the planner, which parses its own options. Everything else goes to
typer, which also completes command lines in a shell.
"""

from __future__ import annotations

import os
import sys
from typing import Any, Final

COMPLETE_ENV: Final = "_UNFROZEN_COMPLETE"  # typer's: set by a shell that asks for completions

WELCOME: Final = """\
Unfrozen: an article on full fine-tuning that you can run, and a runner that does it for real.

  {0} serve                 the article and your runs, in your browser
  {0} train --model demo    fine-tune a small model, and watch it in the page
  {0} plan --model Llama-3.1-8B --gpu H100
  {1}                       predict the memory of a run before it launches
  {0} doctor                check this machine

More commands: runs, check, mcp, skill, data, ask, eval, blend, import, resume, export, push,
publish, report, selftest; see --help, --install-completion. Runs are in {2}.
"""


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line; `arguments` replace `sys.argv[1:]`."""
    arguments = sys.argv[1:] if arguments is None else arguments
    completing = COMPLETE_ENV in os.environ
    if arguments[:1] == ["plan"] and not completing:
        from gpu_runner.cli.plan import run_planner

        run_planner(arguments)
    if not arguments and not completing:
        print(welcome(), end="")
        return None
    from gpu_runner.cli.application import alone, application

    if not completing and (one := alone(arguments[0])) is not None:
        return one(args=arguments[1:], prog_name=f"unfrozen {arguments[0]}")
    return application(completing=completing)(args=arguments, prog_name="unfrozen")


def welcome() -> str:
    """Return what this is and what to type, in ten lines."""
    from gpu_runner.installed import program, runs_folder, short

    own = program()
    return WELCOME.format(own, " " * len(own), short(runs_folder()))

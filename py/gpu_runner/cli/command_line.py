"""`unfrozen`: one command for the page, the planner and the runner.

`unfrozen plan` goes straight to the planner, which needs the standard library only. Everything else
is told to typer, which also knows how shells complete a line.
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
  {1}                       the memory a run will hold, before it starts
  {0} doctor                what this machine has, and what it lacks

data, import, resume, export, calibrate, selftest, bench and trace are there too: see --help.
--install-completion teaches your shell their names. Runs are kept in {2}.
"""


def main(arguments: list[str] | None = None) -> Any:
    """Entry point; `arguments` stand for `sys.argv[1:]`."""
    words = sys.argv[1:] if arguments is None else arguments
    completing = COMPLETE_ENV in os.environ
    if words[:1] == ["plan"] and not completing:
        from unfrozen.__main__ import main as planner

        sys.exit(planner(words, "unfrozen"))
    if not words and not completing:
        print(welcome(), end="")
        return None
    from gpu_runner.cli.application import alone, application

    if not completing and (one := alone(words[0])) is not None:
        return one(args=words[1:], prog_name=f"unfrozen {words[0]}")
    return application(completing=completing)(args=words, prog_name="unfrozen")


def welcome() -> str:
    """What this is and what to type, in ten lines."""
    from gpu_runner.installed import program, runs_folder, short

    own = program()
    return WELCOME.format(own, " " * len(own), short(runs_folder()))

"""`python -m gpu_runner train | plan | …`, also under torchrun: `unfrozen`, as it once was typed.

`plan` takes the arguments of `train` here, and is `unfrozen train --dry-run` there.
"""

from __future__ import annotations

import sys
from typing import Any

import typer

from gpu_runner.cli.application import COMMANDS
from gpu_runner.cli.commands import EXIT_CODES, plan

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Full fine-tuning of language models, streamed to the page as it happens.",
    epilog=EXIT_CODES,
)
for command in (*COMMANDS, plan):
    app.command()(command)


def main(arguments: list[str] | None = None) -> Any:
    """Entry point; `arguments` stand for `sys.argv[1:]`."""
    return app(args=arguments if arguments is not None else sys.argv[1:], prog_name="gpu_runner")


if __name__ == "__main__":
    main()

"""All of `unfrozen` as a typer application: its commands, its version, its shell completion.

The planner parses its own command line, with argparse; its options are declared here only for shell
completion, because that loads all of it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from inspect import Parameter, Signature
from typing import Annotated, Any, Final

import typer

from gpu_runner.cli.commands import COMMANDS, EXIT_CODES
from gpu_runner.cli.plan import run_planner

SAYS: Final = "An article on full fine-tuning that you can run, and a runner that does it for real."


def application(*, completing: bool = False) -> typer.Typer:
    """Return the application; `completing` declares the planner's options too."""
    app = typer.Typer(
        no_args_is_help=True, pretty_exceptions_enable=False, help=SAYS, epilog=EXIT_CODES
    )
    app.callback()(unfrozen)
    serve, *others = COMMANDS
    for command in (serve, planner() if completing else plan, *others):
        app.command()(command)
    return app


def alone(name: str) -> typer.Typer | None:
    """Return one command by itself, which typer loads in half the time; None if unknown."""
    for command in COMMANDS:
        if command.__name__ == name:
            app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
            app.command()(command)
            return app
    return None


def _show_version(wanted: bool) -> None:
    if wanted:
        from gpu_runner.installed import installed_version

        typer.echo(f"unfrozen {installed_version()}")
        raise typer.Exit


def unfrozen(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_show_version)
    ] = False,
) -> None:
    """Options before every command."""
    del version


def plan() -> None:
    """Predict the memory of a training job before it is launched. Needs no PyTorch."""
    run_planner(sys.argv[1:])


def planner() -> Callable[..., None]:
    """Return `plan` with the options of the planner's own parser."""
    from unfrozen.__main__ import parser

    def command(**_: Any) -> None:
        plan()

    (commands,) = (a for a in parser()._actions if isinstance(a, argparse._SubParsersAction))
    own = commands.choices["plan"]
    parameters = [_parameter(action) for action in own._actions if action.dest != "help"]
    command.__name__, command.__doc__ = plan.__name__, plan.__doc__
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    command.__signature__ = Signature(parameters)  # type: ignore[attr-defined]  # what typer reads
    return command


def _parameter(action: argparse.Action) -> Parameter:
    """Return an argument of argparse as one of typer; every value stays text."""
    names: dict[str, Any] = {"help": action.help, "autocompletion": _values(action)}
    declared: Any = typer.Option(*action.option_strings, **names)
    if not action.option_strings:
        declared = typer.Argument(**names)
    kind: Any = bool if action.nargs == 0 else str | None
    default = False if action.nargs == 0 else None
    annotation = Annotated[kind, declared]
    return Parameter(action.dest, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _values(action: argparse.Action) -> Callable[[str], list[str]]:
    """Return what completes the values of an option."""

    def values(incomplete: str) -> list[str]:
        return [name for name in _known(action) if name.lower().startswith(incomplete.lower())]

    return values


def _known(action: argparse.Action) -> list[str]:
    if action.dest == "model":
        from unfrozen.model.catalogue import CATALOGUE

        return [name.rpartition("/")[2] for name in CATALOGUE]
    if action.dest == "gpu":
        from unfrozen.hardware import GPUS

        return [gpu.name for gpu in GPUS]
    return [str(choice) for choice in action.choices or ()]

"""What a run can be told on the command line: `train` and `plan` take the same options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import Parameter, Signature
from typing import Annotated, Any, Final, get_type_hints

import typer

from gpu_runner.config import bounds, tables, tokens
from gpu_runner.config import file as config_file
from gpu_runner.config.resolve import resolve
from gpu_runner.config.schema import RANGES, WORDS, TrainConfig

Option = tuple[Any, str, str]
"""Its type, its help, and the heading it stands under."""
_ELSE: Final = "Everything else"
_FIELDS: Final = TrainConfig.__dataclass_fields__
_TYPES: Final = get_type_hints(TrainConfig)


def _kind(name: str) -> Any:
    """What typer reads of a choice: a word it may not be is refused by `bounds`, in our words."""
    kind = str if name in WORDS else _TYPES[name]
    return list[str] | None if name in ("general", "mix", "add_tokens") else kind | None


OPTIONS: Final[dict[str, Option]] = {
    name: (_kind(name), about.help, about.group)
    for name, about in bounds.told(TrainConfig).items()
    if about.group
} | {
    "config": (str | None, "A TOML file with any of these choices, and rarer ones.", _ELSE),
    "set": (
        list[str] | None,
        "KEY=VALUE: any choice of a run; repeatable; wins over --config.",
        _ELSE,
    ),
}
"""What is not given is `None`; `resolve` has the defaults, which are told where the help
leaves its sentence open.
"""


def configuration(options: Mapping[str, Any]) -> TrainConfig:
    """The run that these options ask for. Raises `UsageError` for what contradicts itself."""
    given = {name: value for name, value in options.items() if value not in (None, [], ())}
    file, pairs = given.pop("config", None), given.pop("set", [])
    given.pop("dry_run", None)  # of the command, not of the run
    if "mix" in given:
        given["mix"] = tuple(given["mix"])
    if "add_tokens" in given:
        given["add_tokens"] = tokens.listed(given["add_tokens"])
    if "general" in given:
        given["general"] = config_file.parse_general(given["general"])
    chosen = tables.merged(config_file.read(file) if file else {}, config_file.assignments(pairs))
    return resolve(chosen | given)


def rarer() -> tuple[str, ...]:
    """Choices that have no option of their own: for --set and --config."""
    return tuple(key for key in config_file.KEYS if key not in OPTIONS)


def _option(name: str, kind: Any, text: str, group: str) -> Any:
    """What typer is told of an option: help with the default, and how its number is read."""
    told = text if text.endswith(".") else f"{text} ({_FIELDS[name].default})."
    numbers: dict[Any, tuple[Any, str]] = {
        int | None: (int, "a whole number"),
        float | None: (float, "a number"),
    }
    if kind not in numbers:
        return typer.Option(help=told, rich_help_panel=group)
    read, words = numbers[kind]

    def number(given: str) -> Any:
        try:
            return read(given)
        except ValueError:
            low, high = map(bounds.shown, RANGES[name])
            raise typer.BadParameter(
                f"{given!r} is not {words}: give one from {low} to {high}."
            ) from None

    return typer.Option(help=told, rich_help_panel=group, parser=number, metavar="<number>")


def takes_options(command: Callable[[dict[str, Any]], None]) -> Callable[..., None]:
    """A command for typer with all of `OPTIONS`, from one that is given them as a dictionary."""

    def run(**options: Any) -> None:
        command(options)

    declared = {
        name: Annotated[kind, _option(name, kind, text, group)]
        for name, (kind, text, group) in OPTIONS.items()
    }
    more = f"--set and --config also take {', '.join(rarer())}."
    more += " Defaults are those of a model of yours; the demo brings its own."
    run.__name__, run.__doc__ = command.__name__, f"{command.__doc__}\n\n{more}"
    run.__annotations__ = declared
    parameters = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=kind)
        for name, kind in declared.items()
    ]
    run.__signature__ = Signature(parameters)  # type: ignore[attr-defined]  # what typer reads
    return run

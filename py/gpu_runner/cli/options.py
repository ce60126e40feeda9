"""The options of `train`: one for each setting of a run, and --config and --set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import Parameter, Signature
from typing import Annotated, Any, Final, get_type_hints

import typer

from gpu_runner.config import load
from gpu_runner.config.bounds import TABLES, format_bound, settings_of
from gpu_runner.config.load import merge_settings, parse_assignments, resolve, split_tokens
from gpu_runner.config.schema import ALLOWED, RANGES, TrainConfig

Option = tuple[Any, str, str]
"""Its type, its help, and the heading it stands under."""
_FILES: Final = "Settings from a file"
_SWITCHES: Final = "Switches"  # whose second name takes room
_FIELDS: Final = TrainConfig.__dataclass_fields__
_TYPES: Final = get_type_hints(TrainConfig)
_REPEATABLE: Final = (
    *("general", "mix", "add_tokens", "sample_prompts", "allow_untrained"),
    *TABLES,
)


def _kind(name: str) -> Any:
    """Return the type that typer reads; a value that is not allowed is refused by `bounds`."""
    kind = str if name in ALLOWED else _TYPES[name]
    return list[str] | None if name in _REPEATABLE else kind | None


OPTIONS: Final[dict[str, Option]] = {
    name: (_kind(name), setting.help, setting.group)
    for name, setting in settings_of(TrainConfig).items()
} | {
    "config": (str | None, "A TOML file with any of these settings.", _FILES),
    "set": (list[str] | None, "KEY=VALUE, as in that file; repeatable; wins over it.", _FILES),
}
"""What is not given is `None`; `resolve` has the defaults."""


def config_from_options(options: Mapping[str, Any]) -> TrainConfig:
    """Return the settings that these options ask for. Raises `UsageError` for contradictions."""
    given = {name: value for name, value in options.items() if value not in (None, [], ())}
    file, pairs = given.pop("config", None), given.pop("set", [])
    given.pop("dry_run", None)  # of the command, not of the run
    for name in ("mix", "sample_prompts", "allow_untrained"):
        if name in given:
            given[name] = tuple(given[name])
    if "add_tokens" in given:
        given["add_tokens"] = split_tokens(given["add_tokens"])
    if "general" in given:
        given["general"] = load.parse_general(given["general"])
    for name in TABLES:
        if name in given:
            given |= parse_assignments(f"{name}.{pair}" for pair in given[name])
    chosen = merge_settings(load.read_toml(file) if file else {}, parse_assignments(pairs))
    return resolve(merge_settings(chosen, given))


def _option(name: str, kind: Any, text: str, group: str) -> Any:
    """Declare an option to typer: its help with the default, and how its number is read."""
    help_text = text if text.endswith(".") else f"{text} ({_default(name)})."
    numbers: dict[Any, tuple[Any, str]] = {
        int | None: (int, "a whole number"),
        float | None: (float, "a number"),
    }
    if kind not in numbers:
        group = _SWITCHES if kind == bool | None else group
        return typer.Option(help=help_text, rich_help_panel=group)
    read, expected = numbers[kind]

    def number(given: str) -> Any:
        try:
            return read(given)
        except ValueError:
            low, high = map(format_bound, RANGES[name])
            raise typer.BadParameter(
                f"{given!r} is not {expected}: give one from {low} to {high}."
            ) from None

    return typer.Option(help=help_text, rich_help_panel=group, parser=number, metavar="<number>")


def _default(name: str) -> str:
    value = _FIELDS[name].default
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


def takes_options(command: Callable[[dict[str, Any]], None]) -> Callable[..., None]:
    """Return a typer command with all of `OPTIONS`, from one that takes them as a dictionary."""

    def run(**options: Any) -> None:
        command(options)

    declared = {
        name: Annotated[kind, _option(name, kind, text, group)]
        for name, (kind, text, group) in OPTIONS.items()
    }
    more = "Defaults are those for a model of your own; the demo brings its own."
    run.__name__, run.__doc__ = command.__name__, f"{command.__doc__}\n\n{more}"
    run.__annotations__ = declared
    parameters = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=kind)
        for name, kind in declared.items()
    ]
    run.__signature__ = Signature(parameters)  # type: ignore[attr-defined]  # what typer reads
    return run

"""What a run can be told on the command line: `train` and `plan` take the same options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import Parameter, Signature
from typing import Annotated, Any, Final

import typer

from gpu_runner import bounds, config_file
from gpu_runner.config import TrainConfig, parse_general, resolve
from gpu_runner.installed import RUNS_ENV, runs_folder, short

Options = dict[str, tuple[Any, str]]

GROUPS: Final[dict[str, Options]] = {
    "Model and data": {
        "model": (str | None, "demo, a directory, a Hugging Face id, or a .gguf file."),
        "data": (str | None, "demo, instruct, a .jsonl file, or a Hugging Face data set id."),
        "eval_data": (str | None, "Held-out rows of the task (.jsonl); else some are held out."),
        "general": (
            list[str] | None,
            "NAME=FILE: a skill not to forget; repeatable; none measures none.",
        ),
        "replay": (str | None, "Rows of what not to forget (.jsonl), mixed into training."),
        "replay_share": (float | None, "Their share of the tokens"),
        "seq_len": (int | None, "Longest row in tokens; longer ones are cut"),
        "seed": (int | None, "Order of the data and every random draw"),
    },
    "Length and rate": {
        "steps": (int | None, "Optimizer steps."),
        "epochs": (float | None, "Passes over the data, instead of --steps; 1 without either."),
        "lr": (float | None, "Peak learning rate"),
        "schedule": (str | None, "cosine, linear, wsd or constant, after warm-up"),
        "warmup": (int | None, "Steps of linear warm-up; else 5% of the steps."),
        "micro_batch": (int | None, "Rows computed at once"),
        "grad_accum": (int | None, "Micro-batches in one optimizer step"),
        "weight_decay": (float | None, "Decoupled decay of matrices"),
        "clip": (float | None, "Largest gradient norm; 0 never clips"),
    },
    "Precision and device": {
        "params": (str | None, "fp32 (16 bytes a parameter) or bf16 (8)"),
        "compute": (str | None, "auto, fp32 or bf16 matrix products"),
        "device": (str | None, "auto, cpu or cuda"),
    },
    "Evaluation and output": {
        "eval_every": (int | None, "Steps between two evaluations"),
        "eval_rows": (int | None, "Most rows scored in a held-out set"),
        "save_every": (int | None, "Steps between checkpoints; 0 never; else at evaluations."),
        "sample_tokens": (int | None, "Length of samples; 0 for none"),
        "out": (str | None, "Where the trained model goes; else into the run."),
        "runs": (
            str | None,
            f"Directory of the runs; else {RUNS_ENV}, else {short(runs_folder())}.",
        ),
    },
    "Yes or no": {
        "skip_bad_rows": (bool | None, "Leave out and count rows that cannot be read."),
        "auto_micro_batch": (bool | None, "The largest micro-batch that fits, rows a step kept."),
    },
    "Everything else": {
        "config": (str | None, "A TOML file with any of these choices, and rarer ones."),
        "set": (
            list[str] | None,
            "KEY=VALUE: any choice of a run; repeatable; wins over --config.",
        ),
    },
}
"""By group: option → its type and its help. What is not given is `None`; `config.resolve` has the
defaults, which are told where the help leaves its sentence open.
"""
_FIELDS: Final = TrainConfig.__dataclass_fields__
OPTIONS: Final[Options] = {name: one for group in GROUPS.values() for name, one in group.items()}


def configuration(options: Mapping[str, Any]) -> TrainConfig:
    """The run that these options ask for. Raises `UsageError` for what contradicts itself."""
    given = {name: value for name, value in options.items() if value is not None}
    file, pairs = given.pop("config", None), given.pop("set", [])
    given.pop("dry_run", None)  # of the command, not of the run
    if "general" in given:
        given["general"] = parse_general(given["general"])
    chosen = (config_file.read(file) if file else {}) | config_file.assignments(pairs)
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
            low, high = map(bounds.shown, bounds._BOUNDS[name])
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
        for group, options in GROUPS.items()
        for name, (kind, text) in options.items()
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

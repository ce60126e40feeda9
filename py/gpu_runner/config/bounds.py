"""What each choice of a run may be, and which exclude each other; checked before anything loads."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

from gpu_runner.config import places, tables, tokens
from gpu_runner.errors import DataError, UsageError
from unfrozen.runner import ROUNDED

Schedule = Literal["cosine", "constant", "linear", "wsd"]
Optimizer = Literal["adamw", "adamw8bit", "adafactor", "sgd", "muon"]
Rounding = Literal["nearest", "stochastic", "kahan"]
Precision = Literal["fp32", "bf16"]
Device = Literal["auto", "cpu", "cuda"]
Loss = Literal["full", "chunked", "linear"]
TrainOn = Literal["assistant", "last", "all"]
Checkpointing = Literal["none", "selective", "full"]
CheckpointFiles = Literal["auto", "whole", "shards"]

MOST_STEPS: Final = 10_000_000
WITH_BETAS: Final = ("adamw", "adamw8bit", "muon")
"""Optimizers that are AdamW, or leave something to it."""


@dataclass(frozen=True, slots=True)
class About:
    """What stands in the record of choices beside the type and the default of one.

    help     for a person at the command line
    group    heading of its option; "" for one that only --set and --config take
    low      smallest value of a number; as `high` an `int` where it is a whole number
    """

    help: str
    group: str
    low: float | None = None
    high: float | None = None


@cache
def _types(record: type, *, extras: bool) -> dict[str, Any]:
    """What `typing` makes of the written types, which takes it long."""
    return get_type_hints(record, include_extras=extras)


def told(record: type) -> dict[str, About]:
    """What is said of each field of a record, whose types are `Annotated` with it."""
    hints = _types(record, extras=True)
    return {name: hint.__metadata__[0] for name, hint in hints.items()}


def ranges(record: type) -> dict[str, tuple[float, float]]:
    """The smallest and the largest value of every number in a record."""
    found = told(record).items()
    return {n: (a.low, a.high) for n, a in found if a.low is not None and a.high is not None}


def words(record: type) -> dict[str, tuple[str, ...]]:
    """What may be chosen, of every field that is one of some words."""
    hints = _types(record, extras=False).items()
    return {name: get_args(kind) for name, kind in hints if get_origin(kind) is Literal}


def check(config: Any) -> None:
    """Check every bound of a `TrainConfig`, and what excludes what. Raises `UsageError`."""
    for name, (low, high) in ranges(type(config)).items():
        value = getattr(config, name)
        if value is not None and not (math.isfinite(value) and low <= value <= high):
            raise UsageError(
                f"{_given(config, name)} {value} is out of bounds:"
                f" give a number from {shown(low)} to {shown(high)}."
            )
    for name, choices in words(type(config)).items():
        value = getattr(config, name)
        if value not in choices:
            raise UsageError(
                f"{_given(config, name)} {value!r} is unknown: choose {' or '.join(choices)}."
            )
    places.check(config)
    tables.check(config)
    tokens.check(config.add_tokens)
    if config.steps is not None and config.warmup is not None and config.warmup > config.steps:
        raise UsageError(
            f"--warmup {config.warmup} is longer than the run of {config.steps} steps:"
            f" give at most {config.steps}."
        )
    if config.params == "bf16" and config.compute == "fp32":
        raise UsageError(
            "--params bf16 with --compute fp32: the products would run on bf16 weights anyway."
            " Give --compute auto, or --params fp32."
        )
    _check_early_update(config)
    _check_auto(config)
    _check_objective(config)


def shown(bound: float) -> str:
    """A bound as a person writes it."""
    return f"{bound:,}" if isinstance(bound, int) else f"{bound:g}"


def check_used(options: Mapping[str, Any], config: Any) -> None:
    """Refuse what would change nothing. Raises `UsageError`; `DataError` for a file not there."""
    penalised = config.l2sp or config.l2sp_pull or config.ewc
    _check_fisher(config)
    for name, used, remedy in (
        ("replay_share", config.replay, "give --replay the file of rows to mix in"),
        ("fisher_rows", config.ewc, "give ewc a strength"),
        ("anchor_in_memory", penalised, "give l2sp, l2sp_pull or ewc a strength"),
        ("floor_ratio", config.schedule != "constant", "a constant rate has no floor"),
        ("currency", config.price, "give --price its amount"),
    ):
        default = type(config).__dataclass_fields__[name].default
        if options.get(name) not in (None, default) and not used:
            raise UsageError(f"{name} {options[name]} would change nothing: {remedy}, or drop it.")


def _check_fisher(config: Any) -> None:
    """Its rows are read when the model is there already: a file that is not is told before."""
    source = config.fisher_data
    if source is None or not source.endswith((".jsonl", ".json")):
        return
    if not Path(source).expanduser().exists():
        raise DataError(f"fisher_data {source}: there is no such file; check the path.")


def _check_objective(config: Any) -> None:
    """What belongs to one optimizer, schedule or penalty only. Raises `UsageError`."""
    for found, what, why in (*_misplaced_choices(config), *_misplaced_penalties(config)):
        if found:
            raise UsageError(f"{what}: {why}.")


def _misplaced_choices(config: Any) -> tuple[tuple[Any, str, str], ...]:
    """Of optimizer and schedule: whether something has no place, what, and why."""
    fields = type(config).__dataclass_fields__
    names = ("beta1", "beta2", "beta2_tokens", "epsilon")
    given_betas = [name for name in names if getattr(config, name) != fields[name].default]
    return (
        (
            config.momentum and config.optimizer != "sgd",
            f"momentum {config.momentum:g}",
            f"optimizer {config.optimizer} has its own: only sgd takes one",
        ),
        (
            given_betas and config.optimizer not in WITH_BETAS,
            ", ".join(given_betas),
            f"optimizer {config.optimizer} has none: choose adamw, or drop it",
        ),
        (
            config.beta2_tokens is not None and "beta2" in given_betas,
            f"beta2 {config.beta2:g} and beta2_tokens {config.beta2_tokens}",
            "both set how long squares are remembered: give one of them",
        ),
        (
            config.rounding != "nearest" and config.params == "fp32",
            f"rounding {config.rounding}",
            "fp32 weights need none: give --params bf16, or rounding nearest",
        ),
        (
            config.rounding != "nearest" and config.optimizer not in ROUNDED,
            f"rounding {config.rounding}",
            f"{config.optimizer} rounds to the nearest: choose adamw or adafactor",
        ),
        (
            config.router_balance and config.compile,
            f"router_balance {config.router_balance:g}",
            "what compile makes of a block hides its router: set compile = false",
        ),
        (
            config.decay_steps is not None and config.schedule != "wsd",
            f"decay_steps {config.decay_steps}",
            f"schedule {config.schedule} has no last leg: choose wsd",
        ),
    )


def _misplaced_penalties(config: Any) -> tuple[tuple[Any, str, str], ...]:
    """The same of what holds the weights near θ₀."""
    penalised = config.l2sp or config.l2sp_pull or config.ewc
    return (
        (
            config.l2sp_pull * config.lr > 1,
            f"l2sp_pull {config.l2sp_pull:g}",
            f"times --lr {config.lr:g} it goes past θ₀: give at most {1 / config.lr:g}",
        ),
        (
            config.l2sp_pull and config.params != "fp32",
            f"l2sp_pull {config.l2sp_pull:g}",
            "a pull this small is rounded away in bf16: give --params fp32, or l2sp",
        ),
        (
            config.fisher_data is not None and not config.ewc,
            f"fisher_data {config.fisher_data}",
            "only ewc needs it: give ewc a strength, or drop it",
        ),
        (
            config.optimizer_in_backward and penalised,
            "l2sp, l2sp_pull or ewc",
            "with optimizer_in_backward the gradients are gone when they would be added",
        ),
    )


def _check_early_update(config: Any) -> None:
    if not config.optimizer_in_backward:
        return
    for name, found, why, remedy in (
        (
            "grad-accum",
            config.grad_accum > _processes(),  # one micro-batch each
            "a weight that has moved cannot wait for more gradients",
            _processes(),
        ),
        ("clip", config.clip > 0, "the global norm is known only after the last gradient", 0),
    ):
        if found:
            value = getattr(config, name.replace("-", "_"))
            raise UsageError(
                f"--{name} {value} with optimizer_in_backward: {why}. Give --{name} {remedy}, or"
                " optimizer_in_backward = false."
            )


def _check_auto(config: Any) -> None:
    if not config.auto_micro_batch:
        return
    if config.optimizer_in_backward:
        raise UsageError(
            "auto_micro_batch with optimizer_in_backward: fewer rows at once need accumulation,"
            " which the latter forbids. Set one of them to false."
        )
    if _processes() > 1:
        raise UsageError(
            "auto_micro_batch with several processes: each would look at its own free memory. Ask"
            " `plan` what fits on one, and give --micro-batch."
        )


def _processes() -> int:
    """How many torchrun has started; what is no number, `world` refuses."""
    given = os.environ.get("WORLD_SIZE", "1")
    return int(given) if given.isdecimal() else 1


def _given(config: Any, name: str) -> str:
    """How a choice is given: its option, or its name where only --set and --config take it."""
    return f"--{_option(name)}" if told(type(config))[name].group else name


def _option(name: str) -> str:
    return name.replace("_", "-")

"""What each setting of a run may be, and which exclude each other; checked before anything loads.

A message spells a setting as it is typed on the command line: `--lr 1e-5`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

from gpu_runner.config.source import parse
from gpu_runner.errors import DataError, UsageError
from unfrozen.job.optimizers import RUNNER_OPTIMIZERS, RunnerOptimizerName
from unfrozen.runner import ROUNDED

Schedule = Literal["cosine", "constant", "linear", "wsd"]
Optimizer = RunnerOptimizerName
Rounding = Literal["nearest", "stochastic", "kahan"]
Precision = Literal["fp32", "bf16"]
Device = Literal["auto", "cpu", "cuda"]
Loss = Literal["full", "chunked", "linear"]
TrainOn = Literal["assistant", "last", "all"]
Checkpointing = Literal["none", "selective", "full"]
CheckpointFiles = Literal["auto", "whole", "shards"]
Pairs = tuple[tuple[str, float], ...]
"""A table of TOML by part of the model: (pattern, number). `unfrozen.parameter_groups`
says which weights a pattern matches; the last pattern that matches a weight counts.
"""

MOST_STEPS: Final = 10_000_000
WITH_BETAS: Final = tuple(name for name, one in RUNNER_OPTIMIZERS.items() if one.betas)
"""Optimizers that are AdamW, or leave some weights to it."""
TABLES: Final = ("rates", "decays")
"""Settings that are tables by part of the model."""
MOST_PATTERNS: Final = 64
LONGEST_PATTERN: Final = 200
"""Characters."""
MOST_TOKENS: Final = 256
LONGEST_TOKEN: Final = 64
"""Characters."""
_FACTORS: Final = {"rates": (1e-6, 1000.0), "decays": (0.0, 1000.0)}
_PATHS: Final = (
    *(
        "model",
        "data",
        "eval_data",
        "replay",
        "fisher_data",
        "out",
        "runs",
        "chat_template",
    ),
)


@dataclass(frozen=True, slots=True)
class SettingSpec:
    """What stands in the record of settings beside the type and the default of one.

    help     for a person at the command line; without a full stop, the default is appended
    group    heading under which its option stands in the help
    low      smallest value of a number; as `high` an `int` where it is a whole number
    """

    help: str
    group: str
    low: float | None = None
    high: float | None = None


@cache
def _types(record: type, *, extras: bool) -> dict[str, Any]:
    """Resolve the written types, which takes `typing` long."""
    return get_type_hints(record, include_extras=extras)


def settings_of(record: type) -> dict[str, SettingSpec]:
    """Return the `SettingSpec` of each field of a record, whose types are `Annotated` with it."""
    hints = _types(record, extras=True)
    return {name: hint.__metadata__[0] for name, hint in hints.items()}


def ranges(record: type) -> dict[str, tuple[float, float]]:
    """Return the smallest and the largest value of every number in a record."""
    found = settings_of(record).items()
    return {n: (s.low, s.high) for n, s in found if s.low is not None and s.high is not None}


def allowed_values(record: type) -> dict[str, tuple[str, ...]]:
    """Return the allowed values of every field that is a `Literal`."""
    hints = _types(record, extras=False).items()
    return {name: get_args(kind) for name, kind in hints if get_origin(kind) is Literal}


def check_config(config: Any) -> None:
    """Check every bound of a `TrainConfig`, and what excludes what. Raises `UsageError`."""
    for name, (low, high) in ranges(type(config)).items():
        value = getattr(config, name)
        if value is not None and not (math.isfinite(value) and low <= value <= high):
            raise UsageError(
                f"{_typed(config, name)} is out of bounds:"
                f" give a number from {format_bound(low)} to {format_bound(high)}."
            )
    for name, values in allowed_values(type(config)).items():
        if getattr(config, name) not in values:
            raise UsageError(f"{_typed(config, name)} is unknown: choose {' or '.join(values)}.")
    _check_paths(config)
    _check_date(config.today)
    _check_sources(config)
    _check_tables(config)
    check_tokens(config.add_tokens)
    if config.steps is not None and config.warmup is not None and config.warmup > config.steps:
        raise UsageError(
            f"--warmup {config.warmup} is longer than the run of {config.steps} steps:"
            f" give at most {config.steps}."
        )
    if config.params == "bf16" and config.compute in ("fp32", "fp16"):
        raise UsageError(
            f"--compute {config.compute} with --params bf16: the weights are bf16, so matmuls would"
            " compute in bf16 anyway. Give --compute auto, or --params fp32."
        )
    early = config.optimizer_in_backward or config.optimizer_offload
    if config.compute == "fp16" and (early or config.ewc):
        moving = "in-backward" if config.optimizer_in_backward else "offload"
        beside = "--ewc" if config.ewc else f"--optimizer-{moving}"
        raise UsageError(
            f"--compute fp16 with {beside}: whether a gradient overflows in fp16 is known only"
            f" after the whole backward pass. Give --compute fp32, or drop {beside}."
        )
    _check_optimizer_in_backward(config)
    _check_auto_micro_batch(config)
    _check_combinations(config)


def format_bound(bound: float) -> str:
    """Return a bound as a person writes it."""
    return f"{bound:,}" if isinstance(bound, int) else f"{bound:g}"


def check_used(options: Mapping[str, Any], config: Any) -> None:
    """Refuse settings without effect. Raises `UsageError`; `DataError` for a missing file."""
    penalised = config.l2sp or config.l2sp_pull or config.ewc
    _check_fisher(config)
    for name, used, remedy in (
        ("replay_share", config.replay, "give --replay the file of examples to mix in"),
        ("fisher_rows", config.ewc, "give --ewc a strength"),
        ("anchor_in_memory", penalised, "give --l2sp, --l2sp-pull or --ewc a strength"),
        ("floor_ratio", config.schedule != "constant", "a constant rate has no floor"),
        ("currency", config.price, "give --price its amount"),
    ):
        default = type(config).__dataclass_fields__[name].default
        if options.get(name) not in (None, default) and not used:
            raise UsageError(f"{_typed(config, name)} has no effect: {remedy}, or drop it.")


def _check_fisher(config: Any) -> None:
    """Refuse a missing file now: its examples are read only once the model is loaded."""
    source = config.fisher_data
    if source is None or not source.endswith((".jsonl", ".json")):
        return
    if not Path(source).expanduser().exists():
        raise DataError(f"--fisher-data {source}: there is no such file; check the path.")


def _check_combinations(config: Any) -> None:
    """Refuse what belongs to another optimizer, schedule or penalty. Raises `UsageError`."""
    for found, what, why in (
        *_misplaced_offload(config),
        *_misplaced_settings(config),
        *_misplaced_penalties(config),
    ):
        if found:
            raise UsageError(f"{what}: {why}.")


def _misplaced_settings(config: Any) -> tuple[tuple[Any, str, str], ...]:
    """Return, of optimizer and schedule, (whether it is misplaced, which setting, why)."""
    fields = type(config).__dataclass_fields__
    names = ("beta1", "beta2", "beta2_tokens", "epsilon")
    given_betas = [name for name in names if getattr(config, name) != fields[name].default]
    return (
        (
            config.momentum and config.optimizer != "sgd",
            f"--momentum {config.momentum:g}",
            f"--optimizer {config.optimizer} has its own: only sgd takes one",
        ),
        (
            given_betas and config.optimizer not in WITH_BETAS,
            ", ".join(map(_option, given_betas)),
            f"--optimizer {config.optimizer} has none: choose adamw, or drop it",
        ),
        (
            config.beta2_tokens is not None and "beta2" in given_betas,
            f"--beta2 {config.beta2:g} and --beta2-tokens {config.beta2_tokens}",
            "both set the decay of squared gradients: give one of them",
        ),
        (
            config.rounding != "nearest" and config.params == "fp32",
            f"--rounding {config.rounding}",
            "it applies to bf16 weights only: give --params bf16, or --rounding nearest",
        ),
        (
            config.rounding != "nearest" and config.optimizer not in ROUNDED,
            f"--rounding {config.rounding}",
            f"--optimizer {config.optimizer} rounds to nearest: choose adamw or adafactor",
        ),
        (
            config.router_balance and config.compile,
            f"--router-balance {config.router_balance:g}",
            "a compiled block hides its router: give --no-compile",
        ),
        (
            config.decay_steps is not None and config.schedule != "wsd",
            f"--decay-steps {config.decay_steps}",
            f"--schedule {config.schedule} has no separate decay phase: choose wsd",
        ),
    )


def _misplaced_penalties(config: Any) -> tuple[tuple[Any, str, str], ...]:
    """Return the same for what holds the weights near θ₀."""
    penalised = config.l2sp or config.l2sp_pull or config.ewc
    return (
        (
            config.l2sp_pull * config.lr > 1,
            f"--l2sp-pull {config.l2sp_pull:g}",
            f"times --lr {config.lr:g} it overshoots θ₀: give at most {1 / config.lr:g}",
        ),
        (
            config.l2sp_pull and config.params != "fp32",
            f"--l2sp-pull {config.l2sp_pull:g}",
            "a pull this small is rounded away in bf16: give --params fp32, or --l2sp",
        ),
        (
            config.fisher_data is not None and not config.ewc,
            f"--fisher-data {config.fisher_data}",
            "only EWC uses it: give --ewc a strength, or drop it",
        ),
        (
            config.ema is not None and (config.save_every == 0 or not config.keep_state),
            f"--ema {config.ema}",
            "the average is kept in checkpoints: leave out --save-every 0 and --no-keep-state",
        ),
        (
            config.optimizer_in_backward and penalised,
            "--l2sp, --l2sp-pull or --ewc",
            "with --optimizer-in-backward, gradients are freed before a penalty can be added",
        ),
    )


def _misplaced_offload(config: Any) -> tuple[tuple[Any, str, str], ...]:
    """Return the same for what AdamW in CPU memory cannot do."""
    if not config.optimizer_offload:
        return ()
    return (
        (
            config.optimizer != "adamw",
            "--optimizer-offload",
            f"--optimizer {config.optimizer} steps where the weights are: choose adamw",
        ),
        (
            config.rounding != "nearest",
            f"--rounding {config.rounding} with --optimizer-offload",
            "the fp32 weights in CPU memory lose no update: give --rounding nearest",
        ),
        (
            config.ema is not None,
            f"--ema {config.ema} with --optimizer-offload",
            "the average is on the device, the fp32 weights are in CPU memory: drop one of them",
        ),
        (
            config.l2sp or config.l2sp_pull or config.ewc,
            "--l2sp, --l2sp-pull or --ewc",
            "with --optimizer-offload, gradients are in CPU memory before a penalty can be added",
        ),
    )


def _check_optimizer_in_backward(config: Any) -> None:
    if not config.optimizer_in_backward:
        return
    for name, found, why, remedy in (
        (
            "grad-accum",
            config.grad_accum > processes(),  # one micro-batch each
            "a weight is updated at its first gradient and cannot accumulate more",
            processes(),
        ),
        ("clip", config.clip > 0, "the global norm is known only after the last gradient", 0),
    ):
        if found:
            value = getattr(config, name.replace("-", "_"))
            raise UsageError(
                f"--{name} {value} with --optimizer-in-backward: {why}. Give --{name}"
                f" {remedy}, or --no-optimizer-in-backward."
            )


def _check_auto_micro_batch(config: Any) -> None:
    if not config.auto_micro_batch:
        return
    if config.optimizer_in_backward:
        raise UsageError(
            "--auto-micro-batch with --optimizer-in-backward: a smaller micro-batch needs gradient"
            " accumulation, which --optimizer-in-backward forbids. Drop one of them."
        )
    if processes() > 1:
        raise UsageError(
            "--auto-micro-batch with several processes: each would see its own free memory. Run"
            " `train --dry-run --auto-micro-batch` on one, and give --micro-batch."
        )


def processes() -> int:
    """Return how many processes torchrun has launched; `world` refuses what is no number."""
    given = os.environ.get("WORLD_SIZE", "1")
    return int(given) if given.isdecimal() else 1


def _check_sources(config: Any) -> None:
    general = tuple(file for _, file in config.general or ())
    for given in (
        config.eval_data,
        config.replay,
        config.fisher_data,
        *general,
    ):
        if given and parse(given).weight != 1:
            raise UsageError(
                f"{given}: only training data has a weight: give it to --data or --mix."
            )
    for given in (config.data, *(config.mix or ())):
        parse(given)


def _check_paths(config: Any) -> None:
    for name in _PATHS:
        value = getattr(config, name)
        if value == "":
            raise UsageError(f"{_option(name)} is empty: give a path, or leave it out.")
        try:
            Path(value or ".").expanduser().lstat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, RuntimeError, ValueError) as error:  # too long, no such home, a NUL in it
            reason = getattr(error, "strerror", None) or str(error)
            raise UsageError(
                f"{_option(name)} {value[:80]!r} cannot be a path ({reason}): give another."
            ) from None


def _check_date(today: str | None) -> None:
    try:
        date.fromisoformat(today or "2000-01-01")
    except ValueError:
        raise UsageError(f"--today {today!r} is no date: write it as 2026-11-26.") from None


def _check_tables(config: Any) -> None:
    """Check the numbers of every table. Raises `UsageError` with pattern, value and bounds."""
    for key, (low, high) in _FACTORS.items():
        pairs: Pairs = getattr(config, key) or ()
        if len(pairs) > MOST_PATTERNS:
            raise UsageError(f"--{key} has {len(pairs)} patterns: give at most {MOST_PATTERNS}.")
        for pattern, factor in pairs:
            if not pattern or len(pattern) > LONGEST_PATTERN or not pattern.isprintable():
                raise UsageError(
                    f"--{key}: {pattern[:40]!r} cannot be a pattern: give a part or a name of at"
                    f" most {LONGEST_PATTERN} characters."
                )
            if key == "rates" and factor == 0:
                raise UsageError(
                    f"--rates {pattern}=0 would freeze these weights, and a full fine-tune trains"
                    f" every one: give at least {low:g}, or leave the pattern out."
                )
            if not low <= factor <= high:  # nor a NaN
                raise UsageError(
                    f"--{key} {pattern}={factor:g} is out of bounds: give a number from {low:g} to"
                    f" {high:g}."
                )
    _check_products(config)


def _check_products(config: Any) -> None:
    """Check the products of a factor with the rate or the decay that it multiplies."""
    highest = max((factor for _, factor in config.rates or ()), default=1.0)
    if highest > 1 and config.l2sp_pull * config.lr * highest > 1:
        raise UsageError(
            f"--l2sp-pull {config.l2sp_pull:g} times --lr {config.lr:g} times {highest:g} of"
            f" --rates overshoots θ₀: give at most {1 / config.lr / highest:g}."
        )
    if config.decays and not config.weight_decay:
        raise UsageError(
            "--decays has no effect: it multiplies --weight-decay, which is 0. Give --weight-decay,"
            " or drop --decays."
        )
    strongest = max((factor for _, factor in config.decays or ()), default=1.0)
    if config.weight_decay * strongest > 1:
        raise UsageError(
            f"--decays: {strongest:g} times --weight-decay {config.weight_decay:g} is more than 1:"
            f" give at most {1 / config.weight_decay:g}."
        )


def check_tokens(tokens: tuple[str, ...] | None) -> None:
    """Refuse texts that cannot be a token of their own. Raises `UsageError` with a remedy."""
    if tokens is None:
        return
    if not 0 < len(tokens) <= MOST_TOKENS:
        raise UsageError(f"--add-tokens has {len(tokens)} tokens: give 1 to {MOST_TOKENS:,}.")
    for number, token in enumerate(tokens):
        shown = repr(token[:LONGEST_TOKEN])
        if not token.strip() or token != token.strip():
            raise UsageError(
                f"--add-tokens: token {number + 1} is {shown}: give characters without spaces"
                " around them, such as <tool>."
            )
        if len(token) > LONGEST_TOKEN or not token.isprintable():
            raise UsageError(
                f"--add-tokens: {shown} is too long or not printable: give at most"
                f" {LONGEST_TOKEN} printable characters."
            )
        if token in tokens[:number]:
            raise UsageError(f"--add-tokens: {shown} occurs twice: keep one of them.")
        if _joins_words(token[0]) or _joins_words(token[-1]):
            raise UsageError(
                f"--add-tokens: {shown} would split every word that contains it: let it begin and"
                f" end with punctuation, as <{_bare(token)}>."
            )


def _bare(token: str) -> str:
    return "".join(letter for letter in token if letter.isalnum()) or "name"


def _joins_words(letter: str) -> bool:
    return letter.isalnum() or letter == "_"


def _typed(config: Any, name: str) -> str:
    """Return a setting with its value as it is typed: `--lr 0.1`."""
    value = getattr(config, name)
    return f"{_option(name)} {value!r}" if isinstance(value, str) else f"{_option(name)} {value}"


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"

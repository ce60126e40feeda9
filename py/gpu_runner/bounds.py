"""What each choice of a run may be, and which exclude each other; checked before anything loads."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, get_args

from gpu_runner.errors import DataError, UsageError

Schedule = Literal["cosine", "constant", "linear", "wsd"]
Optimizer = Literal["adamw", "adamw8bit", "adafactor", "sgd", "muon"]
Rounding = Literal["nearest", "stochastic", "kahan"]
Precision = Literal["fp32", "bf16"]
Device = Literal["auto", "cpu", "cuda"]
Loss = Literal["full", "chunked", "linear"]
Checkpointing = Literal["none", "selective", "full"]

_BOUNDS: Final[dict[str, tuple[float, float]]] = {
    "steps": (1, 10_000_000),
    "epochs": (1e-6, 10_000),
    "lr": (1e-12, 1.0),
    "warmup": (0, 10_000_000),
    "floor_ratio": (0.0, 1.0),
    "replay_share": (0.001, 0.9),
    "decay_steps": (0, 10_000_000),
    "layer_decay": (1.0, 100.0),
    "momentum": (0.0, 0.9999),
    "l2sp": (0.0, 1e6),
    "l2sp_pull": (0.0, 1e6),
    "ewc": (0.0, 1e6),
    "fisher_rows": (1, 1_000_000),
    "early_stop": (1, 1_000_000),
    "micro_batch": (1, 4096),
    "grad_accum": (1, 65_536),
    "seq_len": (2, 1_048_576),
    "weight_decay": (0.0, 1.0),
    "clip": (0.0, 1e6),
    "seed": (0, 2**63 - 1),
    "eval_every": (1, 10_000_000),
    "eval_rows": (1, 1_000_000),
    "save_every": (0, 10_000_000),
    "sample_tokens": (0, 4096),
}
_CHOICES: Final[dict[str, tuple[str, ...]]] = {
    "schedule": get_args(Schedule),
    "optimizer": get_args(Optimizer),
    "rounding": get_args(Rounding),
    "params": get_args(Precision),
    "compute": ("auto", "fp32", "bf16"),
    "device": get_args(Device),
    "loss": get_args(Loss),
    "checkpointing": get_args(Checkpointing),
}


def check(config: Any) -> None:
    """Check every bound of a `TrainConfig`, and what excludes what. Raises `UsageError`."""
    for name, (low, high) in _BOUNDS.items():
        value = getattr(config, name)
        if value is not None and not (math.isfinite(value) and low <= value <= high):
            raise UsageError(
                f"--{_option(name)} {value} is out of bounds:"
                f" give a number from {shown(low)} to {shown(high)}."
            )
    for name, choices in _CHOICES.items():
        value = getattr(config, name)
        if value not in choices:
            raise UsageError(
                f"--{_option(name)} {value!r} is unknown: choose {' or '.join(choices)}."
            )
    _check_paths(config)
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


def limits(name: str) -> tuple[float, float]:
    """The smallest and the largest value of a choice; both are `int` where it is a whole number."""
    return _BOUNDS[name]


def shown(bound: float) -> str:
    """A bound as a person writes it."""
    return f"{bound:,}" if isinstance(bound, int) else f"{bound:g}"


def _check_paths(config: Any) -> None:
    for name in ("model", "data", "eval_data", "replay", "fisher_data", "out", "runs"):
        value = getattr(config, name)
        if value == "":
            raise UsageError(f"--{_option(name)} is empty: give a path, or leave it out.")
        try:
            Path(value or ".").expanduser().exists()
        except (OSError, RuntimeError) as error:  # a name too long, a home that is not there
            reason = getattr(error, "strerror", None) or str(error)
            raise UsageError(
                f"--{_option(name)} {value[:80]!r} cannot be a path ({reason}): give another."
            ) from None


def check_used(options: Mapping[str, Any], config: Any) -> None:
    """Refuse what would change nothing. Raises `UsageError`; `DataError` for a file not there."""
    penalised = config.l2sp or config.l2sp_pull or config.ewc
    _check_fisher(config)
    for name, used, remedy in (
        ("replay_share", config.replay, "give --replay the file of rows to mix in"),
        ("fisher_rows", config.ewc, "give ewc a strength"),
        ("anchor_in_memory", penalised, "give l2sp, l2sp_pull or ewc a strength"),
        ("floor_ratio", config.schedule != "constant", "a constant rate has no floor"),
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
    return (
        (
            config.momentum and config.optimizer != "sgd",
            f"momentum {config.momentum:g}",
            f"optimizer {config.optimizer} has its own: only sgd takes one",
        ),
        (
            config.rounding != "nearest" and config.params == "fp32",
            f"rounding {config.rounding}",
            "fp32 weights need none: give --params bf16, or rounding nearest",
        ),
        (
            config.rounding != "nearest" and config.optimizer not in ("adamw", "adafactor"),
            f"rounding {config.rounding}",
            f"{config.optimizer} rounds to the nearest: choose adamw or adafactor",
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


def _option(name: str) -> str:
    return name.replace("_", "-")

"""Paths, sources of rows and days that a run is given: whether they can be any."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

from gpu_runner.config.source import parse
from gpu_runner.errors import UsageError


def check(config: Any) -> None:
    """Check every one of a `TrainConfig`. Raises `UsageError` with the option and a remedy."""
    _check_paths(config)
    _check_day(config.today)
    _check_sources(config)


def _check_sources(config: Any) -> None:
    for given in (config.eval_data, config.replay, config.fisher_data, *_general(config)):
        if given and parse(given).weight != 1:
            raise UsageError(
                f"{given}: a weight is of rows that are trained on: give it to --data or --mix."
            )
    for given in (config.data, *(config.mix or ())):
        parse(given)


def _general(config: Any) -> tuple[str, ...]:
    return tuple(file for _, file in config.general or ())


def _check_paths(config: Any) -> None:
    for name in (
        "model",
        "data",
        "eval_data",
        "replay",
        "fisher_data",
        "out",
        "runs",
        "chat_template",
    ):
        value, option = getattr(config, name), name.replace("_", "-")
        if value == "":
            raise UsageError(f"--{option} is empty: give a path, or leave it out.")
        try:
            Path(value or ".").expanduser().lstat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, RuntimeError, ValueError) as error:  # too long, no such home, a NUL in it
            reason = getattr(error, "strerror", None) or str(error)
            raise UsageError(
                f"--{option} {value[:80]!r} cannot be a path ({reason}): give another."
            ) from None


def _check_day(today: str | None) -> None:
    try:
        date.fromisoformat(today or "2000-01-01")
    except ValueError:
        raise UsageError(f"today {today!r} is no date: write it as 2026-11-26.") from None

"""Export a run's metrics to other tools: CSV always, TensorBoard and W&B where installed.

csv             one row for each step with an event, one column for each metric
tensorboard     an event file in RUN/export/tensorboard
wandb-offline   an offline run in RUN/export/wandb; `wandb sync` would send it, nothing here does
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from gpu_runner.atomic import write_file
from gpu_runner.errors import CheckpointError, SystemFailure, UsageError
from gpu_runner.log.tail import LOG_NAME, event_lines
from unfrozen.schema import read_line

FORMATS: Final = ("csv", "tensorboard", "wandb-offline")
Rows = dict[int, dict[str, float]]


def export_metrics(directory: Path, to: str) -> Path:
    """Write the metrics of the run in `directory`; return the path that was written.

    Raises `UsageError` for an unknown format or a library that is not there, `CheckpointError` for
    a directory without a log, `SystemFailure` when the disk refuses.
    """
    if to not in FORMATS:
        raise UsageError(f"--to {to!r} is unknown: choose {' or '.join((*FORMATS, 'hf'))}.")
    try:
        rows = read_metrics(directory / LOG_NAME)
    except FileNotFoundError:
        raise CheckpointError(f"{directory} is not a run: it has no {LOG_NAME}.") from None
    except OSError as error:
        raise CheckpointError(f"{directory / LOG_NAME}: {error.strerror}.") from None
    place = directory / "export"
    if place.is_symlink():
        raise SystemFailure(
            f"{place} is a link to another place, which is not followed. Remove it."
        )
    try:
        place.mkdir(exist_ok=True)
        if to == "csv":
            return _csv(rows, place / "metrics.csv")
        if to == "tensorboard":
            return _tensorboard(rows, place / "tensorboard")
        return _wandb(rows, place, directory.name)
    except OSError as error:
        raise SystemFailure(f"{place} cannot be written ({error.strerror}).") from None


def read_metrics(log: Path) -> Rows:
    """Return step → name → number for every metric, evaluation, drift and peak in the log.

    What `unfrozen.schema` refuses is left out, as the page leaves it out. Of a step that
    ran twice, before and after a kill, the later one counts.
    """
    rows: Rows = {}
    for line in event_lines(log):
        if (event := read_line(line).value) is not None:
            for name, value in _values(event):
                rows.setdefault(event.get("step", 0), {})[name] = value
    return dict(sorted(rows.items()))


def _values(event: dict[str, Any]) -> Iterator[tuple[str, float]]:
    kind = event["kind"]
    if kind in ("metrics", "sys"):
        yield from ((name, float(value)) for name, value in event.get("m", {}).items())
    elif kind == "eval":
        yield f"eval/{event['suite']}", float(event["loss"])
    elif kind == "drift":
        yield from (
            (f"drift/{name}", float(ratio)) for name, ratio in event.get("layers", {}).items()
        )
    elif kind == "mem":
        yield f"mem/{event['instant']}_bytes", float(event["total_bytes"])


def _csv(rows: Rows, path: Path) -> Path:
    names = sorted({name for row in rows.values() for name in row})
    file = io.StringIO()
    table = csv.writer(file)
    table.writerow(["step", *names])
    for step, row in rows.items():
        table.writerow([step, *(_shortest(row[name]) if name in row else "" for name in names)])
    write_file(path, file.getvalue())
    return path


def _shortest(value: float) -> str:
    """Return a number that reads back as itself; whole ones without a point."""
    return str(int(value)) if math.isfinite(value) and value == int(value) else repr(value)


def _library(name: str, package: str, to: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise UsageError(
            f"--to {to} needs {package}, which is not installed ({error}): pip install {package},"
            " or give --to csv."
        ) from None


def _tensorboard(rows: Rows, place: Path) -> Path:
    _library("tensorboard", "tensorboard", "tensorboard")
    writer = _library("torch.utils.tensorboard", "tensorboard", "tensorboard").SummaryWriter(place)
    for step, row in rows.items():
        for name, value in row.items():
            writer.add_scalar(name, value, step)
    writer.close()
    return place


def _wandb(rows: Rows, place: Path, run: str) -> Path:
    wandb = _library("wandb", "wandb", "wandb-offline")
    written = wandb.init(project="unfrozen", name=run, mode="offline", dir=place)
    for step, row in rows.items():
        written.log(row, step=step)
    written.finish()
    return place / "wandb"

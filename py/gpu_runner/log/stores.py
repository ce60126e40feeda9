"""Runs in the stores of MLflow and trackio: one database holds several.

    trackio's PROJECT.db          tables metrics and configs (trackio/sqlite_storage.py)
    MLflow's mlflow.db            tables runs, metrics and params (mlflow/store/tracking/dbmodels)
    a run's folder in mlruns/     meta.yaml, and of each metric a file with lines of milliseconds,
                                  value and step (mlflow/store/tracking/file_store.py)

A database is opened for reading only, and its schema is not trusted.
"""

from __future__ import annotations

import json
import math
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import datetime
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from unfrozen.errors import ForeignFileError, is_deep
from unfrozen.events import RunStatus
from unfrozen.imported.log import ForeignRun
from unfrozen.imported.points import LAST_STEP, Points
from unfrozen.imported.sanitize import number
from unfrozen.imported.tools import EXPECTED
from unfrozen.plain import open_plain, read_plain

SQLITE: Final = b"SQLite format 3\0"
META: Final = "meta.yaml"
_MOST_BYTES: Final = 64 * 2**20
_MOST_FILES: Final = 1000
_ENDS: Final[dict[str, tuple[RunStatus, str]]] = {
    "FINISHED": ("finished", ""),
    "FAILED": ("failed", "MLflow noted that it failed"),
    "KILLED": ("stopped", "MLflow noted that it was killed"),
}
_CODES: Final = {"3": "FINISHED", "4": "FAILED", "5": "KILLED"}  # RunStatus of MLflow's proto
_RUNNING: Final[tuple[RunStatus, str]] = ("stopped", "its store has no end of it")


def runs_in_database(file: Path) -> list[ForeignRun]:
    """Return the runs in an SQLite database. Raises `ForeignFileError`, `OSError`."""
    os.close(open_plain(file))
    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as database:
            database.execute("PRAGMA trusted_schema = OFF")
            columns = {row[1] for row in database.execute("PRAGMA table_info(metrics)")}
            if {"run_id", "run_name", "metrics"} <= columns:
                found = list(_trackio_runs(database))
            elif {"run_uuid", "key", "is_nan"} <= columns:
                found = list(_mlflow_runs(database))
            else:
                problem = "it is a database, and neither trackio's nor MLflow's"
                raise ForeignFileError(file.name, problem, EXPECTED)
    except (sqlite3.Error, TypeError, ValueError) as error:
        problem = f"the database cannot be read ({str(error)[:80]})"
        raise ForeignFileError(file.name, problem, "copy it again, while nothing writes") from None
    if not found:
        raise ForeignFileError(file.name, "no number is in it", "log a metric first")
    return found


def run_in_folder(folder: Path) -> ForeignRun:
    """Return the run of a folder in MLflow's `mlruns`. Raises `ForeignFileError`, `OSError`."""
    lines = (line.partition(":") for line in _text(folder / META).splitlines())
    meta = {key.strip(): value.strip().strip("'\"") for key, _, value in lines}
    rows: list[tuple[int, int, str, float]] = []
    for name, text in _files(folder / "metrics"):
        for line in text.splitlines():
            try:
                time, value, step = line.split()
                rows.append((int(time), int(step), name, float(value)))
            except ValueError:
                problem = f"metrics/{name}: {line[:80]!r} is not milliseconds, value and step"
                raise ForeignFileError(folder.name, problem, "copy it again") from None
    points = Points()
    for at, step_at, name, one in sorted(rows, key=lambda row: row[:3]):
        points.add(name, step_at, one, at / 1000)
    if not points.count:
        raise ForeignFileError(folder.name, "no number is in it", "log a metric first")
    end = _CODES.get(meta.get("status", ""), "")
    return _mlflow_run(points, meta.get("run_name", ""), dict(_files(folder / "params")), end)


def _trackio_runs(database: sqlite3.Connection) -> Iterator[ForeignRun]:
    configs = dict(database.execute("SELECT run_id, config FROM configs").fetchall())
    rows = database.execute(
        "SELECT run_id, run_name, step, timestamp, metrics FROM metrics ORDER BY run_id, id"
    )
    for (run, name), lines in groupby(rows, key=lambda row: row[:2]):
        points = Points()
        for _, _, step, time, metrics in lines:
            seconds = datetime.fromisoformat(time).timestamp()
            for metric, value in _object(metrics).items():
                if (found := number(value)) is not None:
                    points.add(metric, _step(step), found, seconds)
        config = {k: v for k, v in _object(configs.get(run, "{}")).items() if k[:1] != "_"}
        if points.count:
            reason = "trackio's database does not say how a run ended"
            yield _run("trackio", points, name, config, "stopped", reason)


def _mlflow_runs(database: sqlite3.Connection) -> Iterator[ForeignRun]:
    kept = "SELECT run_uuid, name, status FROM runs WHERE lifecycle_stage = 'active'"
    for run, name, end in database.execute(f"{kept} ORDER BY start_time").fetchall():
        points = Points()
        for metric, step, value, is_nan, time in database.execute(
            "SELECT key, step, value, is_nan, timestamp FROM metrics WHERE run_uuid = ?"
            " ORDER BY timestamp, step",
            (run,),
        ):
            points.add(metric, _step(step), math.nan if is_nan else float(value), time / 1000)
        params = database.execute("SELECT key, value FROM params WHERE run_uuid = ?", (run,))
        if points.count:
            yield _mlflow_run(points, name, dict(params.fetchall()), end)


def _mlflow_run(points: Points, name: str, params: Mapping[str, Any], end: str) -> ForeignRun:
    return _run("mlflow", points, name, params, *_ENDS.get(end, _RUNNING))


def _run(
    tool: str,
    points: Points,
    name: str,
    config: Mapping[str, Any],
    status: RunStatus,
    reason: str,
) -> ForeignRun:
    """Return a run; its digest is of its numbers, not of all that its store holds."""
    digest = sha256(f"{name} {status}".encode())
    for attempt in points.attempts:
        for metric, curve in attempt.items():
            digest.update(metric.encode())
            for numbers in (curve.steps, curve.values, curve.times):
                digest.update(numbers)
    return ForeignRun(
        tool,
        points,
        digest.hexdigest(),
        name=name,
        last_step=points.last_step,
        status=status,
        reason=reason,
        config=config,
    )


def _files(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the name of each plain file below a folder, and its text."""
    found = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    for path in found[:_MOST_FILES]:
        yield path.relative_to(folder).as_posix(), _text(path)


def _text(path: Path) -> str:
    return read_plain(path, _MOST_BYTES).decode(errors="replace")


def _step(value: object) -> int:
    """Return a step; −1, which `Points` counts, for what is none."""
    return value if isinstance(value, int) and 0 <= value <= LAST_STEP else -1


def _object(found: str | bytes) -> dict[str, Any]:
    """Return the object in some JSON; an empty one for anything else."""
    text = found.decode(errors="replace") if isinstance(found, bytes) else found
    value = {} if is_deep(text) else json.loads(text)
    return value if isinstance(value, dict) else {}

"""A table of metrics (CSV): a line a step, a column a metric, as Lightning's CSVLogger and most
tools' exports have them.

The column of steps is the first of `STEPS` that is there; `TIMES` hold Unix seconds or
milliseconds. W&B's export begins the names of its columns with that of the run, and adds columns of
minima and maxima, which are left out. An empty cell is no number, and nothing.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from typing import Final

from unfrozen.errors import ForeignFileError
from unfrozen.imported.log import ForeignRun
from unfrozen.imported.points import LAST_STEP, Points
from unfrozen.imported.sanitize import text
from unfrozen.imported.tools import EXPECTED

STEPS: Final = ("step", "global_step", "train/global_step", "trainer/global_step", "_step")
STEPS_ELSE: Final = ("iteration", "iter", "epoch")
TIMES: Final = ("_timestamp", "timestamp", "wall time", "wall_time", "time", "date")
MOST_CHARACTERS: Final = 131_072  # of a field; any library may move csv's own limit
_BOUNDS: Final = ("__MIN", "__MAX")
_MILLISECONDS: Final = 1e11  # a time beyond is not in seconds


def read_table(file: str, whole: str, digest: str) -> ForeignRun:
    """Return the run in a table. Raises `ForeignFileError` for one without steps or numbers."""
    lines = _lines(file, whole)
    header = next(lines, [])
    lower = [name.strip().lower() for name in header]
    step_at = next((lower.index(n) for n in (*STEPS, *STEPS_ELSE) if n in lower), None)
    if step_at is None:
        known = f"a table has a column {', '.join(STEPS)}, {' or '.join(STEPS_ELSE)}"
        problem = "it is of no tool that is known here, and no table of metrics"
        raise ForeignFileError(file, problem, f"{known}; {EXPECTED}", 0)
    time_at = next((lower.index(name) for name in TIMES if name in lower), None)
    names, run_name = _metric_names(header, {step_at, time_at})
    points, passed = Points(), dict.fromkeys(names.values(), 0)
    for cells in lines:
        _take_line(points, passed, names, cells, step_at, time_at)
    if not points.count:
        remedy = "each line below the first needs a step and a number"
        raise ForeignFileError(file, "no number is in it", remedy)
    notes = [
        f"cells of {text(name, 60)} that are no numbers: {count:,}"
        for name, count in passed.items()
        if count
    ]
    return ForeignRun(
        "csv",
        points,
        digest,
        name=run_name,
        last_step=points.last_step,
        reason="a table does not say how its run ended",
        notes=notes[:20],
    )


def _lines(file: str, whole: str) -> Iterator[list[str]]:
    first = whole.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader((f"{line}\n" for line in whole.split("\n")), delimiter=delimiter)
    try:
        for row in reader:
            if max(map(len, row), default=0) > MOST_CHARACTERS:
                raise csv.Error(f"a field is longer than {MOST_CHARACTERS:,} characters")
            yield row
    except csv.Error as error:
        problem = f"line {reader.line_num:,} is no line of a table ({str(error)[:80]})"
        raise ForeignFileError(file, problem, "export it again") from None


def _metric_names(header: Sequence[str], taken: set[int | None]) -> tuple[dict[int, str], str]:
    """Return the metrics by place, and the name of the run that all of them begin with."""
    found: dict[int, str] = {}
    for place, raw in enumerate(header):
        name = raw.strip()
        wanted = place not in taken and name and not name.endswith(_BOUNDS)
        if wanted and name not in found.values():
            found[place] = name
    runs = {name.partition(" - ")[0] if " - " in name else "" for name in found.values()}
    if len(runs) != 1 or runs == {""}:
        return found, ""
    return {place: name.partition(" - ")[2] for place, name in found.items()}, runs.pop()


def _take_line(
    points: Points,
    passed: dict[str, int],
    names: dict[int, str],
    cells: Sequence[str],
    step_at: int,
    time_at: int | None,
) -> None:
    """Take the numbers of one line; count in `passed` the cells that are none."""
    step = _number(cells[step_at]) if step_at < len(cells) else None
    if step is None or step != step // 1 or not 0 <= step <= LAST_STEP:
        step = -1.0  # which `points` counts
    time = _seconds(cells[time_at]) if time_at is not None and time_at < len(cells) else 0.0
    for place, name in names.items():
        cell = cells[place].strip() if place < len(cells) else ""
        value = _number(cell)
        if value is not None:
            points.add(name, int(step), value, time)
        elif cell:
            passed[name] += 1


def _number(cell: str) -> float | None:
    try:
        return None if "_" in cell else float(cell)
    except ValueError:
        return None


def _seconds(cell: str) -> float:
    """Return Unix seconds; 0 where the cell is no number."""
    found = _number(cell) or 0.0
    return found / 1000 if found > _MILLISECONDS else found

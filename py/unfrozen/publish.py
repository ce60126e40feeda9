"""What a live cell may hand to the page: one table, or a list of plots, as JSON text.

The keys an author needs:

    js.window.py_table_data  {"headers": [str], "rows": [[cell]]}
    js.window.py_plot_data   [{"title", "x_label", "y_label", "x_data": [str | number],
                               "lines": [{"label", "data": [number | null], "color"}]}]

and those an author may add:

    table   "align": ["left" | "right" | "center"], "units": [str], "caption": str
    plot    "type": "line" | "bar" | "stacked_bar", "thresholds": [{"label", "value"}],
            "x_log", "y_log": bool, "x_unit", "y_unit", "caption": str
    line    "dashed": bool

A cell of a table is text, a number, a truth value or null. Anything else raises `PublishError`,
with the key, the value and the remedy, in the reader's own line: nothing is dropped silently.
numpy's numbers and arrays may stand wherever a number or a list of numbers may.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final, Literal, cast

from unfrozen.cell_json import (
    each,
    flag,
    items,
    load,
    mapping,
    needed,
    number,
    number_or_gap,
    one_of,
    optional,
    plain,
    text,
    text_or_number,
)
from unfrozen.errors import PublishError

Cell = str | int | float | bool | None
Align = Literal["left", "right", "center"]
PlotType = Literal["line", "bar", "stacked_bar"]

__all__ = [
    "Cell",
    "Line",
    "Plot",
    "PublishError",
    "Table",
    "Threshold",
    "parse_plots",
    "parse_table",
    "plots_as_json",
]


MAX_ROWS: Final = 10_000
MAX_COLUMNS: Final = 200
MAX_POINTS: Final = 200_000
MAX_LINES: Final = 200
MAX_PLOTS: Final = 50

_Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class Table:
    """A table: `rows[i][j]` stands under `headers[j]`."""

    headers: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    align: tuple[Align, ...] = ()
    units: tuple[str, ...] = ()
    caption: str = ""

    def as_dict(self) -> _Json:
        """Plain data in the contract's words, optional keys only where they say something."""
        return _without_defaults(asdict(self), ("headers", "rows"))

    def as_json(self) -> str:
        """JSON text to assign to `js.window.py_table_data`; raises PublishError for a NaN."""
        json_text = _json_text(self.as_dict())
        parse_table(json_text)
        return json_text


@dataclass(frozen=True, slots=True)
class Line:
    """One series of a plot; None is a gap."""

    label: str
    data: tuple[float | None, ...]
    color: str = ""
    dashed: bool = False

    def as_dict(self) -> _Json:
        """Plain data in the contract's words."""
        return _without_defaults(asdict(self), ("label", "data"))


@dataclass(frozen=True, slots=True)
class Threshold:
    """A labelled level across a plot, in the unit of its y axis."""

    label: str
    value: float


@dataclass(frozen=True, slots=True)
class Plot:
    """One plot: every line has a value, or a gap, for each entry of `x_data`."""

    title: str
    x_label: str
    y_label: str
    x_data: tuple[str | float, ...]
    lines: tuple[Line, ...]
    type: PlotType = "line"
    thresholds: tuple[Threshold, ...] = ()
    x_log: bool = False
    y_log: bool = False
    x_unit: str = ""
    y_unit: str = ""
    caption: str = ""

    def as_dict(self) -> _Json:
        """Plain data in the contract's words, optional keys only where they say something."""
        required = ("title", "x_label", "y_label", "x_data", "lines")
        plain = _without_defaults(asdict(self), required)
        if self.type == "line":
            del plain["type"]
        return plain | {"lines": [line.as_dict() for line in self.lines]}

    def as_json(self) -> str:
        """JSON text of this one plot; `plots_as_json` makes what a cell assigns."""
        return plots_as_json([self])[1:-1]  # the list's brackets taken off


def plots_as_json(plots: Sequence[Plot]) -> str:
    """JSON text to assign to `js.window.py_plot_data`; raises PublishError for a NaN."""
    json_text = _json_text([plot.as_dict() for plot in plots])
    parse_plots(json_text)
    return json_text


def parse_table(json_text: object) -> Table:
    """Check and read what a cell assigned to `py_table_data`; raises PublishError."""
    where = "py_table_data"
    given = mapping(load(json_text, where), where, Table)
    headers = each(given, "headers", where, text, MAX_COLUMNS)
    rows = each(given, "rows", where, _row, MAX_ROWS)
    for index, row in enumerate(rows):
        if len(row) != len(headers):
            remedy = f"every row needs one cell for each of the {len(headers)} headers"
            raise PublishError(f"{where}.rows[{index}]", _many(len(row), "cell"), remedy)
    table = Table(
        headers,
        rows,
        align=each(given, "align", where, _align, MAX_COLUMNS, optional=True),
        units=each(given, "units", where, text, MAX_COLUMNS, optional=True),
        caption=optional(given, "caption", where, text, ""),
    )
    for key, entries in (("align", len(table.align)), ("units", len(table.units))):
        if entries not in (0, len(headers)):
            remedy = f"give one entry for each of the {len(headers)} headers, or leave the key out"
            raise PublishError(f"{where}.{key}", _many(entries, "entry"), remedy)
    return table


def parse_plots(json_text: object) -> list[Plot]:
    """Check and read what a cell assigned to `py_plot_data`; raises PublishError."""
    where = "py_plot_data"
    loaded = load(json_text, where)
    if not isinstance(loaded, list):
        raise PublishError(where, loaded, "assign a list of plots: json.dumps([{…}])")
    if len(loaded) > MAX_PLOTS:
        raise PublishError(where, f"{len(loaded)} plots", f"draw at most {MAX_PLOTS}")
    return [_plot(plot, f"{where}[{index}]") for index, plot in enumerate(loaded)]


def _plot(value: object, where: str) -> Plot:
    given = mapping(value, where, Plot)
    plot = Plot(
        title=optional(given, "title", where, text, ""),
        x_label=optional(given, "x_label", where, text, ""),
        y_label=optional(given, "y_label", where, text, ""),
        x_data=each(given, "x_data", where, text_or_number, MAX_POINTS),
        lines=each(given, "lines", where, _line, MAX_LINES),
        type=optional(given, "type", where, _plot_type, "line"),
        thresholds=each(given, "thresholds", where, _threshold, MAX_LINES, optional=True),
        x_log=optional(given, "x_log", where, flag, False),
        y_log=optional(given, "y_log", where, flag, False),
        x_unit=optional(given, "x_unit", where, text, ""),
        y_unit=optional(given, "y_unit", where, text, ""),
        caption=optional(given, "caption", where, text, ""),
    )
    _check_lengths(plot, where)
    _check_log_axes(plot, where)
    return plot


def _check_lengths(plot: Plot, where: str) -> None:
    entries = len(plot.x_data)
    for index, line in enumerate(plot.lines):
        if len(line.data) != entries:
            remedy = f"give one number or null for each of the {entries} entries of x_data"
            raise PublishError(
                f"{where}.lines[{index}].data", _many(len(line.data), "value"), remedy
            )
    if (points := entries * len(plot.lines)) > MAX_POINTS:
        remedy = f"draw at most {MAX_POINTS:,} points in one plot: take every n-th"
        raise PublishError(f"{where}.lines", f"{points:,} points", remedy)


def _check_log_axes(plot: Plot, where: str) -> None:
    remedy = "a logarithmic axis shows numbers above 0 only; use null or leave the log key out"
    if plot.x_log:
        for index, x in enumerate(plot.x_data):
            if isinstance(x, str) or x <= 0:
                raise PublishError(f"{where}.x_data[{index}]", x, remedy)
    if plot.y_log:
        named = [(f"lines[{i}].data", y) for i, line in enumerate(plot.lines) for y in line.data]
        named += [(f"thresholds[{i}].value", t.value) for i, t in enumerate(plot.thresholds)]
        for key, y in named:
            if y is not None and y <= 0:
                raise PublishError(f"{where}.{key}", y, remedy)


def _line(value: object, where: str) -> Line:
    given = mapping(value, where, Line)
    return Line(
        label=optional(given, "label", where, text, ""),
        data=each(given, "data", where, number_or_gap, MAX_POINTS),
        color=optional(given, "color", where, text, ""),
        dashed=optional(given, "dashed", where, flag, False),
    )


def _threshold(value: object, where: str) -> Threshold:
    given = mapping(value, where, Threshold)
    label = optional(given, "label", where, text, "")
    return Threshold(label, number(needed(given, "value", where), f"{where}.value"))


def _many(number: int, noun: str) -> str:
    """A number with its noun: 1 cell, 2 cells; 1 entry, 2 entries."""
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def _row(value: object, where: str) -> tuple[Cell, ...]:
    return items(value, where, _cell, MAX_COLUMNS)


def _cell(value: object, where: str) -> Cell:
    if value is None or isinstance(value, bool):
        return value
    remedy = "give a number a double can hold, or None for an empty cell"
    return text(value, where) if isinstance(value, str) else number(value, where, remedy)


def _align(value: object, where: str) -> Align:
    return cast(Align, one_of(value, where, ("left", "right", "center")))


def _plot_type(value: object, where: str) -> PlotType:
    return cast(PlotType, one_of(value, where, ("line", "bar", "stacked_bar")))


def _json_text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=plain)


def _without_defaults(plain: dict[str, object], always: tuple[str, ...]) -> dict[str, object]:
    return {key: value for key, value in plain.items() if key in always or value}

"""Tables and plots that a live cell publishes to the page, as JSON text.

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
from typing import Any, Final, Literal

from unfrozen.errors import PublishError
from unfrozen.schema.check import Fault, check, describe, is_unicode
from unfrozen.schema.published import MAX_POINTS, PLOTS, TABLE
from unfrozen.schema.shapes import Shape

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

MAX_JSON_LENGTH: Final = 32_000_000
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
        """Return plain data with the published keys; optional ones only where they are set."""
        return _without_defaults(asdict(self), ("headers", "rows"))

    def as_json(self) -> str:
        """Return JSON text for `js.window.py_table_data`; raises PublishError for a NaN."""
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
        """Return plain data with the published keys."""
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
        """Return plain data with the published keys; optional ones only where they are set."""
        required = ("title", "x_label", "y_label", "x_data", "lines")
        plain = _without_defaults(asdict(self), required)
        if self.type == "line":
            del plain["type"]
        return plain | {"lines": [line.as_dict() for line in self.lines]}

    def as_json(self) -> str:
        """Return JSON text of this one plot; `plots_as_json` makes what a cell assigns."""
        return plots_as_json([self])[1:-1]  # the list's brackets taken off


def plots_as_json(plots: Sequence[Plot]) -> str:
    """Return JSON text to assign to `js.window.py_plot_data`; raises PublishError for a NaN."""
    json_text = _json_text([plot.as_dict() for plot in plots])
    parse_plots(json_text)
    return json_text


def parse_table(json_text: object) -> Table:
    """Return the table that a cell assigned to `py_table_data`, checked; raises PublishError."""
    where = "py_table_data"
    given = _parse(json_text, where)
    _check(TABLE, given, where)
    fields: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    rows = tuple(tuple(row) for row in fields.pop("rows"))
    fields |= {key: tuple(fields.get(key, ())) for key in ("headers", "align", "units")}
    return Table(rows=rows, **fields)


def parse_plots(json_text: object) -> list[Plot]:
    """Return the plots that a cell assigned to `py_plot_data`, checked; raises PublishError."""
    where = "py_plot_data"
    given = _parse(json_text, where)
    _check(PLOTS, given, where)
    plots = [_plot(plot) for plot in given]
    for index, plot in enumerate(plots):
        _check_points(plot, f"{where}[{index}]")
        _check_log_axes(plot, f"{where}[{index}]")
    return plots


def _parse(text: object, where: str) -> Any:
    """Return the value of JSON text; NaN and Infinity pass and are refused where they stand."""
    if not isinstance(text, str):
        raise PublishError(where, text, "assign JSON text: json.dumps(…)")
    if len(text) > MAX_JSON_LENGTH:
        remedy = f"publish at most {MAX_JSON_LENGTH:,} characters: summarise in the cell first"
        raise PublishError(where, f"{len(text):,} characters", remedy)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = error if isinstance(error, ValueError) else "it is nested too deeply"
        raise PublishError(where, text, f"this is not JSON ({reason}); use json.dumps(…)") from None


def _check(shape: Shape, value: object, where: str) -> None:
    """Raise PublishError with the place, the value and the bound if `value` does not fit."""
    fault = check(shape, value).fault
    if fault is not None:
        place = f"{where}.{fault.place}".replace(".[", "[").removesuffix(".")
        raise PublishError(place, *_got_and_remedy(fault))


def _got_and_remedy(fault: Fault) -> tuple[object, str]:
    if fault.kind == "missing":
        return "nothing", f"this key is needed; {fault.bound}"
    if fault.kind == "value" and isinstance(fault.value, str):
        bound = fault.bound if is_unicode(fault.value) else "encode a lone surrogate first"
        return (fault.value if len(fault.value) < 80 else describe(fault.value)), bound
    return fault.value, fault.bound


def _plot(given: _Json) -> Plot:
    fields: dict[str, Any] = {"title": "", "x_label": "", "y_label": ""}
    fields |= {key: value for key, value in given.items() if value is not None}
    lines = tuple(_line(line) for line in fields.pop("lines"))
    thresholds = tuple(
        Threshold(threshold.get("label") or "", threshold["value"])
        for threshold in fields.pop("thresholds", ())
    )
    return Plot(x_data=tuple(fields.pop("x_data")), lines=lines, thresholds=thresholds, **fields)


def _line(given: _Json) -> Line:
    fields: dict[str, Any] = {"label": ""}
    fields |= {key: value for key, value in given.items() if value is not None}
    return Line(data=tuple(fields.pop("data")), **fields)


def _check_points(plot: Plot, where: str) -> None:
    if (points := len(plot.x_data) * len(plot.lines)) > MAX_POINTS:
        remedy = f"draw at most {MAX_POINTS:,} points in one plot: take every n-th"
        raise PublishError(f"{where}.lines", f"{points:,} points", remedy)


def _check_log_axes(plot: Plot, where: str) -> None:
    remedy = "a logarithmic axis shows numbers above 0 only; use None or leave the log key out"
    if plot.x_log:
        for index, x in enumerate(plot.x_data):
            if isinstance(x, str) or x <= 0:
                raise PublishError(f"{where}.x_data[{index}]", x, remedy)
    if plot.y_log:
        values = [(f"lines[{i}].data", y) for i, line in enumerate(plot.lines) for y in line.data]
        values += [(f"thresholds[{i}].value", t.value) for i, t in enumerate(plot.thresholds)]
        for key, y in values:
            if y is not None and y <= 0:
                raise PublishError(f"{where}.{key}", y, remedy)


def is_numpy(value: object) -> bool:
    """Return whether a value is a numpy array or scalar, or one of a library like it."""
    return hasattr(value, "dtype") and hasattr(value, "tolist")


def plain(value: Any) -> object:
    """Return an array as a list and a numpy scalar as Python's number; `default` of `json.dumps`.

    Raises TypeError for anything else, as `json` itself does.
    """
    if not is_numpy(value):
        raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")
    as_list: object = value.tolist()
    return float(value) if isinstance(as_list, type(value)) else as_list  # a longdouble stays one


def _json_text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=plain)


def _without_defaults(fields: dict[str, object], always: tuple[str, ...]) -> dict[str, object]:
    return {key: value for key, value in fields.items() if key in always or value}

"""Tables and plots that a live cell publishes to the page: a call each, or JSON text.

    show_table(["Model", "GB"], [["7B", 112.0]], units=["", "GB"])
    show_plot("Loss", "Step", "Nats", range(3), {"Task": [3, 2, 1]}, y_log=True)

A plot of a title that the run has shown already replaces that one, so that a loop can redraw it;
others stand below it. Both calls assign to the page's window what JSON text assigns without them.
The keys that text needs:

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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
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
    "show_plot",
    "show_table",
]

MAX_JSON_LENGTH: Final = 32_000_000
_Json = dict[str, object]
_shown_plots: dict[str, _Json] = {}  # by title, those of the cell that runs


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

    def show(self) -> None:
        """Show the table, as `show_table` does."""
        _show("py_table_data", TABLE, self.as_dict())


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

    def show(self) -> None:
        """Show the plot, as `show_plot` does."""
        _show_plot(self.as_dict())


def plots_as_json(plots: Sequence[Plot]) -> str:
    """Return JSON text to assign to `js.window.py_plot_data`; raises PublishError for a NaN."""
    json_text = _json_text([plot.as_dict() for plot in plots])
    parse_plots(json_text)
    return json_text


def show_table(
    headers: Iterable[str],
    rows: Iterable[Iterable[Cell]],
    *,
    align: Iterable[str] = (),
    units: Iterable[str] = (),
    caption: str = "",
) -> None:
    """Show a table below the cell. Raises PublishError, and RuntimeError where no page is."""
    given: _Json = {"headers": headers, "rows": rows, "caption": caption}
    given |= {"align": _as_list(align), "units": _as_list(units)}
    _show("py_table_data", TABLE, _without_defaults(given, ("headers", "rows")))


def show_plot(
    title: str,
    x_label: str,
    y_label: str,
    x: Iterable[str | float],
    lines: Mapping[str, Iterable[float | None]] | Iterable[Mapping[str, object]],
    *,
    type: PlotType = "line",
    dashed: Iterable[str] = (),
    thresholds: Mapping[str, float] | Iterable[Mapping[str, object]] = (),
    x_log: bool = False,
    y_log: bool = False,
    x_unit: str = "",
    y_unit: str = "",
    caption: str = "",
) -> None:
    """Show a plot below the cell. Raises PublishError, and RuntimeError where no page is.

    `lines` and `thresholds` are values by label, or dictionaries of the published keys; `dashed`
    names lines by their labels.
    """
    given = {
        "title": title,
        "x_label": x_label,
        "y_label": y_label,
        "x_data": x,
        "lines": _dash(_labelled(lines, "data"), dashed),
        "type": "" if type == "line" else type,
        "thresholds": _labelled(thresholds, "value"),
    }
    options = {"x_log": x_log, "y_log": y_log, "x_unit": x_unit, "y_unit": y_unit}
    required = ("title", "x_label", "y_label", "x_data", "lines")
    _show_plot(_without_defaults({**given, **options, "caption": caption}, required))


def start_run() -> None:
    """Forget the plots of the last run; whatever runs cells calls this before each."""
    _shown_plots.clear()


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


def _show_plot(plot: _Json) -> None:
    shown = _shown_plots | {str(plot["title"]): plot}
    _show("py_plot_data", PLOTS, list(shown.values()))
    _shown_plots.update(shown)


def _show(name: str, shape: Shape, value: object) -> None:
    """Assign a table or plots to the page's window; raises RuntimeError where there is no page."""
    value = _as_json_value(value)
    _check(shape, value, name)
    json_text = _json_text(value)
    try:
        window = import_module("js").window
    except ImportError:
        raise RuntimeError(
            "there is no page here to show this on: run the code in a cell of the article, or take "
            "its numbers in your own Python and draw them there"
        ) from None
    setattr(window, name, json_text)


def _labelled(given: object, key: str) -> object:
    """Return values by label as a list of dictionaries; anything else as it is."""
    if not isinstance(given, Mapping):
        return _as_list(given)
    return [{"label": label, key: value} for label, value in given.items()]


def _dash(lines: object, dashed: str | Iterable[str]) -> object:
    """Return the lines, those of the labels in `dashed` marked; PublishError for an unknown one."""
    names = [dashed] if isinstance(dashed, str) else list(dashed)
    if not names or not isinstance(lines, list):
        return lines
    labels = [line.get("label") if isinstance(line, Mapping) else None for line in lines]
    for name in names:
        if name not in labels:
            known = ", ".join(map(repr, labels)) or "there is none"
            raise PublishError("dashed", name, f"name lines by their labels: {known}")
    return [
        {**line, "dashed": True} if label in names else line
        for line, label in zip(lines, labels, strict=True)
    ]


def _as_list(given: object) -> object:
    """Return what can be iterated over as a list; text, mappings and all else as they are."""
    if isinstance(given, Iterable) and not isinstance(given, (str, bytes, Mapping)):
        return list(given)
    return given


def _as_json_value(given: object) -> object:
    """Return nested iterables as lists and numpy's numbers as Python's, for the check."""
    if is_numpy(given):
        return plain(given)
    given = _as_list(given)
    if isinstance(given, list):
        return [_as_json_value(value) for value in given]
    if isinstance(given, dict):
        return {key: _as_json_value(value) for key, value in given.items()}
    return given


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

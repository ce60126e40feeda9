"""The table and the plots that a cell hands to the page: their shapes and limits.

`unfrozen.publish` checks them as the cell assigns them, the page before it draws them.
"""

from __future__ import annotations

from typing import Final

from unfrozen.schema.shapes import (
    BOOLEAN,
    NULL,
    Shape,
    any_of,
    array,
    enum,
    integer,
    number,
    record,
    string,
)

MAX_TEXT_LENGTH: Final = 10_000
MAX_ROWS: Final = 10_000
MAX_COLUMNS: Final = 200
MAX_POINTS: Final = 200_000
MAX_LINES: Final = 200
MAX_PLOTS: Final = 50

_TEXT: Final = string(MAX_TEXT_LENGTH)
_CELL: Final = any_of(
    *(number(), _TEXT, BOOLEAN, NULL),
    described=f"a finite number, text of at most {MAX_TEXT_LENGTH:,} characters, true, false, "
    "or None for an empty cell",
)
_COORDINATE: Final = number(-1e300, 1e300)  # sums and spans of such numbers stay finite
_VALUE: Final = any_of(_COORDINATE, NULL, described="a finite number, or None for a gap")
_LINE: Final = record(
    {
        "label": _TEXT,
        "data": array(_VALUE, MAX_POINTS),
        "color": string(200),
        "dashed": BOOLEAN,
    },
    required=("data",),
    closed=True,
)

TABLE: Final[Shape] = record(
    {
        "headers": array(_TEXT, MAX_COLUMNS),
        "rows": array(array(_CELL, MAX_COLUMNS), MAX_ROWS),
        "align": array(enum("left", "right", "center"), MAX_COLUMNS),
        "units": array(_TEXT, MAX_COLUMNS),
        "caption": _TEXT,
        "filters": array(integer(0, MAX_COLUMNS - 1), MAX_COLUMNS),
    },
    required=("headers", "rows"),
    closed=True,
    same_length=[("rows[]", "headers"), ("align", "headers"), ("units", "headers")],
)
"""One table: every row has a cell for each header."""

PLOTS: Final[Shape] = array(
    record(
        {
            "title": _TEXT,
            "x_label": _TEXT,
            "y_label": _TEXT,
            "x_data": array(any_of(_COORDINATE, _TEXT), MAX_POINTS),
            "lines": array(_LINE, MAX_LINES),
            "type": enum("line", "bar", "stacked_bar"),
            "thresholds": array(
                record({"label": _TEXT, "value": _COORDINATE}, required=("value",), closed=True),
                MAX_LINES,
            ),
            "x_log": BOOLEAN,
            "y_log": BOOLEAN,
            "x_unit": _TEXT,
            "y_unit": _TEXT,
            "caption": _TEXT,
        },
        required=("x_data", "lines"),
        closed=True,
        same_length=[("lines[].data", "x_data")],
    ),
    MAX_PLOTS,
)
"""A list of plots: every line has a value or a gap for each entry of `x_data`."""

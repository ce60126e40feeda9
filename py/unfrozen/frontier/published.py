"""The table and the plots of a cell, as they reach the page; `unfrozen.publish` made them."""

from __future__ import annotations

from typing import Final

from unfrozen.cell_json import MAX_TEXT
from unfrozen.frontier.shapes import (
    FLAG,
    NOTHING,
    Shape,
    either,
    listed,
    number,
    record,
    text,
    word,
)
from unfrozen.publish import MAX_COLUMNS, MAX_LINES, MAX_PLOTS, MAX_POINTS, MAX_ROWS

_TEXT: Final = text(MAX_TEXT)
_CELL: Final = either(number(), _TEXT, FLAG, NOTHING)
_LINE: Final = record(
    {
        "label": _TEXT,
        "data": listed(either(number(), NOTHING), MAX_POINTS),
        "color": text(200),
        "dashed": FLAG,
    },
    needs=("data",),
)

TABLE: Final[Shape] = record(
    {
        "headers": listed(_TEXT, MAX_COLUMNS),
        "rows": listed(listed(_CELL, MAX_COLUMNS), MAX_ROWS),
        "align": listed(word("left", "right", "center"), MAX_COLUMNS),
        "units": listed(_TEXT, MAX_COLUMNS),
        "caption": _TEXT,
    },
    needs=("headers", "rows"),
    long=[("rows[]", "headers"), ("align", "headers"), ("units", "headers")],
)
"""One table: every row has a cell for each header."""

PLOTS: Final[Shape] = listed(
    record(
        {
            "title": _TEXT,
            "x_label": _TEXT,
            "y_label": _TEXT,
            "x_data": listed(either(number(), _TEXT), MAX_POINTS),
            "lines": listed(_LINE, MAX_LINES),
            "type": word("line", "bar", "stacked_bar"),
            "thresholds": listed(
                record({"label": _TEXT, "value": number()}, needs=("value",)), MAX_LINES
            ),
            "x_log": FLAG,
            "y_log": FLAG,
            "x_unit": _TEXT,
            "y_unit": _TEXT,
            "caption": _TEXT,
        },
        needs=("x_data", "lines"),
        long=[("lines[].data", "x_data")],
    ),
    MAX_PLOTS,
)
"""A list of plots: every line has a value or a gap for each entry of `x_data`."""

"""The schema of everything that comes from outside: shape, type, length and order, checked once.

Shapes are plain data, written here and nowhere else. Two small interpreters read them: `check` in
Python, for the runner and the cells, and `web/schema/check.js` in the page. Both give the same
verdict in the same words; a test holds them to it with thousands of damaged values.

    checked = read_line(line)                 one line of events.jsonl
    checked = check(STARTED, value)           any other value, parsed already
    checked = read_file(STARTED, data)        … or as it stands in a file
    checked.value                             known properties only; None if refused
    checked.problem                           why it is refused, one sentence; "" if it is not
    checked.unknown                           how many unknown properties were left out

Reading order:

- `shapes` — what a value may be, as data
- `json_schema` — shapes as JSON Schemas, for other programs
- `check` — a value, or JSON text, against its shape
- `event_log` — lines of events.jsonl, and the order in which they may come
- `files` — started.json, commands.json, state.json; a server's answers
- `published` — the table and the plots of a cell
- `address` — the settings in the address of a page
- `policy` — the page's Content-Security-Policy
- `offline` — the files that a browser keeps of a site
"""

from __future__ import annotations

from unfrozen import events
from unfrozen.errors import MOST_DEEP
from unfrozen.schema import event_log, files, published
from unfrozen.schema.check import Checked, check, read_file
from unfrozen.schema.event_log import LogOrder, read_event, read_line
from unfrozen.schema.files import COMMANDS, QUESTION, STARTED, STATE

__all__ = [
    "COMMANDS",
    "QUESTION",
    "STARTED",
    "STATE",
    "Checked",
    "LogOrder",
    "check",
    "page_schema",
    "read_event",
    "read_file",
    "read_line",
]


def page_schema() -> dict[str, object]:
    """Return what the page needs to know of events: labels and shapes (JSON, stable key order)."""
    return events.schema() | {
        "shapes": {
            "max_line_length": event_log.MAX_LINE_LENGTH,
            "max_depth": MOST_DEEP,
            "head": event_log.HEAD,
            "events": event_log.EVENTS,
            "stepped": list(event_log.STEPPED),
            "after_the_end": list(event_log.AFTER_THE_END),
            "table": published.TABLE,
            "plots": published.PLOTS,
            "run": files.RUN,
            "answer": files.ANSWER,
        }
    }

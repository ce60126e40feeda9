"""Everything the page needs to know of events: the words it shows, and the shapes it checks."""

from __future__ import annotations

from unfrozen import events
from unfrozen.errors import MOST_DEEP
from unfrozen.frontier import kinds, log, published, served


def schema() -> dict[str, object]:
    """The words of `unfrozen.events` and the shapes of the frontier (JSON, stable key order)."""
    return events.schema() | {
        "frontier": {
            "most": {"line": kinds.LINE_MOST, "deep": MOST_DEEP},
            "head": kinds.HEAD,
            "events": kinds.EVENTS,
            "stepped": list(log.STEPPED),
            "after_the_end": list(log.AFTER_THE_END),
            "table": published.TABLE,
            "plots": published.PLOTS,
            "run": served.RUN,
            "recipe": served.RECIPE,
            "answered": served.ANSWERED,
        }
    }

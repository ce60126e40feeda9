"""What the page's own interpreter is asked: by planner, decision, quiz and run view."""

from __future__ import annotations

import json
from importlib import import_module
from typing import Final

from unfrozen import planner

ELSEWHERE: Final = {
    **dict.fromkeys(("decide", "reversals"), "unfrozen.decision"),
    **dict.fromkeys(("exercise", "judge", "lie"), "unfrozen.exercises"),
    "layouts": "unfrozen.frameworks.page",
    **dict.fromkeys(("import_files", "import_piece", "import_lines"), "unfrozen.imported.page"),
}
"""Questions that others than the planner answer, by their module. It is imported when it is first
asked: few readers who move the planner's sliders wait for it.
"""


def answer(name: str, json_text: str) -> str:
    """The answer to a question of this name, JSON text in and out: what the worker calls."""
    if name not in ELSEWHERE:
        return planner.answer(name, json_text)
    ask = getattr(import_module(ELSEWHERE[name]), name)
    return json.dumps(ask(json.loads(json_text)), ensure_ascii=False, allow_nan=False)

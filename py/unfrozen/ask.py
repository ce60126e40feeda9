"""What the page's own interpreter is asked: the planner's questions and the decision's."""

from __future__ import annotations

import json
from importlib import import_module
from typing import Final

from unfrozen import memory_planner

DECISION: Final = ("decide", "reversals")
"""Functions of `method_decision`, which is imported when it is first asked: few readers who move
the planner's sliders wait for it.
"""


def answer(name: str, json_text: str) -> str:
    """The answer to a question of this name, JSON text in and out: what the worker calls."""
    if name not in DECISION:
        return memory_planner.answer(name, json_text)
    ask = getattr(import_module("unfrozen.method_decision"), name)
    return json.dumps(ask(json.loads(json_text)), ensure_ascii=False, allow_nan=False)

"""What the page asks of its own interpreter, by name: JSON text in, JSON text out.

Each element names a function of the module that stands behind it; a module is imported when it is
first asked, so that nobody waits for what they do not use.
"""

from __future__ import annotations

import json
from importlib import import_module
from typing import Final

from unfrozen.errors import PlanError

MODULES: Final = {
    "glance": "unfrozen.memory_planner",
    "ways": "unfrozen.memory_planner",
    "decide": "unfrozen.method_decision",
    "reversals": "unfrozen.method_decision",
}
"""Questions, and the modules whose functions of that name answer them."""


def answer(name: str, json_text: str) -> str:
    """The answer to a question about a state. Raises PlanError for a question nobody answers."""
    if name not in MODULES:
        raise PlanError("question", name, f"known are {', '.join(MODULES)}", "ask one of them")
    ask = getattr(import_module(MODULES[name]), name)
    return json.dumps(ask(json.loads(json_text)), ensure_ascii=False, allow_nan=False)

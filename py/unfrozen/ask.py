"""What the page's own interpreter is asked: the planner's questions and the quiz's."""

from __future__ import annotations

import json

from unfrozen import memory_planner
from unfrozen.exercises import QUESTIONS


def answer(name: str, json_text: str) -> str:
    """The answer to a question of this name, JSON text in and out: what the worker calls."""
    if name not in QUESTIONS:
        return memory_planner.answer(name, json_text)
    found = QUESTIONS[name](json.loads(json_text))
    return json.dumps(found, ensure_ascii=False, allow_nan=False)

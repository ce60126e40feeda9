"""Calls functions of the core by name, for the page: JSON text in, JSON text out."""

from __future__ import annotations

import json
from importlib import import_module

from unfrozen import planner

__all__ = ["answer", "planner"]  # the worker imports the planner at its start: it is asked first


def answer(question: str, json_text: str) -> str:
    """Return the result of a function below `unfrozen`; its argument and its result are JSON text.

    A question is the name of a function below `unfrozen`, such as "decision.decide", that its
    module lists in `__all__`; KeyError for any other. The module is imported on first use.
    """
    room, _, name = question.rpartition(".")
    module = import_module(f"unfrozen.{room}") if room else None
    if name not in getattr(module, "__all__", ()):
        raise KeyError(question)
    return json.dumps(
        getattr(module, name)(json.loads(json_text)), ensure_ascii=False, allow_nan=False
    )

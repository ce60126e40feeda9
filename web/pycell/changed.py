"""Tells what cells have put in the place of what every cell computes with.

Cells share one interpreter, so one may replace `json.dumps`, `repr` or a function of `unfrozen`, on
purpose or by a slip, and every later cell computes with that. It is allowed, and it is said under
each of them: a figure that is not the article's own must not pass for it.
"""

from __future__ import annotations

import builtins
import json
import sys
from collections.abc import Iterator, Mapping
from types import FunctionType, MappingProxyType, ModuleType
from typing import Any, Final

from pycell.trace import is_cell

_NAMED_AT_MOST: Final = 3
_PLAIN: Final = ("builtins", "json", "json.encoder", "json.decoder", "math", "dataclasses")
_NEEDED: Final = ("builtins", "sys", "asyncio", "contextvars", "traceback", "linecache", "io")
_OURS: Final = ("unfrozen", "pycell")
_IN_USE: Final = ("__import__", "__build_class__")
_PARTS: Final = (FunctionType, classmethod, staticmethod, property)
_Facts = Mapping[str, tuple[Any, ...]]

# Taken before any cell runs: what a cell replaces afterwards is not what looks for it.
_type, _isinstance, _vars, _tuple, _len = type, isinstance, vars, tuple, len


class Watch:
    """What was there when it began, beside what is there now."""

    def __init__(self) -> None:
        """Take note of all modules that are imported by now."""
        self._seen: dict[str, _Facts] = {}
        self._needed = [
            (name, module)
            for name, module in sys.modules.items()
            if name in _NEEDED or name.startswith("pycell.")
        ]
        self._look()

    def changed(self) -> str:
        """Names that stand for something else than at first, in words; empty when none does.

        A module that came later is noted as it was found, unless a cell's code stands in it. Raises
        SystemError when modules that every run needs are gone.
        """
        if gone := [name for name, module in self._needed if sys.modules.get(name) is not module]:
            raise SystemError(f"cells have taken away {', '.join(gone[:_NAMED_AT_MOST])}")
        found = [*self._differences()]
        self._look()
        if not found:
            return ""
        more = f" and {_len(found) - _NAMED_AT_MOST} more" if _len(found) > _NAMED_AT_MOST else ""
        return f"{', '.join(found[:_NAMED_AT_MOST])}{more}"

    def _look(self) -> None:
        for name, module in _watched():
            if name not in self._seen:
                self._seen[name] = MappingProxyType(_facts(module))

    def _differences(self) -> Iterator[str]:
        for name, module in _watched():
            now = _facts(module)
            before = self._seen.get(name)
            for key, fact in now.items() if before is None else before.items():
                is_other = _is_a_cell_s(fact) if before is None else not _same(fact, now.get(key))
                if is_other:
                    yield key if name == "builtins" else f"{name}.{key}"


def _watched() -> Iterator[tuple[str, ModuleType]]:
    """The modules whose figures readers see, as far as they are imported."""
    for name, module in sys.modules.copy().items():
        if name in _PLAIN or name.split(".", 1)[0] in _OURS:
            yield name, builtins if name == "builtins" else module


def _facts(module: ModuleType) -> dict[str, tuple[Any, ...]]:
    """What each name of a module stands for, and one level down for what was defined in it."""
    facts: dict[str, tuple[Any, ...]] = {}
    home = module.__name__
    for name, value in _vars(module).copy().items():
        if _isinstance(value, ModuleType) or (name[:2] == "__" and name not in _IN_USE):
            continue  # a module's own book-keeping
        if home == "builtins" or getattr(value, "__module__", home) != home:
            is_code = _type(value) is FunctionType  # of the rest, its own module tells more
            facts[name] = _fact(value) if is_code else (value,)
            continue
        facts[name] = _fact(value)
        if _isinstance(value, _type):
            for key, member in _type.__dict__["__dict__"].__get__(value).items():
                if _type(member) in _PARTS:
                    facts[f"{name}.{key}"] = _fact(member)
    return facts


def _fact(value: Any) -> tuple[Any, ...]:
    """A thing and what could be changed within it; of a set only that it is there."""
    kind = _type(value)
    if kind is FunctionType:
        return (value, value.__code__, value.__defaults__, value.__kwdefaults__)
    if kind is dict:
        return (value, *value.keys(), *value.values())
    if kind is list:
        return (value, *value)
    if kind is json.JSONEncoder:
        return (value, *_vars(value).values())
    return (value,)


def _same(before: tuple[Any, ...], now: tuple[Any, ...] | None) -> bool:
    return (
        now is not None
        and _len(before) == _len(now)
        and all(a is b for a, b in zip(before, now, strict=True))
    )


def _is_a_cell_s(fact: tuple[Any, ...]) -> bool:
    """Whether a function was written in a cell."""
    return _len(fact) == 4 and is_cell(getattr(fact[1], "co_filename", ""))

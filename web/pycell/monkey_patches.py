"""Finds what cells have monkeypatched.

Cells share one interpreter, so one may replace `json.dumps`, `repr` or a function of `unfrozen`, on
purpose or by mistake, and every later cell computes with that. This is allowed, and reported under
each of them: a result that is not the article's own must not pass for it.
"""

from __future__ import annotations

import builtins
import json
import sys
from collections.abc import Iterator, Mapping
from types import FunctionType, MappingProxyType, ModuleType
from typing import Any, Final

from pycell.errors import is_cell

_NAMED_AT_MOST: Final = 3
_PLAIN: Final = ("builtins", "json", "json.encoder", "json.decoder", "math", "dataclasses")
_NEEDED: Final = ("builtins", "sys", "asyncio", "contextvars", "traceback", "linecache", "io")
_OURS: Final = ("unfrozen", "pycell")
_IN_USE: Final = ("__import__", "__build_class__")
_PARTS: Final = (FunctionType, classmethod, staticmethod, property)
_Facts = Mapping[str, tuple[Any, ...]]

# Bound before any cell runs: a cell that replaces these builtins must not blind what looks for it.
_type, _isinstance, _vars, _tuple, _len = type, isinstance, vars, tuple, len


class MonkeyPatchWatch:
    """Compares the names of modules with what they were when they were first seen."""

    def __init__(self) -> None:
        """Record all modules that are imported by now."""
        self._seen: dict[str, _Facts] = {}
        self._needed = [
            (name, module)
            for name, module in sys.modules.items()
            if name in _NEEDED or name.startswith("pycell.")
        ]
        self._look()

    def changed(self) -> str:
        """Return the names that were replaced, as a phrase; empty when none was.

        A module that is imported later is recorded as it is found, except for functions of cells.
        Raises SystemError when modules that every run needs are gone.
        """
        if gone := [name for name, module in self._needed if sys.modules.get(name) is not module]:
            raise SystemError(f"cells have removed {', '.join(gone[:_NAMED_AT_MOST])}")
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
                is_patched = _is_of_cell(fact) if before is None else not _same(fact, now.get(key))
                if is_patched:
                    yield key if name == "builtins" else f"{name}.{key}"


def _watched() -> Iterator[tuple[str, ModuleType]]:
    """Yield the imported modules whose results readers see."""
    for name, module in sys.modules.copy().items():
        if name in _PLAIN or name.split(".", 1)[0] in _OURS:
            yield name, builtins if name == "builtins" else module


def _facts(module: ModuleType) -> dict[str, tuple[Any, ...]]:
    """Return what each name of a module is bound to, with the members of its own classes."""
    facts: dict[str, tuple[Any, ...]] = {}
    home = module.__name__
    for name, value in _vars(module).copy().items():
        if _isinstance(value, ModuleType) or (name[:2] == "__" and name not in _IN_USE):
            continue  # set by the import system
        if home == "builtins" or getattr(value, "__module__", home) != home:
            is_code = _type(value) is FunctionType  # other values are compared in their own module
            facts[name] = _fact(value) if is_code else (value,)
            continue
        facts[name] = _fact(value)
        if _isinstance(value, _type):
            for key, member in _type.__dict__["__dict__"].__get__(value).items():
                if _type(member) in _PARTS:
                    facts[f"{name}.{key}"] = _fact(member)
    return facts


def _fact(value: Any) -> tuple[Any, ...]:
    """Return a value and what could be changed inside it; a set's items are not compared."""
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


def _is_of_cell(fact: tuple[Any, ...]) -> bool:
    """Return whether a function was defined in a cell."""
    return _len(fact) == 4 and is_cell(getattr(fact[1], "co_filename", ""))

"""A changed module, put in the place of the one that is imported, without importing all anew."""

import functools
import inspect
import sys
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any


def graft(module: ModuleType, changed: CodeType) -> int:
    """Run changed code of a module, and give its functions, defaults and constants to `module` and
    to those that imported them; how many differ.
    """
    fresh: dict[str, Any] = {"__name__": module.__name__, "__file__": module.__file__}
    exec(changed, fresh)
    count = 0
    for name, old in list(vars(module).items()):
        if name.startswith("__") or isinstance(old, ModuleType):
            continue
        if getattr(old, "__module__", module.__name__) != module.__name__:
            continue  # imported
        if isinstance(old, type):
            count += _graft_class(old, fresh[name])
        elif function := _function(old):
            count += _graft_function(function, _function(fresh[name]))
        elif repr(old) != repr(fresh[name]):
            count += 1
            for other in _importers(name, old):
                setattr(other, name, fresh[name])
    return count


def _importers(name: str, value: object) -> Iterator[ModuleType]:
    return (m for m in list(sys.modules.values()) if vars(m).get(name) is value)


def _function(value: object) -> Any:
    """The function below the decorators of a function, method or property; None of another."""
    for place in ("__func__", "fget", "func"):
        value = getattr(value, place, None) or value
    value = inspect.unwrap(value) if callable(value) else value
    return value if isinstance(value, FunctionType) else None


def _graft_class(old: type, new: type) -> int:
    count = 0
    for name, value in list(vars(old).items()):
        other = vars(new).get(name)
        if function := _function(value):
            count += _graft_function(function, _function(other))
        elif isinstance(value, int | float) and value != other:
            setattr(old, name, other)
            count += 1
    return count


def _graft_function(old: FunctionType, new: FunctionType) -> int:
    places = ("__code__", "__defaults__", "__kwdefaults__")
    differs = [place for place in places if getattr(old, place) != getattr(new, place)]
    for place in differs:
        setattr(old, place, getattr(new, place))
    return len(differs)


def caches(modules: list[ModuleType]) -> list[Any]:
    """The caches of the functions of these modules."""
    cached = type(functools.lru_cache(len))
    return [
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, cached) and value.__module__ == module.__name__
    ]

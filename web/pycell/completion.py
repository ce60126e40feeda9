"""The names that a cell's editor offers, read from the live interpreter.

Nothing of the reader's runs for it: attributes are looked up in the dictionaries of objects and
classes, as `inspect.getattr_static` does, so no property, `__getattr__` or `__dir__` is called.
What cannot be known that way has no names.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import json
import sys
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import (
    BuiltinFunctionType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any, Final

MOST_NAMES: Final = 1000
MOST_LOOKED_AT: Final = 20_000  # of a namespace that a cell has filled
_DETAIL_CHARS: Final = 40
_MOST_WRAPPERS: Final = 10  # around a function; one may wrap itself
_MRO: Final = type.__dict__["__mro__"].__get__  # a metaclass may define these anew
_CLASS_DICT: Final = type.__dict__["__dict__"].__get__
_CLASS_NAME: Final = type.__dict__["__name__"].__get__
_IN_C: Final = (GetSetDescriptorType, MemberDescriptorType)
_METHODS: Final = (FunctionType, BuiltinFunctionType, classmethod, staticmethod)
_DISPLAYS: Final = {ast.List: [], ast.Dict: {}, ast.Set: set(), ast.JoinedStr: ""}
_UNREADABLE: Final = (SyntaxError, ValueError, RecursionError, MemoryError)

Names = dict[str, object]


@dataclass(frozen=True)
class _Kind:
    """Stands for a value of which only the kind is shown."""

    name: str


_BUILT_IN: Final = _Kind("built-in")
_MODULE: Final = _Kind("module")  # need not have been imported


def complete(place_json: str, namespace: Mapping[str, object]) -> str:
    """Return the names at a place of a cell's source, as JSON: a list of [name, detail].

    `place_json` has, each possibly empty: `owner`, the expression before the dot; `callee`, the
    function whose arguments are being written, whose keywords come first, with "="; `package`, the
    module before the dot of an import, or None; `hidden`, whether names with an underscore are
    wanted. An expression that cannot be read has no names.
    """
    place = json.loads(place_json)
    found = [(name, _detail(value)) for name, value in _names(place, namespace).items()]
    wanted = [each for each in found if place["hidden"] or not each[0].startswith("_")]
    keywords = [(f"{name}=", "argument") for name in _keywords(place["callee"], namespace)]
    return json.dumps((keywords + sorted(wanted))[:MOST_NAMES])


def _names(place: Mapping[str, Any], namespace: Mapping[str, object]) -> Names:
    if place["package"] is not None:
        loaded = sys.modules.get(place["package"]) if place["members"] else None
        return _submodules(place["package"]) | (_members(loaded) if loaded else {})
    if not place["owner"]:
        return dict.fromkeys(_named(builtins.__dict__), _BUILT_IN) | _named(namespace)
    try:
        return _members(evaluate(place["owner"], namespace))
    except LookupError:
        return {}


def evaluate(text: str, namespace: Mapping[str, object]) -> object:
    """Return the value of names, attributes, items and literals, without running code.

    Raises LookupError for any other expression, and where the value could only be computed.
    """
    try:
        with warnings.catch_warnings(action="ignore"):
            tree = ast.parse(text.strip(), mode="eval").body
    except _UNREADABLE as error:
        raise LookupError(text) from error
    return _value(tree, namespace)


def _value(tree: ast.expr, namespace: Mapping[str, object]) -> object:
    match tree:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            return (_named(builtins.__dict__) | _named(namespace))[name]
        case ast.Attribute(value=inner, attr=name):
            return _attribute(_value(inner, namespace), name)
        case ast.Subscript(value=inner, slice=ast.Constant(value=key)):
            return _item(_value(inner, namespace), key)
    if type(tree) in _DISPLAYS:
        return _DISPLAYS[type(tree)]
    raise LookupError(ast.dump(tree))


def _attribute(owner: object, name: str) -> object:
    """Return an attribute; raises LookupError for one that a descriptor would compute."""
    value = _members(owner)[name]
    if issubclass(type(value), _IN_C) and not issubclass(type(owner), type):
        try:
            return value.__get__(owner, type(owner))  # type: ignore[attr-defined]
        except AttributeError as error:
            raise LookupError(name) from error  # a slot that was never set
    if name in _instance_dict(owner) or issubclass(type(value), _METHODS):
        return value
    if any("__get__" in _CLASS_DICT(kind) for kind in _MRO(type(value))):
        raise LookupError(name)
    return value


def _item(owner: object, key: object) -> object:
    """Return an item of a plain list, tuple or dictionary; raises LookupError for others."""
    if type(owner) in (list, tuple) and type(key) is int:
        return owner[key]  # type: ignore[index]
    if type(owner) is dict and type(key) is str:
        return owner[key]
    raise LookupError(key)


def _members(owner: object) -> Names:
    """Return the attributes of an object as its classes and its own dictionary have them."""
    kind = type(owner)
    if issubclass(kind, ModuleType):
        return _named(_instance_dict(owner))
    classes = _MRO(owner) if issubclass(kind, type) else _MRO(kind)
    members: Names = {}
    for each in reversed(classes):
        members |= _named(_CLASS_DICT(each))
    return members if issubclass(kind, type) else members | _named(_instance_dict(owner))


def _instance_dict(owner: object) -> Mapping[Any, object]:
    """Return the dictionary of an object, empty where it has none or its class computes it."""
    kind = type(owner)
    if issubclass(kind, type):
        return {}
    for each in _MRO(kind):
        descriptor = _CLASS_DICT(each).get("__dict__")
        if descriptor is not None:
            own = descriptor.__get__(owner, kind) if type(descriptor) in _IN_C else None
            return own if type(own) is dict else {}
    return {}


def _named(values: Mapping[Any, object]) -> Names:
    """Return the entries whose key is an identifier: the first ones, of very many."""
    found = {}
    for _, (key, value) in zip(range(MOST_LOOKED_AT), values.items(), strict=False):
        if type(key) is str and key.isidentifier():
            found[key] = value
    return found


def _detail(value: object) -> str:
    kind = type(value)
    if kind is _Kind:
        return str(value.name)  # type: ignore[attr-defined]
    if issubclass(kind, ModuleType):
        return "module"
    if issubclass(kind, type):
        return "class"
    if issubclass(kind, (*_METHODS, MethodType, MethodDescriptorType)):
        return "function"
    if issubclass(kind, (property, *_IN_C)):
        return "property"
    return str.__str__(_CLASS_NAME(kind))[:_DETAIL_CHARS]


def _keywords(callee: str, namespace: Mapping[str, object]) -> Iterable[str]:
    """Return the names of the arguments of a function or class that can be passed by name."""
    if not callee:
        return []
    try:
        function = evaluate(callee, namespace)
        if issubclass(type(function), type):
            members = _members(function)
            function = next(
                members[name]
                for name in ("__init__", "__new__")
                if type(members[name]) is FunctionType
            )
        for _ in range(_MOST_WRAPPERS):
            function = _instance_dict(function).get("__wrapped__", function)
    except (LookupError, StopIteration):
        return []
    return _parameters(function)


def _parameters(function: object) -> Iterable[str]:
    if type(function) in (classmethod, staticmethod, MethodType):
        function = function.__func__  # type: ignore[attr-defined]
    if type(function) is FunctionType:  # a signature would evaluate annotations
        code = function.__code__
        named = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        return [each for each in named[code.co_posonlyargcount :] if each not in ("self", "cls")]
    if type(function) is BuiltinFunctionType:
        try:
            parameters = inspect.signature(function).parameters.values()
        except ValueError:
            return []  # it has none to read
        by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        return [each.name for each in parameters if each.kind in by_name]
    return []


def _submodules(package: str) -> Names:
    """Return the modules in a package, of none those that can be imported; nothing is imported."""
    from importlib.machinery import PathFinder
    from pkgutil import iter_modules

    if not package:
        known = [*sys.stdlib_module_names, *(module.name for module in iter_modules())]
        return dict.fromkeys(known, _MODULE)
    path: Any = None
    parts = package.split(".")
    for count in range(1, len(parts) + 1):
        spec = PathFinder.find_spec(".".join(parts[:count]), path)
        path = spec and spec.submodule_search_locations
        if not path:
            return {}
    return dict.fromkeys((module.name for module in iter_modules(path)), _MODULE)

"""The tensors of a family, as a program that was derived from the source of transformers.

`docs/families/derive.py` writes `derived.json`. An entry of it is the program of a model's
constructor: which tensors it makes, under which decisions, in which loops, and of which models of
other families. Expressions are whole numbers, or lists that begin with an operator: "k" is a key of
the config.json, "i" the index of a loop, "l" what the config derives under a key. Exact for every
config that takes ways which were written down; `NotDerived` for another one. An entry is read when
it is asked for.
"""

from __future__ import annotations

import base64
import json
import math
import operator
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, Final, NamedTuple

from unfrozen.data_files import read_json
from unfrozen.model.blueprint import Tensor

Json = Any
MOST_TURNS: Final = 100_000
_OPERATORS: Final[dict[str, Callable[..., Any]]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "//": operator.floordiv,
    "%": operator.mod,
    "/": operator.truediv,
    "**": operator.pow,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "ceil": math.ceil,
    "floor": math.floor,
    "int": int,
    "round": round,
    "neg": operator.neg,
    "abs": abs,
    "none": lambda value: value is None,
    "int?": lambda value: type(value) is int,
    "str?": lambda value: isinstance(value, str),
    "is": lambda value: 0 if isinstance(value, int | float) else value,
    "lower": str.lower,
    "strip": str.strip,
    "split": str.split,
    "renamed": lambda items, old, new: [dict(zip(old, new, strict=True)).get(i, i) for i in items],
    "at": operator.getitem,
    "len": len,
    "in": lambda value, items: value in items,
    "list": lambda *items: [*items],
    "slice": lambda items, *ends: items[slice(*ends)],
    "join": operator.add,
    "repeat": operator.mul,
    "range": range,
}


class NotDerived(ValueError):
    """A config that takes a way through the constructor that was not written down."""


class NotComputed(NotDerived):
    """A config with values that cannot be computed with."""


class Entries(Mapping[str, Json]):
    """The entries of the families by name, each read when it is asked for."""

    def __init__(self, lines: Mapping[str, str]) -> None:
        self._lines, self._read = lines, dict[str, Json]()

    def __getitem__(self, name: str) -> Json:
        """Return the entry of a family."""
        if name not in self._read:
            self._read[name] = json.loads(self._lines[name])
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        """Yield the names of families."""
        return iter(self._lines)

    def __len__(self) -> int:
        """Return how many families there are."""
        return len(self._lines)


class FamilyTable(NamedTuple):
    """The version of transformers, the entries that were derived from it, those of them that are
    not exact for every config that was tried, and types that have no entry.
    """

    transformers: str
    entries: Entries
    bounded: frozenset[str]
    without: frozenset[str]


@cache
def table() -> FamilyTable:
    """Return the table of families."""
    data = read_json("model/derived.json")
    text = zlib.decompress(base64.b64decode(data["entries"])).decode()
    entries = Entries(dict(line.split("\t", 1) for line in text.splitlines()))
    lists = (frozenset(data[key]) for key in ("bounded", "without"))
    return FamilyTable(data["transformers"], entries, *lists)


def whole_config(
    entry: Mapping[str, Json], config: Mapping[str, Json], entries: Mapping[str, Json]
) -> dict[str, Json]:
    """Return a config with what it leaves out, and so for the configs inside it; with the kinds of
    its layers, where it derives them. Raises `NotDerived`.
    """
    run = _Run(entry, config, entries)
    for *path, name in (path for path, _ in entry["lists"]):
        if name == "layer_types" and isinstance(inner := run.value_at(path), dict):
            inner[name] = run.derived((*path, name))
    return run.config


def tensors_of(
    entry: Mapping[str, Json],
    config: Mapping[str, Json],
    entries: Mapping[str, Json],
    without: tuple[str, ...] = (),
) -> list[Tensor]:
    """Return the tensors of a model of the family of `entry`, which may contain models of others.

    In place of a model of the config under the path `without` stands one empty tensor. Raises
    `NotDerived`.
    """
    run = _Run(entry, config, entries, without)
    try:
        return [Tensor(name, shape) for name, shape in run.tensors()]
    except NotDerived:
        raise
    except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError) as error:
        raise NotComputed(f"its keys cannot be computed with: {error}") from None


class _Run:
    """One config, on which a program is run."""

    def __init__(
        self,
        entry: Mapping[str, Json],
        config: Mapping[str, Json],
        entries: Mapping[str, Json],
        without: tuple[str, ...] = (),
    ) -> None:
        self._entry, self._entries, self._without = entry, entries, without
        self.config = self._with_defaults(config, entry["defaults"], ())
        self._rules = {tuple(path): rule for path, rule in entry["lists"]}
        self._values: dict[tuple[str, ...], Any] = {}

    def _with_defaults(
        self, config: Mapping[str, Json], defaults: Mapping[str, Json], path: tuple[str, ...]
    ) -> dict[str, Json]:
        """Return a config with its defaults, and with those of the configs inside it."""
        aliases = self._entry["aliases"].get(".".join(path), {})
        given = {aliases.get(name, name): value for name, value in config.items()}
        whole = {**defaults, **given}
        for name, usual in defaults.items():
            if isinstance(usual, dict) and isinstance(own := given.get(name, usual), Mapping):
                inner = self._entry["inner"].get(name, {}) if name in given and not path else {}
                if own.get("model_type") in ("", given.get("model_type")):  # as in some own files
                    own = {**own, "model_type": usual.get("model_type")}
                family = own.get("model_type", usual.get("model_type"))
                if family != usual.get("model_type"):  # which has its own defaults
                    if family in self._entries:
                        whole[name] = whole_config(self._entries[family], own, self._entries)
                    continue
                whole[name] = self._with_defaults(own, {**usual, **inner}, (*path, name))
            elif isinstance(usual, dict) and given.get(name, usual) is None:
                whole[name] = self._with_defaults({}, usual, (*path, name))
        return whole

    def tensors(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Yield names and shapes."""
        tied = self._entry["tie"] and self._value(self._entry["tie"], [])
        for kind, name, shape in self._made(self._entry["model"], []):
            if kind == "p" or not tied:
                yield name, shape

    def _called(self, name: str, kind: str, path: list[str], usual: str) -> Iterator[Json]:
        """Yield the tensors of a model of another family that is made under a name."""
        if (*path,) == self._without:
            yield "p", f"{name}.", ()
            return
        config = self.value_at(path)
        family = config.get("model_type", usual)
        base = kind == "AutoModel"
        if base and f"base:{family}" in self._entries:
            entry, begins = self._entries[f"base:{family}"], ""
        elif family in self._entries:
            entry = self._entries[family]
            begins = f"{entry['base']}." if base else ""
        else:
            raise NotDerived(
                f"{'.'.join(path)}.model_type is {family!r}, which is not written down"
            )
        for inner, shape in _Run(entry, config, self._entries).tensors():
            if inner.startswith(begins):
                yield "p", f"{name}.{inner.removeprefix(begins)}", shape

    def _made(self, steps: Json, indices: list[int]) -> Iterator[Any]:
        """Yield what a program makes: tensors, or the items of a list."""
        for step in steps:
            match step:
                case ["p" | "t" as kind, str(name), shape]:
                    sizes = tuple(int(self._value(size, indices)) for size in shape)
                    yield kind, name.format(*indices), sizes
                case ["v" | "w" as kind, item]:
                    yield kind, "", self._value(item, indices)
                case ["c", str(name), kind, path, usual]:
                    yield from self._called(name.format(*indices), kind, path, usual)
                case ["for", depth, over, body]:
                    turns = self._value(over, indices)
                    turns = range(turns) if isinstance(turns, int) else turns
                    if len(turns) > MOST_TURNS:
                        raise NotDerived(f"a loop of {len(turns):,} turns, of {MOST_TURNS:,}")
                    for index in turns:
                        yield from self._made(body, [*indices[:depth], index])
                case ["if", expression, ways]:
                    yield from self._made(self._way(expression, ways, indices), indices)
                case ["!", expression, outcome]:
                    self._way(expression, [[outcome, []]], indices)

    def _way(self, expression: Json, ways: Json, indices: list[int]) -> Json:
        """Return the steps after a decision."""
        value = self._value(expression, indices)
        outcome = value if expression[0] == "is" else bool(value)
        for known, steps in ways:
            if known == outcome:
                return steps
        raise NotDerived(f"{_keys(expression)} is {outcome!r}, which was not written down")

    def _value(self, expression: Json, indices: list[int]) -> Any:
        if not isinstance(expression, list):
            return expression
        name, *operands = expression
        if name == "k":
            return self.value_at(operands)
        if name == "i":
            return indices[operands[0]]
        if name == "l":
            return self.derived(tuple(operands))
        return _OPERATORS[name](*(self._value(operand, indices) for operand in operands))

    def value_at(self, path: list[str]) -> Any:
        """Return the value under a path of keys, None where there is none."""
        value: Any = self.config
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        return value

    def derived(self, path: tuple[str, ...]) -> Any:
        """Return what the config derives under a path, a list or one value."""
        if path not in self._values:
            if path not in self._rules:
                raise NotDerived(f"{'.'.join(path)} must be given")
            made = [*self._made(self._rules.pop(path), [])]  # it must not need itself
            whole = [value for kind, _, value in made if kind == "w"]
            self._values[path] = whole[0] if whole else [value for _, _, value in made]
        return self._values[path]


def _keys(expression: Json) -> str:
    """Return the keys of a decision, for a message."""
    if not isinstance(expression, list):
        return ""
    if expression[0] in ("k", "l"):
        return ".".join(expression[1:])
    return " and ".join(dict.fromkeys(k for part in expression[1:] if (k := _keys(part))))

"""The tensors of a family whose construction `derive.py` has written down.

An entry of `families.json` is the program of a model's constructor: which tensors it makes, under
which decisions, in which loops. Expressions are whole numbers, or lists that begin with an
operator: "k" is a key of the config.json, "i" the index of a loop, "l" a list that the config
derives. Exact for every config whose decisions the program knows; `NotDerived` for another one.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

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
    "is": lambda value: value,
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


def tensors_of(entry: Mapping[str, Json], config: Mapping[str, Json]) -> list[Tensor]:
    """Return the tensors of a model of the family of `entry`. Raises `NotDerived`."""
    aliases = {old: new for old, new in entry["aliases"].items() if old in config}
    given = {aliases.get(name, name): value for name, value in config.items()}
    run = _Run({**entry["defaults"], **given}, entry["lists"])
    try:
        return [Tensor(name, shape) for name, shape in run.tensors(entry["model"], [])]
    except (TypeError, LookupError, ArithmeticError, OverflowError) as error:
        raise NotDerived(f"its keys cannot be computed with: {error}") from None


class _Run:
    """One config, on which a program is run."""

    def __init__(self, config: Mapping[str, Json], rules: list[Json]) -> None:
        self._config = config
        self._rules = {tuple(path): rule for path, rule in rules}

    def tensors(self, steps: Json, indices: list[int]) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Yield names and shapes."""
        for kind, name, shape in self._made(steps, indices):
            if kind == "p" or not self._value(["k", "tie_word_embeddings"], []):
                yield name, shape

    def _made(self, steps: Json, indices: list[int]) -> Iterator[Any]:
        """Yield what a program makes: tensors, or the items of a list."""
        for step in steps:
            match step:
                case ["p" | "t" as kind, str(name), shape]:
                    sizes = tuple(int(self._value(size, indices)) for size in shape)
                    yield kind, name.format(*indices), sizes
                case ["v", item]:
                    yield self._value(item, indices)
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
            return self._key(operands)
        if name == "i":
            return indices[operands[0]]
        if name == "l":
            return self._list(tuple(operands))
        return _OPERATORS[name](*(self._value(operand, indices) for operand in operands))

    def _key(self, path: list[str]) -> Any:
        value: Any = self._config
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        return value

    def _list(self, path: tuple[str, ...]) -> Any:
        if (given := self._key([*path])) is not None:
            return given
        if path not in self._rules:
            raise NotDerived(f"{'.'.join(path)} must be given")
        return [*self._made(self._rules[path], [])]


def _keys(expression: Json) -> str:
    """Return the keys of a decision, for a message."""
    if not isinstance(expression, list):
        return ""
    if expression[0] in ("k", "l"):
        return ".".join(expression[1:])
    return " and ".join(dict.fromkeys(k for part in expression[1:] if (k := _keys(part))))

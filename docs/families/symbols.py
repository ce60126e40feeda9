"""Numbers, texts and lists that remember the keys of a config.json they were computed from.

A `Number` is an int, a `Real` a float, a `Text` a str, an `Items` a list: code that is not aware of
them computes as ever. What they were computed from is their `expression`: a key ("k", …), the index
of a loop ("i", depth), or an operator with its operands. Where Python must know a value to go on,
at an `if` or a comparison of texts, the `listener` is told the expression and the outcome.
"""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Callable, Iterator
from typing import Any, Protocol

Expression = Any
"""A plain value, or a tuple: a name, and what it is applied to."""


class Listener(Protocol):
    """What is told of decisions and loops."""

    def decide(self, expression: Expression, outcome: Any) -> None:
        """A decision was taken by an expression."""

    def loop(self, over: Expression, values: range) -> Iterator[int]:
        """Yield an index for each of `values`."""


class Deaf:
    """A listener that is told nothing."""

    def decide(self, expression: Expression, outcome: Any) -> None:
        """Ignore a decision."""

    def loop(self, over: Expression, values: range) -> Iterator[int]:
        """Yield plain indices."""
        del over
        return iter(values)


listener: Listener = Deaf()


def expression_of(value: Any) -> Expression:
    """Return what a value was computed from; a plain value is its own expression."""
    if isinstance(value, Items) or not isinstance(value, list | tuple):
        return getattr(value, "expression", value)
    return ("list", *map(expression_of, value))


def plain(value: Any) -> Any:
    """Return a value without its expression."""
    if isinstance(value, Truth):
        return int.__ne__(value, 0)
    for kind in (int, float, str):
        if isinstance(value, kind) and not isinstance(value, bool):
            return value if type(value) is kind else kind.__new__(kind, _bare(kind, value))
    return [plain(each) for each in list.__iter__(value)] if isinstance(value, list) else value


def _depth(index: Any) -> int:
    """Return the depth of the loop whose index this is."""
    return int(index.expression[1]) if isinstance(index, Number) else 0


def _bare(kind: Any, value: Any) -> Any:
    zero = {int: 0, float: 0.0, str: ""}[kind]
    return kind.__add__(value, zero)


def symbol(value: Any, expression: Expression) -> Any:
    """Return a value that remembers its expression; None and what is no plain value stay.

    A dict is one of symbols, each under its key.
    """
    if isinstance(value, dict):
        inside = {key: symbol(one, (*expression, key)) for key, one in value.items()}
        return inside if expression[0] == "k" else value
    value = plain(value)
    for kind, made in ((bool, Truth), (int, Number), (float, Real), (str, Text), (list, Items)):
        if isinstance(value, kind):
            return made(value, expression)
    return value


class Symbolic:
    """What all of them have in common: copies are the same, a pickle is plain."""

    expression: Expression

    def __new__(cls, value: Any, expression: Expression) -> Any:
        """Return the value with its expression."""
        made = super().__new__(cls, value)  # type: ignore[call-arg]
        made.expression = expression
        return made

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: Any) -> Any:
        return self

    def __reduce__(self) -> Any:
        return plain, (plain(self),)

    def __hash__(self) -> int:
        return hash(plain(self))

    def __str__(self) -> str:
        return str(plain(self))

    def __repr__(self) -> str:
        return repr(plain(self))

    def __format__(self, how: str) -> str:
        return format(plain(self), how)


class Truth(Symbolic, int):
    """A truth value, which bool cannot be a base of."""

    def __bool__(self) -> bool:
        listener.decide(self.expression, plain(self))
        return bool(plain(self))

    __hash__ = Symbolic.__hash__


class Arithmetic(Symbolic):
    """The operators of numbers."""

    def __bool__(self) -> bool:
        listener.decide(("!=", self.expression, 0), plain(self) != 0)
        return bool(plain(self) != 0)

    def __ceil__(self) -> Any:
        return Number(math.ceil(plain(self)), ("ceil", self.expression))

    def __floor__(self) -> Any:
        return Number(math.floor(plain(self)), ("floor", self.expression))

    def __trunc__(self) -> Any:
        return Number(math.trunc(plain(self)), ("int", self.expression))

    def __round__(self, digits: int | None = None) -> Any:
        if digits is not None:
            return round(plain(self), digits)
        return Number(round(plain(self)), ("round", self.expression))

    def __neg__(self) -> Any:
        return symbol(-plain(self), ("neg", self.expression))

    def __abs__(self) -> Any:
        return symbol(abs(plain(self)), ("abs", self.expression))


def _operator(name: str, act: Callable[[Any, Any], Any]) -> tuple[Any, Any]:
    def ahead(self: Any, other: Any) -> Any:
        if name == "*" and isinstance(other, list | tuple):
            return Items(
                [*other] * plain(self), ("repeat", expression_of([*other]), self.expression)
            )
        if not isinstance(other, int | float):
            return NotImplemented
        return symbol(act(plain(self), plain(other)), (name, self.expression, expression_of(other)))

    def behind(self: Any, other: Any) -> Any:
        if name == "*" and isinstance(other, list | tuple):
            return ahead(self, other)
        if not isinstance(other, int | float):
            return NotImplemented
        return symbol(act(plain(other), plain(self)), (name, expression_of(other), self.expression))

    return ahead, behind


def _comparison(name: str, act: Callable[[Any, Any], bool]) -> Any:
    def compared(self: Any, other: Any) -> Any:
        if not isinstance(other, int | float):
            if isinstance(other, str):  # as "auto" could stand for it
                listener.decide(("is", self.expression), 0)
            return NotImplemented
        outcome = act(plain(self), plain(other))
        return Truth(outcome, (name, self.expression, expression_of(other)))

    return compared


_ARITHMETIC = {
    "+": ("add", operator.add),
    "-": ("sub", operator.sub),
    "*": ("mul", operator.mul),
    "//": ("floordiv", operator.floordiv),
    "%": ("mod", operator.mod),
    "/": ("truediv", operator.truediv),
    "**": ("pow", operator.pow),
}
_COMPARED = {
    "==": ("eq", operator.eq),
    "!=": ("ne", operator.ne),
    "<": ("lt", operator.lt),
    "<=": ("le", operator.le),
    ">": ("gt", operator.gt),
    ">=": ("ge", operator.ge),
}
for _name, (_method, _act) in _ARITHMETIC.items():
    _ahead, _behind = _operator(_name, _act)
    setattr(Arithmetic, f"__{_method}__", _ahead)
    setattr(Arithmetic, f"__r{_method}__", _behind)
for _name, (_method, _act) in _COMPARED.items():
    setattr(Arithmetic, f"__{_method}__", _comparison(_name, _act))
Arithmetic.__hash__ = Symbolic.__hash__  # type: ignore[method-assign]


class Number(Arithmetic, int):
    """A whole number."""

    __hash__ = Symbolic.__hash__

    def __int__(self) -> Any:
        return self

    def __index__(self) -> int:
        return int.__add__(self, 0)


class Real(Arithmetic, float):
    """A number with a fraction."""

    __hash__ = Symbolic.__hash__


class Text(Symbolic, str):
    """A text: whoever looks at it decides by it."""

    __hash__ = Symbolic.__hash__

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, str):
            return False
        equal = str.__eq__(self, other)
        for each, against in ((self, other), (other, self)):
            if isinstance(each, Text) and _is_part(each.expression):
                listener.decide(("==", each.expression, expression_of(against)), equal)
            elif isinstance(each, Text):
                listener.decide(("is", each.expression), plain(each))
        return equal

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __bool__(self) -> bool:
        return len(self._seen()) > 0

    def __contains__(self, other: Any) -> bool:
        return plain(other) in self._seen()

    def startswith(self, *arguments: Any) -> bool:
        """Decide by its beginning."""
        return self._seen().startswith(*arguments)

    def endswith(self, *arguments: Any) -> bool:
        """Decide by its end."""
        return self._seen().endswith(*arguments)

    def lower(self) -> str:
        """Return it in lower case."""
        return Text(plain(self).lower(), ("lower", self.expression))

    def strip(self, *arguments: Any) -> str:
        """Return it without spaces around it."""
        return Text(plain(self).strip(*arguments), ("strip", self.expression, *arguments))

    def split(self, *arguments: Any) -> Any:
        """Return its parts."""
        return Items(plain(self).split(*arguments), ("split", self.expression, *arguments))

    def __iter__(self) -> Iterator[Any]:
        letters = plain(self)
        for index in listener.loop(("len", self.expression), range(len(letters))):
            yield Text(letters[index], ("at", self.expression, ("i", _depth(index))))

    def _seen(self) -> str:
        listener.decide(("is", self.expression), plain(self))
        return str(plain(self))


def _is_part(expression: Expression) -> bool:
    """Return whether an expression is a part of a text that was split."""
    return isinstance(expression, tuple) and any(
        part == "split" or _is_part(part) for part in expression[:2]
    )


def _unfollowed(items: Any) -> Iterator[Any]:
    """Return the items of a list or a tuple, as they are."""
    return list.__iter__(items) if isinstance(items, list) else iter(items)


class Items(list[Any]):
    """A list: an item at an index is an expression of both."""

    def __init__(self, items: Any, expression: Expression) -> None:
        super().__init__(list.__iter__(items) if isinstance(items, list) else items)
        self.expression = expression

    def bare(self) -> list[Any]:
        """Return its items as they are."""
        return [*list.__iter__(self)]

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            ends = (index.start, index.stop, index.step)
            items = self.bare()[slice(*map(plain, ends))]
            return Items(items, ("slice", self.expression, *map(expression_of, ends)))
        item = list.__getitem__(self, index)
        return symbol(item, ("at", self.expression, expression_of(index)))

    def __iter__(self) -> Iterator[Any]:
        reader = str(sys._getframe(1).f_globals.get("__name__"))
        if not reader.startswith("transformers.models"):  # in no loop
            return (self[index] for index in range(len(self)))
        return self._followed()

    def _followed(self) -> Iterator[Any]:
        for index in listener.loop(("len", self.expression), range(len(self))):
            yield self[index]

    def __contains__(self, other: object) -> bool:
        found = plain(other) in plain(self)
        return bool(Truth(found, ("in", expression_of(other), self.expression)))

    def __add__(self, other: Any) -> Any:
        items = [*self.bare(), *_unfollowed(other)]
        return Items(items, ("join", self.expression, expression_of(other)))

    def __radd__(self, other: Any) -> Any:
        items = [*_unfollowed(other), *self.bare()]
        return Items(items, ("join", expression_of(other), self.expression))

    def __mul__(self, times: Any) -> Any:
        return Items(self.bare() * plain(times), ("repeat", self.expression, expression_of(times)))

    __rmul__ = __mul__

    def __bool__(self) -> bool:
        return bool(Truth(len(self) > 0, ("!=", ("len", self.expression), 0)))

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: Any) -> Any:
        return self

    def __reduce__(self) -> Any:
        return list, (plain(self),)


class _Builtin(type):
    """The class of a builtin's stand-in: what is an instance of the builtin is one of it."""

    stands_for: type

    def __instancecheck__(cls, value: Any) -> bool:
        outcome = isinstance(value, cls.stands_for)
        if cls.stands_for is int and isinstance(value, Number | Items):
            listener.decide(("int?", value.expression), outcome)
        if cls.stands_for is str and isinstance(value, Text | Items):
            listener.decide(("str?", value.expression), outcome)
        return outcome

    def __getattr__(cls, name: str) -> Any:
        return getattr(cls.stands_for, name)

    def __subclasscheck__(cls, other: type) -> bool:
        return issubclass(other, cls.stands_for)


class Int(metaclass=_Builtin):
    """`int`, which keeps the expression of a number."""

    stands_for = int

    def __new__(cls, value: Any = 0, *base: Any) -> Any:
        """Return a whole number."""
        if isinstance(value, Arithmetic):
            return Number(math.trunc(plain(value)), ("int", value.expression))
        return int(value, *base)


class Str(metaclass=_Builtin):
    """`str`, of which a list of texts may take the place."""

    stands_for = str

    def __new__(cls, *arguments: Any) -> Any:
        """Return a text."""
        return str(*arguments)


class Set(metaclass=_Builtin):
    """`set`, whose members are plain: their order must not tell of them."""

    stands_for = set

    def __new__(cls, items: Any = ()) -> Any:
        """Return a set of plain members."""
        bare = items.bare() if isinstance(items, Items) else items
        return {plain(item) for item in bare}


class List(metaclass=_Builtin):
    """`list`, which keeps the expression of its items."""

    stands_for = list

    def __new__(cls, items: Any = ()) -> Any:
        """Return a list."""
        return Items(items, items.expression) if isinstance(items, Items) else list(items)


class Tuple(metaclass=_Builtin):
    """`tuple`, which keeps the expression of its items."""

    stands_for = tuple

    def __new__(cls, items: Any = ()) -> Any:
        """Return a tuple; of symbols, a list of them."""
        return items if isinstance(items, Items) else tuple(items)


class Range:
    """`range`, whose loops the listener follows where its length is symbolic."""

    def __init__(self, *ends: Any) -> None:
        self._ends, self._values = ends, range(*map(plain, ends))

    def __iter__(self) -> Iterator[int]:
        if not any(isinstance(end, Number) for end in self._ends):
            return iter(self._values)
        return listener.loop(("range", *map(expression_of, self._ends)), self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, index: Any) -> Any:
        return self._values[index]

    def __contains__(self, value: Any) -> bool:
        return plain(value) in self._values

    def __reversed__(self) -> Iterator[int]:
        return reversed(self._values)


def enumerate_items(items: Any, start: int = 0) -> Iterator[tuple[int, Any]]:
    """Yield what `enumerate` does, the index of a followed loop as its symbol."""
    if isinstance(items, Items) and start == 0:
        for index in listener.loop(("len", items.expression), range(len(items))):
            yield index, items[index]
    else:
        yield from enumerate(items, start)


def length(items: Any) -> Any:
    """Return what `len` does, of a list as a symbol."""
    return Number(len(items), ("len", items.expression)) if isinstance(items, Items) else len(items)


STAND_INS = {
    **{"int": Int, "str": Str, "set": Set, "list": List, "tuple": Tuple, "range": Range},
    **{"enumerate": enumerate_items, "len": length},
}
"""What stands for a builtin in the modules that are traced."""

"""Reading a config.json strictly: each value is checked for type and bound when it is taken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeVar

from unfrozen.errors import ModelError

LARGEST: Final = 10_000_000  # no dimension of a published model comes within a factor of ten
MOST_LAYERS: Final = 10_000

_T = TypeVar("_T", int, bool, str)


def _wrong(name: str, value: object, bound: str) -> ModelError:
    return ModelError(name, value, bound, "copy it from the model's config.json")


class Fields:
    """A config.json whose values are taken one by one; null counts as missing.

    `defaults` are what transformers takes for keys that the file leaves out.
    """

    def __init__(
        self, config: Mapping[str, object], defaults: Mapping[str, object] | None = None
    ) -> None:
        self._config, self._defaults = config, defaults or {}

    def integer(self, *names: str, default: int | None = None, at_most: int = LARGEST) -> int:
        """Return a whole number under the first of `names` that is there, else the default.

        Raises ModelError when it is missing without a default, not an integer, or out of bounds.
        """
        bound = f"it must be a whole number in 1 … {at_most:,}"
        name, value = self._first(names)
        if value is None:
            if default is None:
                raise ModelError(name, "nothing", bound, "add this key of the model's config.json")
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= at_most:
            raise _wrong(name, value, bound)
        return value

    def count(self, *names: str, default: int = 0) -> int:
        """Return a whole number like `integer`, which may be 0."""
        _, value = self._first(names)
        return 0 if value == 0 and type(value) is int else self.integer(*names, default=default)

    def last(self, name: str, layers: int) -> int:
        """Return the number of a layer; that of the last one for -1 or a missing key."""
        _, value = self._first((name,))
        return layers - 1 if value == -1 else self.count(name, default=layers - 1)

    def flag(self, name: str, default: bool) -> bool:
        """Return a truth value, else the default; ModelError for anything else."""
        return self._typed(name, bool, default, "true or false")

    def is_set(self, name: str, default: bool) -> bool:
        """Return whether the key has a value that is not null, else the default."""
        return self._config[name] is not None if name in self._config else default

    def above_zero(self, name: str, default: int) -> int:
        """Return a whole number above 0, and 0 for anything else; the default where the key is
        missing.

        For what changes no tensor, where a file that says something odd is no reason to refuse it.
        """
        if not any(name in source for source in (self._config, self._defaults)):
            return default
        _, value = self._first((name,))
        return value if type(value) is int and 0 < value <= LARGEST else 0

    def is_true(self, name: str) -> bool:
        """Return whether the key says true."""
        return self._first((name,))[1] is True

    def is_number(self, name: str) -> bool:
        """Return whether a whole number stands under the key."""
        return type(self._first((name,))[1]) is int

    def is_positive(self, name: str) -> bool:
        """Return whether a whole number above 0 stands under the key."""
        return self.is_number(name) and self._first((name,))[1] != -1

    def names(self, name: str) -> list[str]:
        """Return words from a list, or from one text that | separates."""
        _, value = self._first((name,))
        if isinstance(value, str):
            return value.lower().split("|")
        return [word for word in value if isinstance(word, str)] if isinstance(value, list) else []

    def is_list(self, name: str) -> bool:
        """Return whether a list stands under the key."""
        return isinstance(self._first((name,))[1], list)

    def length(self, name: str, default: int) -> int:
        """Return how many entries a list has, else the default."""
        _, value = self._first((name,))
        return len(value) if isinstance(value, list) else default

    def first_class(self, name: str) -> str:
        """Return the first of a list of names, empty where there is none."""
        _, value = self._first((name,))
        return str(value[0]) if isinstance(value, list) and value else ""

    def has(self, name: str) -> bool:
        """Return whether the config itself has the key."""
        return self._config.get(name) is not None

    def share(self, name: str, default: float) -> float:
        """Return a probability in 0 … 1 (1 left out), else the default; else ModelError."""
        found = self._real(name, default)
        if not 0 <= found < 1:
            raise _wrong(name, found, "it must be a probability, at least 0 and below 1")
        return found

    def word(self, *names: str, default: str) -> str:
        """Return text under the first of `names` that is there, else the default."""
        name, _ = self._first(names)
        return self._typed(name, str, default, "text")

    def indices(self, name: str) -> frozenset[int]:
        """Return a list of layer numbers, empty where missing; ModelError for anything else."""
        _, value = self._first((name,))
        if value is None:
            return frozenset()
        found = [item for item in value if type(item) is int] if isinstance(value, list) else []
        if not isinstance(value, list) or len(found) < len(value):
            raise _wrong(name, value, "it must be a list of layer numbers")
        return frozenset(found)

    def each(self, name: str, layers: int) -> list[int]:
        """Return a whole number for each layer, from a list of them or from one for all."""
        _, value = self._first((name,))
        if not isinstance(value, list):
            return [self.integer(name)] * layers
        bound = f"it must be a whole number for each of {layers} layers"
        if len(value) != layers or not all(type(v) is int and 0 < v <= LARGEST for v in value):
            raise _wrong(name, value, bound)
        return value

    def known_names(self, name: str, known: tuple[str, ...]) -> list[str] | None:
        """Return a list of names among `known`, None where the key is missing; else ModelError."""
        _, value = self._first((name,))
        if value is None:
            return None
        found = [word for word in value if word in known] if isinstance(value, list) else []
        if not isinstance(value, list) or not 0 < len(found) == len(value) <= MOST_LAYERS:
            raise _wrong(name, value, f"it must be a list of {', '.join(known)}")
        return found

    def kinds(self, name: str, layers: int, known: tuple[str, ...]) -> list[str] | None:
        """Return a list of names like `known_names`, one for each layer."""
        value = self.known_names(name, known)
        if value is not None and len(value) != layers:
            raise _wrong(name, value, f"it must name the kind of each of {layers} layers")
        return value

    def numbers(self, name: str, default: list[int]) -> list[int]:
        """Return a list of whole numbers, else the default; ModelError for anything else."""
        _, value = self._first((name,))
        if value is None:
            return default
        if not isinstance(value, list) or not all(
            type(v) is int and 0 <= v <= LARGEST for v in value
        ):
            raise _wrong(name, value, "it must be a list of whole numbers")
        return value

    def number(self, name: str, default: float) -> float:
        """Return a positive number, else the default; ModelError for anything else."""
        found = self._real(name, default)
        if not 0 < found < 1e6:
            raise _wrong(name, found, "it must be a positive number")
        return found

    def _real(self, name: str, default: float) -> float:
        _, value = self._first((name,))
        if isinstance(value, bool) or not isinstance(value, (int, float, type(None))):
            raise _wrong(name, value, "it must be a number")
        return default if value is None else float(value)

    def inner(self, name: str) -> Mapping[str, object]:
        """Return the object under a key, empty where it is missing; else ModelError."""
        _, value = self._first((name,))
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            raise _wrong(name, value, "it must be an object")
        return value

    def layers(self, name: str, count: int, known: tuple[str, ...]) -> list[Fields] | None:
        """Return what the config says of each layer alone, None where the key is missing.

        Raises ModelError for a layer that is not there, and for a key that is not `known`.
        """
        if not self.has(name):
            return None
        found = [Fields({})] * count
        for index, own in self.inner(name).items():
            if not (str(index).isdecimal() and int(index) < count and isinstance(own, Mapping)):
                raise _wrong(name, index, f"it must map layers, 0 to {count - 1}, to objects")
            if unknown := sorted(own.keys() - set(known)):
                bound = f"of one layer alone, {' and '.join(known) or 'no key'} can be counted"
                raise ModelError(f"{name}.{index}", unknown[0], bound, "use a model without it")
            found[int(index)] = Fields(own)
        return found

    def _typed(self, name: str, kind: type[_T], default: _T, what: str) -> _T:
        _, value = self._first((name,))
        if value is None:
            return default
        if not isinstance(value, kind):
            raise _wrong(name, value, f"it must be {what}")
        return value

    def _first(self, names: tuple[str, ...]) -> tuple[str, object]:
        for source in (self._config, self._defaults):
            for name in names:
                if source.get(name) is not None:
                    return name, source[name]
            if any(name in source for name in names):
                break  # the key is null, and has no default
        return names[0], None

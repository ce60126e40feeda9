"""Reading a config.json strictly: each value is checked for type and bound when it is taken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeVar

from unfrozen.errors import ModelError

LARGEST: Final = 10_000_000  # no dimension of a published model comes within a factor of ten
MOST_LAYERS: Final = 10_000

_T = TypeVar("_T", int, bool, str)


class Fields:
    """A config.json whose values are taken one by one; null counts as missing."""

    def __init__(self, config: Mapping[str, object]) -> None:
        self._config = config

    def whole(self, *names: str, default: int | None = None, at_most: int = LARGEST) -> int:
        """A whole number under the first of `names` that is there, else the default.

        Raises ModelError when it is missing without a default, not an integer, or out of bounds.
        """
        bound = f"it must be a whole number in 1 … {at_most:,}"
        name, value = self._first(names)
        if value is None:
            if default is None:
                raise ModelError(name, "nothing", bound, "add this key of the model's config.json")
            return default
        if isinstance(value, bool) or not isinstance(value, int):
            raise ModelError(name, value, bound, "copy it from the model's config.json")
        if not 1 <= value <= at_most:
            raise ModelError(name, value, bound, "copy it from the model's config.json")
        return value

    def flag(self, name: str, default: bool) -> bool:
        """A truth value, else the default; ModelError for anything else."""
        return self._typed(name, bool, default, "true or false")

    def given(self, name: str, default: bool) -> bool:
        """Whether the key has a value that is not null; the default where the key is missing."""
        return self._config[name] is not None if name in self._config else default

    def share(self, name: str, default: float) -> float:
        """A probability in 0 … 1 (1 left out), else the default; ModelError for anything else."""
        value = self._config.get(name)
        if value is None:
            return default
        good = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1
        if not good:
            bound = "it must be a probability, at least 0 and below 1"
            raise ModelError(name, value, bound, "copy it from the model's config.json")
        return float(value)  # type: ignore[arg-type]

    def word(self, *names: str, default: str) -> str:
        """Text under the first of `names` that is there, else the default; ModelError otherwise."""
        name, _ = self._first(names)
        return self._typed(name, str, default, "text")

    def indices(self, name: str) -> frozenset[int]:
        """A list of layer numbers, empty where missing; ModelError for anything else."""
        value = self._config.get(name)
        if value is None:
            return frozenset()
        found = [item for item in value if type(item) is int] if isinstance(value, list) else []
        if not isinstance(value, list) or len(found) < len(value):
            bound = "it must be a list of layer numbers"
            raise ModelError(name, value, bound, "copy it from the model's config.json")
        return frozenset(found)

    def _typed(self, name: str, kind: type[_T], default: _T, what: str) -> _T:
        value = self._config.get(name)
        if value is None:
            return default
        if not isinstance(value, kind):
            raise ModelError(name, value, f"it must be {what}", "copy it from config.json")
        return value

    def _first(self, names: tuple[str, ...]) -> tuple[str, object]:
        for name in names:
            if self._config.get(name) is not None:
                return name, self._config[name]
        return names[0], None

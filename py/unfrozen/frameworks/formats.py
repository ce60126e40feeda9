"""The files and commands of trainers, by a table for each (`axolotl.toml`, …), read both ways.

A table says which fact each key states, with a trainer's choice under one name for all of them, the
words of its values, the keys that no other trainer has, the patterns of those that change neither
memory nor time, what the trainer does where its file says nothing (`defaults`), and the text of its
files and its command (`writes`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, NamedTuple

from unfrozen.data_files import read_toml
from unfrozen.errors import PlanError

NAMES: Final = (
    *("axolotl", "llama-factory", "ms-swift", "torchtitan", "torchtune", "accelerate"),
    *("deepspeed", "megatron", "unsloth", "trl"),
)
"""The formats, those with the most telling keys first."""
_OF_ANYBODY: Final = ("per_device_train_batch_size", "model_name_or_path", "gradient_checkpointing")


class Key(NamedTuple):
    """A key of a file: the fact that it states, and the meaning of each of its words."""

    fact: str
    words: Mapping[str, object] | None = None

    def word(self, value: object) -> object:
        """Return the word for a value of the fact."""
        return next((word for word, each in (self.words or {}).items() if each == value), value)


@dataclass(frozen=True, slots=True)
class Format:
    """A trainer's table; `writes` has the text of its command and of the files beside it."""

    name: str
    label: str
    keys: Mapping[str, Key]
    marks: frozenset[str]
    quiet: re.Pattern[str]
    defaults: Mapping[str, object]
    writes: Mapping[str, str]

    def key_of(self, fact: str) -> str:
        """Return the first key that says a fact."""
        return next(key for key, row in self.keys.items() if row.fact == fact)


@cache
def shared() -> Mapping[str, Any]:
    """Return what the tables share."""
    found: Mapping[str, Any] = read_toml("frameworks/shared.toml")
    return found


@cache
def read_format(name: str) -> Format:
    """Return a trainer's format."""
    table, common = read_toml(f"frameworks/{name}.toml"), shared()
    rows: dict[str, Any] = {}
    for each in table.get("includes", ()):
        prefix, _, group = each.rpartition(": ")
        rows |= {prefix + key: row for key, row in common["groups"][group].items()}
    quiet = "|".join((*common["quiet"], *table["quiet"]))
    return Format(
        name,
        table["label"],
        {key: _key(row) for key, row in (rows | table["keys"]).items()},
        frozenset(table["marks"]),
        re.compile(rf"(?:{quiet})(\..*)?"),
        table.get("defaults", {}),
        table.get("writes", {}),
    )


def _key(row: str | dict[str, Any]) -> Key:
    if isinstance(row, str):
        fact, _, words = row.partition(": ")
        return Key(fact, shared()["words"][words] if words else None)
    return Key(row["fact"], {word: row[word] for word in row if word != "fact"})


def has_marks(settings: Mapping[str, object]) -> bool:
    """Return whether any trainer's own key is among settings."""
    return any(read_format(name).marks & settings.keys() for name in NAMES)


def detect(settings: Mapping[str, object]) -> Format:
    """Return the trainer of a file by its keys. Raises PlanError where none has them, or two."""
    forms = [read_format(name) for name in NAMES]
    found = [form for form in forms if form.marks & settings.keys()]
    if not found and settings.keys() & {*_OF_ANYBODY}:
        return read_format("trl")
    if not found:
        bound = f"no key in it is of {', '.join(form.label for form in forms)}"
        raise PlanError("job", ", ".join(list(settings)[:8]), bound, "give one of their files")
    if len(found) > 1:
        keys = [next(key for key in settings if key in form.marks) for form in found[:2]]
        bound = f"{keys[0]} is a key of {found[0].label}, {keys[1]} of {found[1].label}"
        raise PlanError("job", ", ".join(keys), bound, "keep the keys of one trainer")
    return found[0]


def flat(settings: object, at: str = "") -> dict[str, object]:
    """Return nested settings by dotted key; lists stay whole, empty values are left out."""
    found: dict[str, object] = {}
    if isinstance(settings, Mapping):
        for key, value in settings.items():
            name = f"{at}{key}"
            if isinstance(value, Mapping) and value:
                found |= flat(value, f"{name}.")
            elif value is not None and value != {}:
                found[name] = value
    return found

"""What readers and addresses write, as a state holds it: numbers, cards, models, config.json.

Nothing is refused here: what cannot be read stays as it was written, and is refused where it is
used, with its reason.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, cast

from unfrozen.errors import PlanError
from unfrozen.hardware.gpus import find
from unfrozen.model import SUPPORTED
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.model.styles import CONFIG_DEFAULTS
from unfrozen.reader.typed import Unread, read_number

_THOUSANDS: Final = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "bn": 10**9, "t": 10**12}
_POWERS: Final = {"": 1, "k": 2**10, "m": 2**20}
"""A sequence of "4k" tokens has 4,096 of them: lengths come in powers of two."""
_EXACT: Final = 2**53  # whole numbers up to here are exact as floats
_VARIANT: Final = re.compile(r"-(?:instruct|chat|it|pt|hf)(?=-|$)")


def whole_text(key: str, text: str) -> str:
    """Digits of a whole number, however it is written: "16,384", "4k", "1e3", "10 M"."""
    digits = text.replace(",", "")
    if digits.isdecimal():
        return digits
    try:
        typed = read_number(text)
    except Unread:
        return text
    factor = (_POWERS if key == "seq_len" else _THOUSANDS).get(typed.unit.lower())
    value = typed.value * (factor or 0)
    readable = factor is not None and value == int(value) and value <= _EXACT
    return str(int(value)) if readable else text


def real_text(text: str) -> str:
    """A number that need not be whole, its decimals behind a point: "2,50" → "2.5"."""
    try:
        float(text)
    except ValueError:
        pass
    else:
        return text
    try:
        typed = read_number(text)
    except Unread:
        return text
    return f"{typed.value:g}" if typed.unit == "" else text


def card_name(text: str) -> str:
    """A card by the name its table has for it: "H100" → "H100 SXM"."""
    try:
        return find(text).name
    except PlanError:
        return text


def hub_id(text: str) -> str:
    """A model of the list by its hub id: owner and case are optional, and a version that was
    trained further on instructions is its base here, whose tensors it has.
    """
    wanted = text.lower()
    for same in (lambda name: name, lambda name: _VARIANT.sub("", name)):
        for known in CATALOGUE:
            names = (known.lower(), known.lower().partition("/")[2])
            if same(wanted) in map(same, names):
                return known
    return text


def text_part(config: Mapping[str, object]) -> dict[str, object]:
    """The language model of a config.json: its `text_config` where a model that also sees or hears
    has one, else all of it.
    """
    if not has_text_part(config):
        return dict(config)
    inner = cast("Mapping[str, object]", config["text_config"])
    return CONFIG_DEFAULTS.get(str(inner.get("model_type")), {}) | dict(inner)


def has_text_part(config: Mapping[str, object]) -> bool:
    """Whether only the language model, in a `text_config` of its own, can be counted."""
    if config.get("model_type") in SUPPORTED:
        return False
    return isinstance(config.get("text_config"), Mapping) and "hidden_size" not in config

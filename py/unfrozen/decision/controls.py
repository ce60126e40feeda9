"""The controls of the decision: their words, what they offer, and where they stand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from unfrozen.decision.choices import (
    CARDS,
    DEFAULTS,
    KEYS,
    LEARN,
    MODELS,
    PRICES,
    PRICES_OF,
    STOPS,
    WANT,
    Choice,
    State,
    as_state,
)
from unfrozen.errors import PlanError
from unfrozen.hardware.gpus import find
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.planner.controls import Json
from unfrozen.schema.address import readable, settings
from unfrozen.units import format_count, gib, sig3

_COUNTS: Final = {
    "gpus": ("Cards", "cards", "of this kind"),
    "tasks": ("Tasks", "tasks", "models you want"),
    "tokens": ("Data", "tokens", "tokens, a task"),
    "requests": ("Use", "requests", "requests, a task"),
}


def of(choice: Choice) -> Json:
    """Every control where a choice puts it."""
    return _controls(DEFAULTS | as_state(choice))


def as_given(given: Mapping[str, object] | str) -> Json:
    """Every control where the reader put it, though it cannot be read."""
    try:
        found = settings(given)
    except PlanError:
        found = readable(given)
    return _controls(DEFAULTS | {key: str(value) for key, value in found.items() if key in KEYS})


def _controls(texts: State) -> Json:
    return {
        "selects": [
            _select("model", "Model", texts, [(name, _size(name)) for name in MODELS]),
            _select("gpu", "Card", texts, [(name, _holds(name)) for name in CARDS]),
        ],
        "counts": [_count(key, texts) for key in STOPS],
        "radios": [
            _select("learn", "What it must learn", texts, list(LEARN.items())),
            _select("want", "What you want of it", texts, list(WANT.items())),
        ],
        "price": {
            "key": "price",
            "label": "Price of a card-hour",
            "value": texts.get("price", ""),
            "placeholder": _example(texts["gpu"]),
        },
    }


def _select(key: str, label: str, texts: State, offered: list[tuple[str, str]]) -> Json:
    options = [{"value": value, "label": words} for value, words in offered]
    return {"key": key, "label": label, "value": texts[key], "options": options}


def _count(key: str, texts: State) -> Json:
    label, unit, note = _COUNTS[key]
    digits = texts[key].replace(",", "")
    return {
        "key": key,
        "label": label,
        "note": note,
        "digits": digits,
        "value": f"{int(digits):,}" if digits.isdecimal() else digits,
        "steps": [str(stop) for stop in STOPS[key]],
        "texts": [f"{stop:,} {unit}" for stop in STOPS[key]],
    }


def _size(hub_id: str) -> str:
    owner, _, name = hub_id.rpartition("/")
    return f"{name} · {format_count(CATALOGUE[hub_id].num_parameters)}" if owner else hub_id


def _holds(card: str) -> str:
    return f"{card} · {sig3(gib(find(card).capacity_bytes))} GiB"


def _example(card: str) -> str:
    if card not in PRICES:
        return "in your currency"
    low, high = PRICES[card]
    return f"{low:.2f}–{high:.2f} $ ({PRICES_OF})"

"""A refusal as the planner tells it: one sentence in the words of its controls, at its control.

What refuses a job speaks in the keys of JSON ("set params to fp32"); a reader of the page sees
labels ("Weights"). Keys of a pasted config.json stay as they are: the reader has that file.
"""

from __future__ import annotations

import re
from typing import Final

from unfrozen.errors import InputError, shown
from unfrozen.planner.knobs import GROUPS, SLIDERS, Knob
from unfrozen.planner.state import State, config_address, model_config, setting

_PLACES: Final = {"job": "model", "lora": "lora_rank", "solve": "gpu"}
_KNOBS: Final[dict[str, Knob]] = {knob.key: knob for _, knobs in GROUPS for knob in knobs}
_LABELS: Final[dict[str, str]] = (
    {"model": "Model", "config": "config.json", "gpu": "Card", "unit": "Unit"}
    | {key: label for key, (label, *_) in SLIDERS.items()}
    | {knob.key: knob.label for knob in _KNOBS.values()}
)
_NO_ENGLISH: Final = {"params", "master", "grads"}
"""Keys without an underscore that no sentence would hold for another reason."""
_NAMES: Final[dict[str, str]] = {
    value: label.partition(":")[0]
    for key in ("optimizer", "sharding", "method")
    for value, label in _KNOBS[key].choices.items()
    if value not in ("none", "full")
}
_WORD: Final = re.compile(r'"?\b([a-z][a-z0-9]*(?:[_-][a-z0-9]+)*)\b"?')


def label_of(key: str) -> str:
    """What a reader calls a key of the state: "seq_len" → "Sequence length"."""
    return _LABELS.get(key, key)


def as_problem(error: InputError, state: State) -> dict[str, object]:
    """A refusal with the control it belongs to and, for a hub id, the way on."""
    control = _control(error.key, state)
    of_model = error.key.startswith("model.")
    parts = [error.bound, error.remedy]
    if of_model:
        parts.insert(0, _told(error, state))
    else:
        parts = [_in_labels(part, control) for part in parts]
    return {
        "key": error.key,
        "label": label_of(control),
        "value": shown(error.value),
        "bound": error.bound,
        "remedy": error.remedy,
        "control": control,
        "text": " ".join(_sentence(part) for part in parts if part),
        "link": config_address(setting(state, "model")) if error.key == "model" else "",
    }


def _control(key: str, state: State) -> str:
    """The control whose value is to be corrected."""
    *parts, name = key.split(".")
    if parts[:1] == ["model"]:
        return "config" if setting(state, "config") else "model"
    if "lora" in parts and not name.startswith("lora"):
        return f"lora_{name}"
    return _PLACES.get(name, name)


def _told(error: InputError, state: State) -> str:
    """What a config.json holds under the key that is wrong, or that the key is missing."""
    name = error.key.partition(".")[2]
    missing = error.value == "nothing" and name not in model_config(state)
    return f"{name} is {'missing' if missing else shown(error.value)}"


def _in_labels(text: str, control: str) -> str:
    """Keys and values of JSON as the controls spell them."""
    own = _KNOBS[control].choices if control in _KNOBS else {}

    def spelled(match: re.Match[str]) -> str:
        word = match[1]
        if word == "null":
            return f"{own.get(word, 'none')} (null)"
        if word in own:
            return _quoted(own[word].partition(":")[0])
        if word in _NAMES:
            return _quoted(_NAMES[word])
        known = word in _LABELS and ("_" in word or word in _NO_ENGLISH)
        return _quoted(_LABELS[word]) if known else match[0]

    return _WORD.sub(spelled, text)


def _quoted(label: str) -> str:
    """A label that would run into the words around it, in quotation marks."""
    return f"“{label}”" if " " in label else label


def _sentence(text: str) -> str:
    """A part of an error as a sentence; a name of a file or a key keeps its first letter."""
    first = text.split()[0]
    return f"{text if '_' in first or '.' in first else text[:1].upper() + text[1:]}."

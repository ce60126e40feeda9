"""The planner's controls as the page draws them, and errors in their labels.

Labels, help and choices are those of `state.SETTINGS`. A setting that does nothing in the reader's
job has no control, unless the state gives it a value; one that is JSON only never has, and is named
in a line where it is set.
"""

from __future__ import annotations

import re
from typing import Any, Final

from unfrozen.errors import InputError, quote_value
from unfrozen.hardware import GPUS, OF_APPLE
from unfrozen.job import Job
from unfrozen.job.lora import LORA_SETTINGS
from unfrozen.job.settings import GROUPS, Setting
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.planner.state import (
    LEFT_TO_JOB,
    OWN,
    SETTINGS,
    State,
    as_text,
    config_address,
    job_without,
    model_config,
    read_job,
    read_state,
    text_of,
    unused_keys,
)
from unfrozen.units import format_count, gib, sig3

_SEQ_LENS: Final = tuple(
    size for power in range(7, 20) for size in (2**power, 3 * 2 ** (power - 1)) if size <= 524_288
)
_BATCHES: Final = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
_GPU_COUNTS: Final = (1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256, 512, 1024)
SLIDERS: Final = {
    "seq_len": ("tokens", _SEQ_LENS),
    "micro_batch": ("sequences", _BATCHES),
    "gpus": ("GPUs", _GPU_COUNTS),
}
"""The unit and the stops of settings with a slider."""
OFFERED: Final = {
    group: tuple(
        setting for setting in SETTINGS.values() if setting.group == group and not setting.json_only
    )
    for group in GROUPS
}
"""Settings with a control in the settings' fold, by the heading they stand under."""
Json = dict[str, object]


def sliders(state: State, job: Job | None) -> list[Json]:
    """Return the three sliders with `steps`, their stops, and `texts` for a screen reader."""
    own = {key: as_text(getattr(job.recipe, key)) for key in LEFT_TO_JOB - state.keys() if job}
    return [
        {
            "key": key,
            "label": SETTINGS[key].label,
            "unit": "" if unit == SETTINGS[key].label else unit,
            "value": own.get(key, text_of(state, key)),
            "steps": [str(step) for step in steps],
            "texts": [f"{step:,} {unit}" for step in steps],
        }
        for key, (unit, steps) in SLIDERS.items()
    ]


_EXAMPLES: Final = {"tokens": "10,000 × 3 × 512", "budget": "200"}
_FILES: Final = ".jsonl,.ndjson,.json,.csv,.tsv"


def open_questions(state: State) -> list[Json]:
    """Return the controls of what the one plan is for: data, which the page reads from a file of
    these endings too, and budget.
    """
    tokens = re.sub(r"\d{4,}", lambda found: f"{int(found[0]):,}", text_of(state, "tokens"))
    values = {"tokens": tokens.replace(" x ", " × "), "budget": text_of(state, "budget")}
    return [
        {
            "key": key,
            "label": SETTINGS[key].label,
            "help": SETTINGS[key].help,
            "value": value,
            "placeholder": _EXAMPLES[key],
            "reads": _FILES if key == "tokens" else "",
        }
        for key, value in values.items()
    ]


def groups(state: State, job: Job | None, nearest: Job | None) -> list[Json]:
    """Return the settings under their headings. `job` has the default of each setting; `nearest`
    decides which of them apply.
    """
    return [
        {
            "label": group,
            "settings": [_control(setting, state, job, nearest) for setting in offered],
        }
        for group, offered in OFFERED.items()
    ]


def also_set(state: State) -> str:
    """Return a line on the settings without a control that a state sets; empty for none."""
    names = [
        f"{SETTINGS[key].short_label}: {_value_label(SETTINGS[key], state[key])}"
        for key in SETTINGS
        if key in state and SETTINGS[key].json_only
    ]
    return f"Also set, without a control here: {'; '.join(names)}." if names else ""


def nearest_job(state: State, wrong: str) -> Job | None:
    """Return the job of a state without the wrong value; None where that has a problem too."""
    rest = {key: text for key, text in state.items() if key != wrong}
    try:
        return read_job(read_state(rest))
    except InputError:
        return None


def _control(setting: Setting, state: State, job: Job | None, nearest: Job | None) -> Json:
    key = setting.key
    default = _default(setting, job_without(key, state, job))
    applies = nearest is not None and setting.applies(nearest)
    is_shown = key not in unused_keys(state) and (key in state or applies)
    control: Json = {
        "key": key,
        "label": setting.label,
        "help": setting.help,
        "kind": setting.kind if setting.kind in ("choice", "flag") else "text",
        "hidden": not is_shown,
        "value": text_of(state, key),
    }
    if setting.kind == "flag":
        return control | {"value": text_of(state, key) or default}
    if setting.kind == "choice":
        first = {"value": "", "label": f"{default} (default)" if default else "default"}
        rest = [{"value": value, "label": label} for value, label in setting.choices.items()]
        return control | {"options": [first, *rest]}
    return control | {"placeholder": default, "numeric": setting.kind in ("whole", "real")}


def _default(setting: Setting, job: Job | None) -> str:
    """Return the value of a setting that the reader left alone, by the control's labels."""
    if job is None or setting.key in OWN:
        return ""
    parts: dict[str, Any] = {
        "recipe": job.recipe,
        "recipe.lora": job.recipe.lora,
        "cluster": job.cluster,
    }
    found = getattr(parts[setting.part], setting.name, None)
    if found is None and "null" not in setting.choices:
        return ""
    return setting.choices.get(as_text(found), as_text(found))


def _value_label(setting: Setting, text: str) -> str:
    return {"true": "on", "false": "off"}.get(text, setting.choices.get(text, text))


def models() -> list[dict[str, str]]:
    """Return the hub id and size of every model of the catalogue."""
    return [
        {"value": hub_id, "size": format_count(published.num_parameters)}
        for hub_id, published in CATALOGUE.items()
    ]


def gpu_options() -> list[dict[str, str]]:
    """Return every GPU with its usable memory, and the option of none."""
    known = {
        gpu.name: f"{gpu.name} · {sig3(gib(gpu.capacity_bytes))} GiB" for gpu in (*GPUS, *OF_APPLE)
    }
    known |= {"": "no GPU: sizes alone", "T4": f"{known['T4']}, as on Colab"}
    return [{"value": value, "label": label} for value, label in known.items()]


_CONTROL_OF: Final = {"job": "model", "lora": "lora_rank", "solve": "gpu", "data": "tokens"}
_NO_ENGLISH: Final = {"params", "master", "grads"}
"""Keys without an underscore that no sentence would hold for another reason."""
_SHORT: Final = re.compile(r": | \(| / ")
_NAMES: Final[dict[str, str]] = {
    value: _SHORT.split(label)[0]
    for key in ("optimizer", "sharding", "method")
    for value, label in SETTINGS[key].choices.items()
    if value not in ("none", "full")
}
_WORD: Final = re.compile(r'"?\b([a-z][a-z0-9]*(?:[_-][a-z0-9]+)*)\b"?')


def as_problem(error: InputError, state: State) -> Json:
    """Return a refusal in the labels of the controls, with its control and, for a hub id, a link.

    What refuses a job uses the keys of JSON ("set params to fp32"); a reader of the page sees
    labels ("Weight dtype"). Keys of a pasted config.json stay: the reader has that file.
    """
    control = _control_of(error.key, state)
    parts = [error.bound, error.remedy]
    if error.key.startswith("model."):
        parts.insert(0, _found_in_config(error, state))
    else:
        parts = [_with_labels(part, control) for part in parts]
    return {
        "key": error.key,
        "label": SETTINGS[control].short_label if control in SETTINGS else control,
        "value": quote_value(error.value),
        "bound": error.bound,
        "remedy": error.remedy,
        "control": control,
        "text": " ".join(_sentence(part) for part in parts if part),
        "link": config_address(state) if error.key == "model" else "",
    }


def _control_of(key: str, state: State) -> str:
    """Return the key of the control whose value is to be corrected."""
    *parts, name = key.split(".")
    if parts[:1] == ["model"]:
        return "config" if text_of(state, "config") else "model"
    if "lora" in parts:
        return LORA_SETTINGS[name].key if name in LORA_SETTINGS else "lora_rank"
    return _CONTROL_OF.get(name, name)


def _found_in_config(error: InputError, state: State) -> str:
    """Return what a config.json has under the wrong key, or that the key is missing."""
    name = error.key.partition(".")[2]
    missing = error.value == "nothing" and name not in model_config(state)
    return f"{name} is {'missing' if missing else quote_value(error.value)}"


def _with_labels(text: str, control: str) -> str:
    """Return the keys and values of JSON as the controls spell them."""
    own = SETTINGS[control].choices if control in SETTINGS else {}

    def spelled(match: re.Match[str]) -> str:
        word = match[1]
        if word == "null":
            return f"{_SHORT.split(own.get(word, 'none'))[0]} (null)"
        if word in own:
            return _quoted(_SHORT.split(own[word])[0])
        if word in _NAMES:
            return _quoted(_NAMES[word])
        known = word in SETTINGS and ("_" in word or word in _NO_ENGLISH)
        return _quoted(SETTINGS[word].short_label) if known else match[0]

    return _WORD.sub(spelled, text)


def _quoted(label: str) -> str:
    """Return a label, in quotation marks if it has several words."""
    return f"“{label}”" if " " in label else label


def _sentence(part: str) -> str:
    """Return a part of an error as a sentence; a name of a file or a key keeps its first letter."""
    first = part.split()[0]
    return f"{part if '_' in first or '.' in first else part[:1].upper() + part[1:]}."

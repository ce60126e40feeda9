"""A reader's task, read from a flat record of texts that an address can carry, and its controls.

The models and GPUs are those the decision is tested on, every one with every other; the planner
takes any. Numbers may lie between the stops of their sliders.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlencode

from unfrozen.errors import PlanError
from unfrozen.hardware import find
from unfrozen.hardware.flavors import PRICES, PRICES_OF
from unfrozen.model import ModelConfig
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.planner.controls import Json
from unfrozen.planner.state import read_money
from unfrozen.schema.address import readable, settings
from unfrozen.units import format_count, gib, sig3

State = dict[str, str]

MODELS: Final = (
    "HuggingFaceTB/SmolLM2-135M",
    "HuggingFaceTB/SmolLM2-360M",
    "Qwen/Qwen3-0.6B",
    "meta-llama/Llama-3.2-1B",
    "HuggingFaceTB/SmolLM2-1.7B",
    "meta-llama/Llama-3.2-3B",
    "Qwen/Qwen3-4B",
    "meta-llama/Llama-3.1-8B",
    "meta-llama/Llama-2-13b-hf",
    "meta-llama/Llama-3.1-70B",
)
"""From the smallest to the largest."""
GPU_NAMES: Final = (
    "RTX 3090",
    "RTX 4090",
    "L4",
    "RTX 5090",
    "A100 40GB",
    "L40S",
    "RTX A6000",
    "A100 80GB SXM",
    "H100 SXM",
    "H200",
    "B200",
    "MI300X",
)
LEARN: Final = {
    "style": "style and format: a tone, a layout, labels; it can do the rest",
    "knowledge": "new knowledge: code, mathematics, a language, a subject",
}
WANT: Final = {
    "enough": "good enough, for the least GPU-hours",
    "most": "as much as it can learn",
    "keep": "as little forgotten as possible",
}
STOPS: Final[dict[str, tuple[int, ...]]] = {
    "gpus": (1, 2, 4, 8, 16, 32, 64),
    "tasks": (1, 2, 3, 5, 10, 20, 50),
    "tokens": (10**5, 10**6, 10**7, 10**8, 10**9, 10**10),
    "requests": (10**3, 10**4, 10**5, 10**6, 10**7),
}
"""Where the sliders stop; every combination of these is tested."""
BOUNDS: Final = {
    "gpus": (1, 64),
    "tasks": (1, 1000),
    "tokens": (1000, 10**12),
    "requests": (1, 10**12),
}
DEFAULTS: Final[State] = {
    "model": "meta-llama/Llama-3.1-8B",
    "gpu": "A100 80GB SXM",
    "gpus": "8",
    "tasks": "1",
    "tokens": "30000000",
    "requests": "1000000",
    "learn": "style",
    "want": "enough",
}
KEYS: Final = (*DEFAULTS, "price")
_OFFERED: Final = {"model": MODELS, "gpu": GPU_NAMES, "learn": tuple(LEARN), "want": tuple(WANT)}


@dataclass(frozen=True, slots=True)
class Task:
    """A task to decide on.

    model, gpu  by the names above; gpus GPUs of that kind
    tasks       models that are wanted, each for a task of its own
    tokens      of the data of one task, seen once
    requests    that one task will ever answer
    learn       "style" or "knowledge", see `evidence.LEAST_RANK`
    want        what counts between methods that can do it: "enough", "most" or "keep"
    price       of a GPU for an hour, in any currency; None: no cost is shown
    """

    model: str
    gpu: str
    gpus: int
    tasks: int
    tokens: int
    requests: int
    learn: str
    want: str
    price: float | None = None


@lru_cache(maxsize=64)
def config_of(hub_id: str) -> ModelConfig:
    """Return the model of this name, which is read once."""
    return CATALOGUE[hub_id].model


def read_task(given: Mapping[str, object] | str) -> Task:
    """Return a task from its texts, or from the query of an address; missing texts take the
    defaults.

    Raises PlanError with key, value, bound and remedy.
    """
    found = settings(given)
    for key, value in found.items():
        if key not in KEYS:
            bound = "the decision has no control of this name"
            raise PlanError(str(key), value, bound, "leave it out of the address")
    texts = DEFAULTS | {key: str(value).strip() for key, value in found.items()}
    for key, offered in _OFFERED.items():
        if texts[key] not in offered:
            bound = "the decision was not tested with it"
            remedy = f"choose one of {', '.join(offered)}"
            raise PlanError(key, texts[key], bound, remedy)
    given_values: dict[str, Any] = {key: texts[key] for key in _OFFERED}
    given_values |= {key: _count(key, texts[key]) for key in BOUNDS}
    return Task(**given_values, price=read_money("price", {"price": texts.get("price", "")}))


def as_state(task: Task) -> State:
    """Return the texts of a task in their shortest form: no defaults."""
    texts = {key: str(getattr(task, key)) for key in DEFAULTS}
    if task.price is not None:
        texts["price"] = f"{task.price:g}"
    return {key: text for key, text in texts.items() if text != DEFAULTS.get(key)}


def as_query(task: Task) -> str:
    """Return the task as part of an address, keys in a fixed order."""
    return urlencode(as_state(task), safe="/ ")


def _count(key: str, text: str) -> int:
    digits = text.replace(",", "")
    low, high = BOUNDS[key]
    if not digits.isdecimal() or not low <= int(digits) <= high:
        bound = f"it must be a whole number in {low:,} … {high:,}"
        remedy = "choose one of these" if digits.isdecimal() else "write digits only"
        raise PlanError(key, text, bound, remedy)
    return int(digits)


_COUNTS: Final = {
    "gpus": ("GPUs", "GPUs", "of this kind"),
    "tasks": ("Tasks", "tasks", "models you want"),
    "tokens": ("Data", "tokens", "tokens, a task"),
    "requests": ("Use", "requests", "requests, a task"),
}


def controls_of(task: Task) -> Json:
    """Return every control with the values of a task."""
    return _controls(DEFAULTS | as_state(task))


def controls_as_given(given: Mapping[str, object] | str) -> Json:
    """Return every control with the texts of the reader, which cannot be read as a task."""
    try:
        found = settings(given)
    except PlanError:
        found = readable(given)
    return _controls(DEFAULTS | {key: str(value) for key, value in found.items() if key in KEYS})


def _controls(texts: State) -> Json:
    return {
        "selects": [
            _select("model", "Model", texts, [(name, _size(name)) for name in MODELS]),
            _select(
                *("gpu", "GPU", texts),
                [(n, f"{n} · {sig3(gib(find(n).capacity_bytes))} GiB") for n in GPU_NAMES],
            ),
        ],
        "counts": [_count_control(key, texts) for key in STOPS],
        "radios": [
            _select("learn", "What it must learn", texts, list(LEARN.items())),
            _select("want", "What you want of it", texts, list(WANT.items())),
        ],
        "price": {
            "key": "price",
            "label": "Price per GPU-hour",
            "value": texts.get("price", ""),
            "placeholder": _example_price(texts["gpu"]),
        },
    }


def _select(key: str, label: str, texts: State, offered: list[tuple[str, str]]) -> Json:
    options = [{"value": value, "label": text} for value, text in offered]
    return {"key": key, "label": label, "value": texts[key], "options": options}


def _count_control(key: str, texts: State) -> Json:
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


def _example_price(gpu: str) -> str:
    if gpu not in PRICES:
        return "in your currency"
    low, high = PRICES[gpu]
    return f"{low:.2f}–{high:.2f} $ ({PRICES_OF})"

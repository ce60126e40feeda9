"""The planner's state: a flat record of texts that an address can carry, and its job.

A state holds only what differs from `DEFAULTS`, every value as text: "4096", "true", "null". An
empty text leaves the setting to the runner (`runner.runner_defaults`) or to the job's own default.
`config` is the text of a config.json that the reader gave; it replaces `model`, a hub id of the
catalogue. The keys are those of the settings of a job, and the planner's own (`SETTINGS`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final, NoReturn, cast
from urllib.parse import urlencode

from unfrozen.errors import PlanError, strict_json
from unfrozen.hardware import counted, find
from unfrozen.hardware.flavors import PRICES, PRICES_OF
from unfrozen.job import Job, on_gpu, read_gpu, read_model
from unfrozen.job.cluster import CLUSTER_SETTINGS
from unfrozen.job.framework_defaults import FRAMEWORKS
from unfrozen.job.lora import LORA_SETTINGS
from unfrozen.job.recipe import RECIPE_SETTINGS
from unfrozen.job.settings import Setting
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.model.catalogue import find as find_model
from unfrozen.model.names import (
    HUB,
    HubReader,
    ModelSource,
    Unanswered,
    copied_model,
    is_hub_id,
    named_model,
)
from unfrozen.planner.runner import SHARDED, runner_defaults
from unfrozen.schema.address import readable, settings
from unfrozen.training_data import MOST_TOKENS, Data, read_numbers
from unfrozen.units import NumberError, parse_number

State = dict[str, str]

UNITS: Final = ("GiB", "GB")
LONGEST_CONFIG: Final = 100_000
MOST_PRICE: Final = 10_000
MOST_BUDGET: Final = 10**9

DEFAULTS: Final[dict[str, str]] = {
    "model": "meta-llama/Llama-3.1-8B",
    "config": "",
    "gpu": "A100 80GB SXM",
    "gpus": "1",
    "seq_len": "2048",
    "micro_batch": "1",
    "tokens": "10000000",
    "unit": "GiB",
}
"""The view that is baked into the page; a key that is not here is empty by default."""
LORA: Final = tuple(setting.key for setting in LORA_SETTINGS.values())
_OWN: Final = {
    "model": Setting("Model", "A model of the catalogue, by its hub id.", "", "names", ""),
    "config": Setting("config.json", "The config.json of another model.", "", "names", ""),
    "gpu": Setting("GPU", "The GPU whose memory the plan has to fit.", "", "names", ""),
    "unit": Setting("Unit", "GiB or GB.", "", "names", ""),
    "framework": Setting(
        "Framework",
        "The framework whose defaults apply to every setting that is left alone here.",
        "Run",
        "choice",
        "",
        {name: name for name in sorted(FRAMEWORKS)},
    ),
    "tokens": Setting(
        "Your data",
        "Rows × epochs × tokens of a row.",
        "",
        "names",
        "",
    ),
    "budget": Setting(
        "Budget",
        "What the run may cost, in dollars.",
        "",
        "real",
        "",
        least=0,
        most=MOST_BUDGET,
    ),
    "price": Setting(
        "Price per GPU-hour",
        "What a GPU costs an hour, in your currency; an H100 rented at"
        f" ${PRICES['H100 SXM'][0]:.2f} to ${PRICES['H100 SXM'][1]:.2f} from {PRICES_OF}.",
        "Run",
        "real",
        "",
        least=0,
        most=MOST_PRICE,
    ),
}
SETTINGS: Final[dict[str, Setting]] = (
    {key: replace(setting, key=key) for key, setting in _OWN.items()}
    | RECIPE_SETTINGS
    | {setting.key: setting for setting in LORA_SETTINGS.values()}
    | CLUSTER_SETTINGS
)
"""Every setting that a state can hold, by its key."""
KEYS: Final = tuple(SETTINGS)
OWN: Final = tuple(_OWN)
LEFT_TO_JOB: Final = frozenset({"seq_len"})
"""Left to the job until the reader sets it: a model may have fewer positions than the default."""
_MAY_BE_EMPTY: Final = frozenset({"gpu"})
"""Emptied, it means no GPU: sizes alone."""
_FRAMEWORKS_SET: Final = {
    default.key.replace(".", "_") for defaults in FRAMEWORKS.values() for default in defaults
}
_RUNNER_SETS: Final = {"packed", "experts_cast", "torch_delta", *SHARDED}
_STAYS_OFF: Final = frozenset(
    key
    for key, setting in SETTINGS.items()
    if setting.kind == "flag" and not setting.optional and key not in _FRAMEWORKS_SET | _RUNNER_SETS
)
"""Flags that nothing but the reader turns on, so that a state need not say that they are off."""


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """A state and what was read from it: the job, and what the page shows beside its plan.

    data    that the run sees, None where the reader gave no more than its tokens
    price   of a GPU for an hour, budget of the whole run: None where the reader gave none
    """

    state: State
    job: Job
    unit: str
    tokens: int
    data: Data | None
    price: float | None
    budget: float | None


def read_request(given: Mapping[str, object] | str) -> PlanRequest:
    """Return the request of a state, or of the query of an address. Raises PlanError."""
    state = parse_query(given) if isinstance(given, str) else read_state(given)
    unit = text_of(state, "unit")
    if unit not in UNITS:
        raise PlanError("unit", unit, "sizes are shown in GiB or in GB", "choose one")
    data = read_numbers(text_of(state, "tokens"))
    tokens = data.tokens if data else _tokens(state)
    price, budget = (read_money(key, state) for key in ("price", "budget"))
    return PlanRequest(state, read_job(state), unit, tokens, data, price, budget)


def read_state(given: Mapping[str, object]) -> State:
    """Return a state in its shortest form: no defaults, nothing that its method does not use.

    Raises PlanError for a key or a value no state can hold.
    """
    state: State = {}
    asked = settings(given, {"config": LONGEST_CONFIG})
    count, gpu = counted(as_text(asked.get("gpu", "")))
    if count is not None and gpu:  # "2x4090"
        asked = {"gpus": count} | asked | {"gpu": gpu}
    for key, value in asked.items():
        if key not in SETTINGS:
            bound = "the planner has no setting of this name"
            raise PlanError(str(key), value, bound, "leave it out of the address")
        text = as_text(value).strip()
        state[key] = _canonical(key, "" if key in _STAYS_OFF and text == "false" else text)
    unused = unused_keys(state)
    if state.get("config") and state.get("model") in CATALOGUE:
        unused |= {"model"}
    return {
        key: text
        for key, text in state.items()
        if text != DEFAULTS.get(key, "") and key not in unused
    }


def readable_state(given: Mapping[str, object] | str) -> State:
    """Return the readable part of a state that cannot be planned, for the controls."""
    with suppress(PlanError):
        return parse_query(given) if isinstance(given, str) else read_state(given)
    state: State = {}
    for key, value in readable(given).items():
        with suppress(PlanError):
            state |= read_state({key: value})
    return state


def unused_keys(state: State) -> set[str]:
    """Return settings without a meaning under the state's method, such as adapters."""
    method = state.get("method", "")
    unused = set() if method in ("lora", "qlora") else set(LORA)
    return unused if method == "qlora" else unused | {"base"}


def parse_query(query: str) -> State:
    """Return the state of a query: "model=…&seq_len=4096". Raises PlanError as `read_state`."""
    return read_state(settings(query, {"config": LONGEST_CONFIG}))


def as_query(state: State) -> str:
    """Return the state as the query of an address, keys in a fixed order."""
    return urlencode([(key, state[key]) for key in KEYS if key in state], safe="/:, ")


def text_of(state: State, key: str) -> str:
    """Return the text of a control: the state's, or the default."""
    return state.get(key, DEFAULTS.get(key, ""))


def patched(state: State, patch: Mapping[str, object]) -> State:
    """Return the state after a patch with the keys of a job: {"recipe": {…}, "cluster": {…}}."""
    changed: dict[str, object] = dict(state)
    for part in ("recipe", "cluster"):
        values = dict(cast("Mapping[str, object]", patch.get(part) or {}))
        if "lora" in values:
            lora = cast("Mapping[str, object]", values.pop("lora") or {})
            changed = {key: text for key, text in changed.items() if key not in LORA}
            changed |= {f"lora_{name}": value for name, value in lora.items() if value is not None}
        changed |= values
    return read_state(changed)


def as_text(value: object) -> str:
    """Return a value of a job as text: None → "null", True → "true", lists with commas."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    return str(value)


def recipe_json(state: State) -> dict[str, object]:
    """Return the recipe of the state's job, with the runner's defaults. Raises PlanError."""
    left = LEFT_TO_JOB - state.keys()
    given = [key for key in RECIPE_SETTINGS if text_of(state, key) and key not in left]
    recipe = {key: _value(key, state) for key in given}
    model = read_model(model_config(state)).architecture
    lora = {SETTINGS[key].name: _value(key, state) for key in LORA if state.get(key)}
    recipe |= {"lora": lora} if lora else {}
    gpu = read_gpu(name) if (name := text_of(state, "gpu")) else None
    if gpu:
        recipe = dict(on_gpu(recipe, gpu, text_of(state, "framework") or None))
    if not text_of(state, "framework"):  # whose defaults then apply
        recipe = runner_defaults(model, recipe, gpu) | recipe
    return recipe


def job_json(state: State) -> dict[str, object]:
    """Return the state as the job that `unfrozen plan` reads. Raises PlanError."""
    cluster = {key: _value(key, state) for key in CLUSTER_SETTINGS if text_of(state, key)}
    job: dict[str, object] = {
        "model": model_config(state),
        "recipe": recipe_json(state),
        "cluster": cluster if text_of(state, "framework") else SHARDED | cluster,
    }
    named = {key: text_of(state, key) for key in ("gpu", "framework")}
    return job | {key: name for key, name in named.items() if name}


def state_of(given: Mapping[str, object]) -> State:
    """Return the shortest state with the job of this JSON, which its address then opens.

    Raises PlanError for a job that cannot be planned, or that no state says.
    """
    job = Job.read(given)
    if isinstance(given.get("gpu"), Mapping):
        bound = "an address names a GPU of the table"
        raise PlanError("gpu", job.gpu and job.gpu.name, bound, "plan it without --open")
    config = given["model"]
    if isinstance(config, str):
        config = find_model(config).config
    known = next((name for name, entry in CATALOGUE.items() if entry.config == config), None)
    texts: dict[str, object] = {"model": known} if known else {"config": json.dumps(config)}
    texts |= {"gpu": job.gpu.name if job.gpu else "", "framework": given.get("framework") or ""}
    for key in RECIPE_SETTINGS:
        texts[key] = getattr(job.recipe, key)
    for key in CLUSTER_SETTINGS:
        texts[key] = getattr(job.cluster, key)
    if job.recipe.lora is not None:
        texts |= {key: getattr(job.recipe.lora, SETTINGS[key].name) for key in LORA}
    state = read_state(_spellable(texts))
    found = read_job(state)
    if found != job:
        raise PlanError("job", "this job", "no address says all of it", "plan it without --open")
    for key in list(state):
        shorter = {name: text for name, text in state.items() if name != key}
        with suppress(PlanError):
            state = shorter if read_job(shorter) == job else state
    return state


def state_of_read(job: Mapping[str, Any], state: State) -> State:
    """Return the state of a job that was read from a trainer's file, whose model may be of no list;
    GPU, data, price and unit, and a model that the file does not name, are those of `state`.
    """
    recipe, model = {**job.get("recipe", {})}, job.get("model")
    lora = recipe.pop("lora", None) or {}
    texts: dict[str, object] = {key: lora.get(SETTINGS[key].name) for key in LORA}
    texts |= {**recipe, **job.get("cluster", {}), "framework": job.get("framework")}
    kept = {*_OWN} - {"framework"} if job.get("framework") else state.keys()
    own = {key: state[key] for key in kept & state.keys()}
    if model:
        by_name = isinstance(model, str)
        own |= {"model": model if by_name else "", "config": "" if by_name else json.dumps(model)}
    return read_state(own | _spellable(texts))


def _spellable(texts: Mapping[str, object]) -> dict[str, object]:
    """Return the values that a state can say: null only where it is a choice."""
    return {
        key: value
        for key, value in texts.items()
        if value is not None or (SETTINGS[key].kind == "choice" and "null" in SETTINGS[key].choices)
    }


def read_job(state: State) -> Job:
    """Return the state's job, checked. Raises PlanError with key, value, bound and remedy."""
    return Job.read(job_json(state))


def job_without(key: str, state: State, job: Job | None) -> Job | None:
    """Return the state's job without this setting; None where there would be none."""
    if job is None or key not in state:
        return job
    try:
        return read_job(read_state({name: text for name, text in state.items() if name != key}))
    except PlanError:
        return None


def model_config(state: State) -> dict[str, object]:
    """Return the config.json of the state's model. Raises PlanError where there is none."""
    config = _parsed(state["config"]) if state.get("config") else _named(model_name(state))[0]
    return dict(config)


def model_name(state: State) -> str:
    """Return the name of the state's model; empty where its config.json was given without one."""
    return state.get("model", "" if state.get("config") else DEFAULTS["model"])


def model_source(state: State) -> ModelSource | None:
    """Return where the config of a model by its name is from; None for the list's or one given."""
    return None if state.get("config") else _named(model_name(state))[1]


def config_address(state: State) -> str:
    """Return the address on the hub of a config.json that the state lacks; else an empty text."""
    name = model_name(state)
    known = state.get("config") or name in CATALOGUE or copied_model(name)
    return PAGE.address(name) if is_hub_id(name) and not known else ""


PAGE: Final = HubReader(
    HUB, "open it there when you are signed in", "drop its config.json on the planner, or paste it"
)
"""The page asks the hub only when its reader presses the button for it."""


@lru_cache(maxsize=64)
def _named(name: str) -> tuple[dict[str, Any], ModelSource | None]:
    return named_model(name, _not_asked if is_hub_id(name) else None)


def _not_asked(_: str) -> NoReturn:
    raise Unanswered("the hub has not been asked", "ask it here for its config.json")


@lru_cache(maxsize=8)
def _parsed(text: str) -> dict[str, object]:
    try:
        config = strict_json(text, of_model=True)
    except ValueError as error:
        remedy = "paste the whole file, from { to }"
        raise PlanError("config", text, f"it is not JSON: {error}", remedy) from None
    if not isinstance(config, dict):
        remedy = "paste the config.json of a model"
        raise PlanError("config", config, "it must be one object", remedy)
    return config


def _tokens(state: State) -> int:
    text = text_of(state, "tokens")
    if not text.isdecimal():
        remedy = "write rows × epochs × tokens of a row, or one whole number"
        raise PlanError("tokens", text, "it must be a whole number, or three", remedy)
    if not 1 <= int(text) <= MOST_TOKENS:
        raise PlanError("tokens", int(text), f"it must lie in 1 … {MOST_TOKENS:,}", "correct it")
    return int(text)


def read_money(key: str, state: State) -> float | None:
    """Return the number of a state's price or budget; None without. Raises PlanError."""
    if not text_of(state, key):
        return None
    found, most = cast(float, _value(key, state)), SETTINGS[key].most or MOST_PRICE
    if not 0 <= found <= most:  # a NaN is not in it either
        raise PlanError(key, found, f"it must lie in 0 … {most:,}", "correct it")
    return found


def _value(key: str, state: State) -> object:
    """Return the typed value of a key for a job. Raises PlanError for a text of another type."""
    setting, text = SETTINGS[key], text_of(state, key)
    path = setting.path if setting.part else key
    if text == "null" and setting.kind in ("choice", "counts", "capacity"):
        return None
    if setting.kind == "flag":
        if text not in ("true", "false"):
            raise PlanError(path, text, "it must be true or false", "choose one")
        return text == "true"
    if setting.kind == "names":
        return text.replace(",", " ").split()
    if setting.kind == "choice" or text == "fullest":
        return text
    try:
        if setting.kind == "counts":
            return [int(part) for part in text.replace(",", " ").split()]
        return int(text.replace(",", "")) if setting.kind == "whole" else float(text)
    except ValueError:
        bound, remedy = _NO_NUMBER[setting.kind]
        raise PlanError(path, text, bound, remedy) from None


_NO_NUMBER: Final = {
    "whole": ("it must be a whole number", "write digits only, or one like 4k"),
    "real": ("it must be a number", "write digits only"),
    "counts": ("it must be whole numbers, one for each stage", "write them like 8, 8"),
    "capacity": ('it must be a number or "fullest"', "write a number like 1.25"),
}


def _canonical(key: str, text: str) -> str:
    """Return a value in its one spelling; an empty text is the default.

    What cannot be read stays as it was written, and is refused where it is used, with its reason.
    """
    if text == "" and key not in _MAY_BE_EMPTY:
        return DEFAULTS.get(key, "")
    if key in ("gpu", "model"):
        with suppress(PlanError):
            return find(text).name if key == "gpu" else find_model(text).hub_id
        return text
    if key == "tokens":
        with suppress(PlanError):  # what `read_request` refuses
            if data := read_numbers(text):
                return data.numbers
        return whole_text(key, text)
    kind = SETTINGS[key].kind
    return whole_text(key, text) if kind == "whole" else real_text(text) if kind == "real" else text


_THOUSANDS: Final = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "bn": 10**9, "t": 10**12}
_POWERS: Final = {"": 1, "k": 2**10, "m": 2**20}
"""A sequence of "4k" tokens has 4,096 of them: lengths come in powers of two."""
_EXACT: Final = 2**53  # whole numbers up to here are exact as floats


def whole_text(key: str, text: str) -> str:
    """Return the digits of a whole number in any spelling: "16,384", "4k", "1e3", "10 M"."""
    digits = text.replace(",", "")
    if digits.isdecimal():
        return digits
    with suppress(NumberError):
        typed = parse_number(text)
        factor = (_POWERS if key == "seq_len" else _THOUSANDS).get(typed.unit.lower())
        value = typed.value * (factor or 0)
        if factor is not None and value == int(value) and value <= _EXACT:
            return str(int(value))
    return text


def real_text(text: str) -> str:
    """Return a number that need not be whole, with a decimal point: "2,50" → "2.5"."""
    with suppress(ValueError):
        float(text)
        return text
    with suppress(NumberError):
        typed = parse_number(text)
        return f"{typed.value:g}" if typed.unit == "" else text
    return text

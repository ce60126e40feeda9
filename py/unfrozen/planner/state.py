"""What the planner is set to: a flat record of texts that an address can carry, and its job.

A state holds only what differs from `DEFAULTS`, every value as text: "4096", "true", "null". An
empty text leaves the choice to the runner (`runner.left_alone`) or to the job's own default.
`config` is the text of a config.json that the reader gave; it then stands in the place of `model`,
a hub id of the catalogue.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final, cast
from urllib.parse import urlencode

from unfrozen.errors import PlanError, strict_json
from unfrozen.job import Job, read_model
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.planner.entries import card_name, hub_id, real_text, text_part, whole_text
from unfrozen.planner.keys import (
    CLUSTER,
    DEFAULTS,
    FLAGS,
    KEYS,
    LORA,
    MAY_BE_EMPTY,
    MAY_BE_ON,
    REAL,
    RECIPE,
    WHOLE,
    YIELDS,
)
from unfrozen.planner.runner import SHARED_OUT, left_alone
from unfrozen.schema.address import settings

State = dict[str, str]

UNITS: Final = ("GiB", "GB")
LONGEST_CONFIG: Final = 100_000
MOST_TOKENS: Final = 10**15
MOST_PRICE: Final = 10_000
HUB: Final = "https://huggingface.co"


def read_state(given: Mapping[str, object]) -> State:
    """A state in its shortest form: no defaults, nothing that its method does not use.

    Raises PlanError for a key or a value no state can hold.
    """
    state: State = {}
    for key, value in settings(given, {"config": LONGEST_CONFIG}).items():
        if key not in KEYS:
            bound = "the planner has no control of this name"
            raise PlanError(str(key), value, bound, "leave it out of the address")
        text = as_text(value).strip()
        if key in FLAGS - MAY_BE_ON and text == "false":
            text = ""
        state[key] = _as_held(key, text)
    unused = unused_keys(state) | ({"model"} if state.get("config") else set())
    return {
        key: text
        for key, text in state.items()
        if text != DEFAULTS.get(key, "") and key not in unused
    }


def _as_held(key: str, text: str) -> str:
    """A value in its one spelling; a field that was emptied falls back to its default."""
    if text == "" and key not in MAY_BE_EMPTY:
        return DEFAULTS.get(key, "")
    if key in WHOLE:
        return whole_text(key, text)
    if key in REAL:
        return real_text(text)
    named = {"gpu": card_name, "model": hub_id}.get(key)
    return named(text) if named and text else text


def unused_keys(state: State) -> set[str]:
    """Settings that say nothing under the state's method: adapters under full fine-tuning."""
    method = state.get("method", "")
    unused = set() if method in ("lora", "qlora") else set(LORA)
    return unused if method == "qlora" else unused | {"base"}


def parse_query(query: str) -> State:
    """The state an address carries: "model=…&seq_len=4096". Raises PlanError as `read_state`."""
    return read_state(settings(query, {"config": LONGEST_CONFIG}))


def as_query(state: State) -> str:
    """The state as part of an address, keys in a fixed order."""
    return urlencode([(key, state[key]) for key in KEYS if key in state], safe="/:, ")


def setting(state: State, key: str) -> str:
    """What a control shows: the state's text, or the default."""
    return state.get(key, DEFAULTS.get(key, ""))


def patched(state: State, patch: Mapping[str, object]) -> State:
    """The state after a patch in the words of a job: {"recipe": {…}, "cluster": {…}}."""
    changed: dict[str, object] = dict(state)
    for part in ("recipe", "cluster"):
        values = dict(cast("Mapping[str, object]", patch.get(part) or {}))
        if "lora" in values:
            lora = cast("Mapping[str, object]", values.pop("lora") or {})
            changed = {key: text for key, text in changed.items() if key not in LORA}
            changed |= {f"lora_{name}": word for name, word in lora.items() if word is not None}
        changed |= values
    return read_state(changed)


def as_text(value: object) -> str:
    """A value of a job as a state holds it: None → "null", True → "true", lists by commas."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    return str(value)


def recipe_json(state: State) -> dict[str, object]:
    """The recipe of the state's job, what is left alone as the runner does it. Raises PlanError for
    what is no number where one must be, and for a model that cannot be read.
    """
    given = [key for key in RECIPE if setting(state, key) and key not in (YIELDS - state.keys())]
    recipe = {key: _value(key, state, "recipe") for key in given}
    model = read_model(model_config(state)).architecture
    if not setting(state, "framework"):  # whose defaults then count
        recipe = left_alone(model, recipe) | recipe
    lora = {
        key.removeprefix("lora_"): _value(key, state, "recipe") for key in LORA if state.get(key)
    }
    return recipe | ({"lora": lora} if lora else {})


def job_json(state: State) -> dict[str, object]:
    """The state as the job that `unfrozen plan` reads. Raises PlanError."""
    cluster = {key: _value(key, state, "cluster") for key in CLUSTER if setting(state, key)}
    job: dict[str, object] = {
        "model": model_config(state),
        "recipe": recipe_json(state),
        "cluster": cluster if setting(state, "framework") else SHARED_OUT | cluster,
    }
    named = {key: setting(state, key) for key in ("gpu", "framework")}
    return job | {key: name for key, name in named.items() if name}


def read_job(state: State) -> Job:
    """The state's job, checked. Raises PlanError with key, value, bound and remedy."""
    return Job.read(job_json(state))


def job_without(key: str, state: State, job: Job | None) -> Job | None:
    """The state's job had the reader left this setting alone; None where there would be none."""
    if job is None or key not in state:
        return job
    try:
        return read_job(read_state({name: text for name, text in state.items() if name != key}))
    except PlanError:
        return None


def tokens(state: State) -> int:
    """How many tokens the run sees. Raises PlanError unless it is a whole number above 0."""
    count = cast(int, _value("tokens", state, ""))
    if not 1 <= count <= MOST_TOKENS:
        bound = f"it must lie in 1 … {MOST_TOKENS:,}"
        raise PlanError("tokens", count, bound, "correct it")
    return count


def price(state: State) -> float | None:
    """What a card costs an hour, in any currency; None where the reader named no price."""
    if not setting(state, "price"):
        return None
    found = cast(float, _value("price", state, ""))
    if not 0 <= found <= MOST_PRICE:  # a NaN is not in it either
        raise PlanError("price", found, f"it must lie in 0 … {MOST_PRICE:,}", "correct it")
    return found


def unit(state: State) -> str:
    """GiB or GB. Raises PlanError for another unit."""
    found = setting(state, "unit")
    if found not in UNITS:
        raise PlanError("unit", found, "sizes are shown in GiB or in GB", "choose one")
    return found


def model_config(state: State) -> dict[str, object]:
    """The config.json of the state's model. Raises PlanError where there is none."""
    if setting(state, "config"):
        return dict(_parsed(state["config"]))
    hub_id = setting(state, "model")
    if hub_id in CATALOGUE:
        return dict(CATALOGUE[hub_id].config)
    bound = "this model is not in the list"
    remedy = "choose one of the list, or paste its config.json"
    raise PlanError("model", hub_id or "nothing", bound, remedy)


def config_address(hub_id: str) -> str:
    """Where the hub shows a model's config.json; empty for what cannot be a hub id."""
    parts = hub_id.split("/")
    good = len(parts) == 2 and all(
        part and set(part.lower()) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_.")
        for part in parts
    )
    return f"{HUB}/{hub_id}/raw/main/config.json" if good else ""


@lru_cache(maxsize=8)
def _parsed(text: str) -> dict[str, object]:
    try:
        config = strict_json(text)
    except ValueError as error:
        remedy = "paste the whole file, from { to }"
        raise PlanError("config", text, f"it is not JSON: {error}", remedy) from None
    if not isinstance(config, dict):
        remedy = "paste the config.json of a model"
        raise PlanError("config", config, "it must be one object", remedy)
    return text_part(config)


def _value(key: str, state: State, part: str) -> object:
    """The typed value of a key for a job."""
    text = setting(state, key)
    name = f"{part}.{key}" if part else key
    if key in FLAGS:
        if text not in ("true", "false"):
            raise PlanError(name, text, "it must be true or false", "choose one")
        return text == "true"
    if key in WHOLE or key in REAL:
        try:
            return float(text) if key in REAL else int(text.replace(",", ""))
        except ValueError:
            if key in REAL:
                raise PlanError(name, text, "it must be a number", "write digits only") from None
            bound, remedy = "it must be a whole number", "write digits only, or one like 4k"
            raise PlanError(name, text, bound, remedy) from None
    if key == "expert_padding":
        return _padding(text)
    if key == "lora_targets":
        return text.replace(",", " ").split()
    if key == "pipeline_layers":
        return _counts(name, text)
    return None if text == "null" else text


def _counts(name: str, text: str) -> list[int] | None:
    if text == "null":
        return None
    try:
        return [int(part) for part in text.replace(",", " ").split()]
    except ValueError:
        bound = "it must be whole numbers, one for each stage"
        raise PlanError(name, text, bound, "write them like 8, 8") from None


def _padding(text: str) -> str | float | None:
    try:
        return float(text)
    except ValueError:
        return None if text == "null" else text

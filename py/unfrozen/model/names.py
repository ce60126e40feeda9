"""The model that a name stands for: a published one, a copy, a fine-tune, one of the hub, a size.

A copy in another format has the tensors of its base, and so has a fine-tune but for a few rows of
its vocabulary. Terminal and page ask the hub each in their own way, and read its answer here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple

from unfrozen.errors import PlanError, quote_value, strict_json
from unfrozen.model import catalogue
from unfrozen.model.catalogue import BY_WORDS, CATALOGUE, PublishedModel, words_of
from unfrozen.model.structure import sizes
from unfrozen.model.traced import GUESSED

HUB: Final = "https://huggingface.co"
LARGEST_CONFIG_BYTES: Final = 4_000_000
_ID: Final = re.compile(r"\w[\w.-]{0,95}/\w[\w.-]{0,95}", re.ASCII)
_FILES: Final = (".json", ".jsonl", ".yml", ".yaml", ".toml", ".sh", ".py", ".gguf", ".safetensors")
_SHORT: Final = 12  # characters of a revision that a sentence has

_COPIED_BY: Final = (
    *("unsloth", "mlx-community", "nousresearch", "bartowski", "lmstudio-community", "thebloke"),
    *("quantfactory", "hugging-quants", "redhatai", "neuralmagic", "ggml-org", "mradermacher"),
)
"""Accounts of the hub that republish models of others (November 2026)."""
_FORMAT: Final = re.compile(
    r"([-_.](unsloth|dynamic|bnb|gguf|awq|gptq|mlx|exl[23]|hqq|aqlm|quantized|i?q\d\w*|int[248]"
    r"|[2-8]-?bits?|w\d+a\d+|dwq|(nv|mx)?fp[468]|[bf]f?p?16|g\d+))+$"
)
"""Endings of a name that say in which format its weights are."""
_FINE_TUNES: Final = {
    "deepseek-r1-0528-qwen3-8b": "Qwen/Qwen3-8B",
    "deepseek-r1-distill-llama-8b": "meta-llama/Llama-3.1-8B",
    "deepseek-r1-distill-llama-70b": "meta-llama/Llama-3.3-70B-Instruct",
    "deepseek-r1-distill-qwen-7b": "Qwen/Qwen2.5-7B",
    "deepseek-r1-distill-qwen-14b": "Qwen/Qwen2.5-14B",
    "deepseek-r1-distill-qwen-32b": "Qwen/Qwen2.5-32B",
    "qwq-32b": "Qwen/Qwen2.5-32B",
    "zephyr-7b-beta": "mistralai/Mistral-7B-v0.1",
}
"""Fine-tunes whose names leave out the version of their base (November 2026)."""
_OTHER_KIND: Final = (
    *("asr", "audio", "draft", "eagle", "embed", "embedding", "guard", "mtp", "omni", "reranker"),
    *("reward", "rm", "tts", "vision", "vl"),
)
"""Words of a name by which its model has other parts than its base."""
_SIZE: Final = re.compile(
    r"(?<![a-z\d.])(?:(\d+)x)?(\d+(?:\.\d+)?)([bm])(-a\d+(?:\.\d+)?b)?(?![a-z\d])"
)

Ask = Callable[[str], tuple[dict[str, Any], str, str]]


class Unanswered(Exception):
    """Why the hub gave no config.json, and what to do; `final` where it will not give it later."""

    def __init__(self, why: str, remedy: str, *, final: bool = False) -> None:
        super().__init__(why)
        self.why, self.remedy, self.final = why, remedy, final


class ModelSource(NamedTuple):
    """Where the config.json of a model was found, as an answer says it.

    planned_as   the published model whose tensors are taken for its
    origin       "catalogue", "hub", "cache" or "size"
    revision     the hub's, of the config.json
    note         all of it in a sentence
    """

    name: str
    planned_as: str | None
    origin: str
    revision: str | None
    note: str


class HubReader(NamedTuple):
    """Reads answers of the hub, in sentences for those who asked it.

    hub      its address, without a slash at its end
    sign_in  what one does to be known to it; `known`: that was done
    by_hand  how else a config.json is given
    """

    hub: str
    sign_in: str
    by_hand: str
    known: bool = False

    def read(
        self, name: str, status: int, headers: Mapping[str, str], body: bytes
    ) -> dict[str, Any]:
        """Return the config.json of an answer. Raises `Unanswered`, by what the hub says of it."""
        said, sign_in = headers.get("x-error-code", ""), self.sign_in
        if status == 200:
            return self._config(body)
        if said == "EntryNotFound" or (status == 404 and said != "RepoNotFound"):
            why, remedy = "the hub has no config.json of it", "name the model that it was made of"
            raise Unanswered(why, f"{remedy}, or correct the name", final=True)
        if said == "GatedRepo" or status == 403:
            why = "the hub shows it only to those who have accepted its terms"
            raise Unanswered(why, f"accept them at {self.hub}/{name}, then {sign_in}", final=True)
        if status in (401, 404):
            why = "the hub shows no model of this name" + ("" if self.known else " to a visitor")
            remedy = f"correct the name; if it is private, {sign_in}"
            raise Unanswered(why, remedy, final=True)
        if status == 429:
            raise Unanswered("the hub wants fewer questions (429)", f"wait, or {sign_in}")
        raise Unanswered(f"the hub answered with an error ({status})", self._again)

    def unreached(self, reason: str) -> Unanswered:
        """Return the error of a hub that gives no answer."""
        why = f"the hub at {self.hub} cannot be reached ({quote_value(reason)[1:-1]})"
        return Unanswered(why, self._again)

    def address(self, name: str) -> str:
        """Return the address of a model's config.json."""
        return f"{self.hub}/{name}/resolve/main/config.json"

    @property
    def _again(self) -> str:
        return f"try again, or {self.by_hand}"

    def _config(self, body: bytes) -> dict[str, Any]:
        if len(body) > LARGEST_CONFIG_BYTES:
            why = f"the hub's answer has more than {LARGEST_CONFIG_BYTES:,} bytes"
            raise Unanswered(why, self.by_hand)
        try:
            config = strict_json(body.decode("utf-8-sig"), of_model=True)
        except ValueError as error:  # a page to sign in to a network, for instance
            html = body.lstrip()[:1] == b"<"
            why = f"the hub's answer is {'a web page' if html else 'not JSON'}, not a config.json"
            first = "sign in to this network" if html else "try again"
            raise Unanswered(f"{why} ({error})", f"{first}, or {self.by_hand}") from None
        if not isinstance(config, dict):
            raise Unanswered("the hub's answer is not a config.json", self._again)
        return config


def is_hub_id(name: str) -> bool:
    """Return whether a text has the form of a model's name on the hub, and not that of a file."""
    return bool(_ID.fullmatch(name)) and not name.endswith(_FILES)


def loaded_name(name: str) -> str:
    """Return what a command calls a model: one in a format that is not trained by its base."""
    with suppress(PlanError):
        return catalogue.loaded_name(name)
    base = copied_model(name)
    return base.hub_id if base and plain_name(name) != name else name if _ID.fullmatch(name) else ""


def named_model(name: str, ask: Ask | None) -> tuple[dict[str, Any], ModelSource | None]:
    """Return the config of a model by its name, and where it is from unless the catalogue has it.

    `ask` returns the hub's config.json, its revision, and why it is an earlier answer, or "";
    without it the name is none of the hub. Raises PlanError for a name that neither the catalogue
    nor the hub has and that says no size.
    """
    with suppress(PlanError):
        return catalogue.find(name).config, None
    if base := copied_model(name):
        return _planned_as(name, base, "whose tensors it has.")
    if ask is None:
        return _unasked(name)
    try:
        config, revision, kept = ask(name)
    except Unanswered as error:
        return _stand_in(name, error)
    why = f", kept from an earlier answer: {kept}" if kept else ""
    note = f"{name}: config.json of the hub, revision {revision[:_SHORT] or 'unknown'}{why}."
    return config, ModelSource(name, None, "cache" if kept else "hub", revision or None, note)


def _unasked(name: str) -> tuple[dict[str, Any], ModelSource]:
    """Return what stands for a name that is none of the hub. Raises PlanError."""
    found = models_called(name)
    if len(found) == 1:
        return _planned_as(name, found[0], "the only one of the catalogue that is called so.")
    if found:
        remedy = f"choose {', '.join(model.hub_id for model in found[:12])}"
        bound = f"{len(found)} models of the catalogue are called so"
        raise PlanError("model", name, bound, remedy)
    remedy = (
        f"give its config.json, or did you mean {catalogue.similar(name)}; names of the hub are"
        " OWNER/NAME"
    )
    raise PlanError("model", name, "this model is not in the catalogue", remedy)


def _planned_as(name: str, base: PublishedModel, why: str) -> tuple[dict[str, Any], ModelSource]:
    note = f"{name} is planned as {base.hub_id}, {why}"
    return base.config, ModelSource(name, base.hub_id, "catalogue", None, note)


def _stand_in(name: str, error: Unanswered) -> tuple[dict[str, Any], ModelSource]:
    """Return the base that a name says, or a common decoder of its size. Raises PlanError."""
    why = error.why[:1].upper() + error.why[1:]
    if base := named_base(name):
        return _planned_as(name, base, f"which its name says. {why}: {error.remedy}.")
    if config := sized_config(name):
        note = (
            f"{name} is planned as a common decoder of the size that its name says: all of it may"
            f" be half as much, or twice. {why}: {error.remedy}."
        )
        return config, ModelSource(name, None, "size", None, note)
    raise PlanError("model", name, error.why, error.remedy)


def plain_name(name: str) -> str:
    """Return a name without the formats that it ends with."""
    return name[: len(_FORMAT.sub("", name.lower()))]


def copied_model(name: str) -> PublishedModel | None:
    """Return the model that a name has in another format or on another page; None if neither."""
    owner, _, own = name.lower().rpartition("/")
    plain = plain_name(own)
    for each in (plain, plain.partition("_")[2]):  # some pages write "Qwen_Qwen3-8B"
        if each in _FINE_TUNES:
            return CATALOGUE[_FINE_TUNES[each]]
        if (owner in _COPIED_BY or plain != own) and (found := BY_WORDS.get(words_of(each))):
            return found
    return None


def named_base(name: str) -> PublishedModel | None:
    """Return the model whose name and size are part of a name, as in "Hermes-3-Llama-3.1-8B".

    Raises PlanError where several are.
    """
    plain = plain_name(name.lower())
    words, sized = words_of(plain), bool(_SIZE.search(plain))
    if {*_OTHER_KIND} & {*words}:
        return None
    found = {
        key: model
        for key, model in BY_WORDS.items()
        if _has(words, key) and sized <= bool({"b", "m"} & {*key})
    }
    longest = max(map(len, found), default=0)
    bases = {model.hub_id: model for key, model in found.items() if len(key) == longest}
    if len(bases) > 1:
        raise PlanError(
            "model", name, "its base may be any of several", f"name {' or '.join(bases)}"
        )
    return next(iter(bases.values()), None)


def models_called(name: str) -> list[PublishedModel]:
    """Return the models whose names have every word of a name, in their order."""
    words, found = words_of(name), dict[str, PublishedModel]()
    for key, model in BY_WORDS.items():
        left = iter(key)
        if words and all(word in left for word in words):
            found[model.hub_id] = model
    return [*found.values()]


def sized_config(name: str) -> dict[str, Any] | None:
    """Return the config of a common decoder of the size that a name says; None without a size."""
    said = _SIZE.search(plain_name(name.lower().rpartition("/")[2]))
    if said is None:
        return None
    total = int(said[1] or 1) * float(said[2]) * (1e9 if said[3] == "b" else 1e6)
    if not 1e7 <= total <= 1e13:
        return None
    kinds = ("qwen3_moe",) if said[1] or said[4] else ("llama", "mistral", "qwen2")
    alike = [model for model in CATALOGUE.values() if model.config["model_type"] in kinds]
    near = min(alike, key=lambda model: abs(math.log(total / model.num_parameters)))
    outer, layers = near.model.outer_parameters, near.model.architecture.layers
    scaled = round((total - outer) / (near.num_parameters - outer) * layers)
    return {"model_type": GUESSED, **sizes(near.config), "num_hidden_layers": max(1, scaled)}


def _has(words: tuple[str, ...], part: tuple[str, ...]) -> bool:
    """Return whether words hold those of a part in their order, with no number between them."""
    for start, word in enumerate(words):
        left = [*part[1:]] if word == part[0] else None
        for other in words[start + 1 :] if left else ():
            if left and other == left[0]:
                left.pop(0)
            elif left and not other.isalpha():
                break
        if left == []:
            return True
    return False

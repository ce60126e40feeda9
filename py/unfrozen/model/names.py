"""The published model that another name stands for: a copy, a fine-tune, or a size alone.

A copy in another format has the tensors of its base, and so has a fine-tune but for a few rows of
its vocabulary.
"""

from __future__ import annotations

import math
import re
from typing import Any, Final

from unfrozen.errors import PlanError
from unfrozen.model.catalogue import BY_WORDS, CATALOGUE, PublishedModel, words_of
from unfrozen.model.structure import sizes

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
    return {"model_type": "unknown", **sizes(near.config), "num_hidden_layers": max(1, scaled)}


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

"""Published models by name, from `published.json`: the keys of their config.json that decide their
tensors, and their number of parameters.

The values are those of the config.json that each owner publishes on huggingface.co; the tests build
every one with transformers and compare names, shapes and counts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import Any, Final

from unfrozen.data_files import read_json
from unfrozen.errors import PlanError
from unfrozen.model.config import ModelConfig


@dataclass(frozen=True)
class PublishedModel:
    """A published model: its hub id, its config and the number of parameters it really has."""

    hub_id: str
    config: dict[str, Any]
    num_parameters: int

    @cached_property
    def model(self) -> ModelConfig:
        """The model this config names."""
        return ModelConfig.from_hf(self.config)


class _Catalogue(dict[str, PublishedModel]):
    """Models by hub id, and by every name that `find` takes."""

    def __missing__(self, name: str) -> PublishedModel:
        """Return the model that somebody calls so. Raises PlanError."""
        return find(name)


CATALOGUE: Final = _Catalogue(
    (hub_id, PublishedModel(hub_id, entry["config"], entry["parameters"]))
    for hub_id, entry in read_json("model/published.json")["models"].items()
)
"""Every published model of this table by its hub id."""

_TUNED: Final = frozenset(["base", "chat", "hf", "instruct", "it", "meta", "pt", "thinking"])
"""Words of a name that say how a model was trained, not how large it is."""
_ALIKE: Final = {
    "deepseek-r1": "deepseek-ai/DeepSeek-V3",
    "llama-3-8b": "meta-llama/Llama-3.1-8B",
    "llama-3-70b": "meta-llama/Llama-3.1-70B",
    "mistral-7b": "mistralai/Mistral-7B-v0.3",
    "mixtral-8x7b": "mistralai/Mixtral-8x7B-v0.1",
    "mixtral-8x22b": "mistralai/Mixtral-8x22B-v0.1",
    "qwen3-4b-2507": "Qwen/Qwen3-4B",
    "qwen3-30b-a3b-2507": "Qwen/Qwen3-30B-A3B",
    "qwen3-235b-a22b-2507": "Qwen/Qwen3-235B-A22B",
    "tinyllama-1.1b": "TinyLlama/TinyLlama-1.1B-intermediate-step-1431k-3T",
    "tinyllama-1.1b-v1.0": "TinyLlama/TinyLlama-1.1B-intermediate-step-1431k-3T",
}
"""Models whose tensors are those of another, by name."""


def words_of(name: str) -> tuple[str, ...]:
    """Return what tells a model from others: the words and numbers of its name without owner."""
    found = re.findall(r"\d+(?:\.\d+)*|[a-z]+", name.lower().rpartition("/")[2])
    return tuple(word for word in found if word not in _TUNED)


BY_WORDS: Final = {words_of(hub_id): model for hub_id, model in CATALOGUE.items()} | {
    words_of(name): CATALOGUE[hub_id] for name, hub_id in _ALIKE.items()
}
"""Every published model by the words of its names."""


def find(name: str) -> PublishedModel:
    """Return the model of this name, as its owner, Ollama or a tuned version of it writes it:
    its size is the same. PlanError names similar ones.
    """
    owner, found = name.lower().rpartition("/")[0], BY_WORDS.get(words_of(name))
    if found and owner in ("", found.hub_id.lower().partition("/")[0]):
        return found
    remedy = f"give its config.json, or did you mean {similar(name)}"
    raise PlanError("model", name, "this model is not in the catalogue", remedy)


def similar(name: str) -> str:
    """Return the models whose names are like another one, or else one of all."""
    names = {hub_id.partition("/")[2].lower(): hub_id for hub_id in CATALOGUE}
    near = get_close_matches(name.lower().rpartition("/")[2], names, n=3, cutoff=0.4)
    return ", ".join(names[key] for key in near) or next(iter(CATALOGUE))


def loaded_name(name: str) -> str:
    """Return what the hub calls a model that `find` takes: a name that says how it was tuned stays,
    another is the catalogue's; "" where the name is of no model on the hub, as Ollama's are.
    """
    found, (owner, _, own) = find(name), name.rpartition("/")
    theirs, _, base = found.hub_id.partition("/")
    if ":" in own or words_of(own) != words_of(base):
        return name if owner else ""
    if own.lower() == base.lower() or _TUNED.isdisjoint(re.findall("[a-z]+", own.lower())):
        return found.hub_id
    return f"{owner or theirs}/{own}"

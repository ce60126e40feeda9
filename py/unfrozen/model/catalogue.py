"""Published models by name, from `published.json`: the keys of their config.json that decide their
tensors, and their number of parameters.

The values are those of the config.json that each owner publishes on huggingface.co; the tests build
every one with transformers and compare names, shapes and counts.
"""

from __future__ import annotations

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


CATALOGUE: Final[dict[str, PublishedModel]] = {
    hub_id: PublishedModel(hub_id, entry["config"], entry["parameters"])
    for hub_id, entry in read_json("model/published.json")["models"].items()
}
"""Every published model of this table by its hub id."""


def find(name: str) -> PublishedModel:
    """Return the model of this hub id, owner and case optional; PlanError names similar ones."""
    wanted = name.lower()
    for hub_id, published in CATALOGUE.items():
        if wanted in (hub_id.lower(), hub_id.lower().partition("/")[2]):
            return published
    names = {hub_id.partition("/")[2].lower(): hub_id for hub_id in CATALOGUE}
    near = get_close_matches(wanted.rpartition("/")[2], names, n=3, cutoff=0.4)
    matches = ", ".join(names[key] for key in near) or ", ".join(CATALOGUE)
    raise PlanError("model", name, "this model is not in the catalogue", f"did you mean {matches}")

"""Writes what transformers takes for keys that a config.json leaves out into model/defaults.json.

    PYTHONPATH=py:docs/families python docs/model_defaults.py

Every reader is given a file with all of a class's values and watched: a key that it takes, and that
it would fill in otherwise than the class does, is written down.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import transformers
from derive import NEEDED as NEEDED_TO_DERIVE
from transformers import AutoConfig

from unfrozen.model import config, derived, unknown_keys
from unfrozen.model.families import READERS, earlier_gpt
from unfrozen.model.fields import Fields

OUT = Path(__file__).parent.parent / "py/unfrozen/model/defaults.json"
UNKNOWN = {"kimi_k2": "deepseek_v3", "minicpm": "llama"}  # to transformers
# what some classes cannot do without, though they have no default for it
NEEDED: dict[str, dict[str, Any]] = {
    "dots1": {"head_dim": 128, "n_routed_experts": 128, "n_shared_experts": 1},
    "hunyuan_v1_dense": {"head_dim": 128},
    "ministral": {"head_dim": 128},
    "nemotron": {"head_dim": 128},
    "lfm2_moe": {"layer_types": ["conv"] * 32},
}
# what a class computes when it is made, and what it is computed from
COMPUTED: dict[str, dict[str, Any]] = {
    "jamba": {"mamba_dt_rank": "auto"},
    "mamba": {"time_step_rank": "auto"},
    "falcon_mamba": {"time_step_rank": "auto"},
    "ernie4_5_moe": {"moe_layer_end_index": -1},
    "glm4v_text": {"attention_bias": True},  # always
    "glm4v_moe_text": {"attention_bias": True},  # which the tensors of `glm4_moe` do not have
    "gemma3n_text": {"intermediate_size": 16384},
}


# what files of published models say beside, which changes no tensor
BESIDE: dict[str, list[str]] = {
    "clip_vision_model": ["projection_dim", "vocab_size"],
    "minicpm": ["dim_model_base"],
    "nemotron_h": ["num_hidden_layers", "time_step_rank"],
}


class Watched(Fields):
    """Fields that note which keys are taken, and what stands in for one that is missing."""

    taken: dict[str, object]

    def __init__(self, config: Mapping[str, object]) -> None:
        super().__init__(config)
        self.taken = {}

    def _first(self, names: tuple[str, ...]) -> tuple[str, object]:
        for name in names:
            self.taken.setdefault(name, None)
        return super()._first(names)

    def flag(self, name: str, default: bool) -> bool:
        """As the original, noted."""
        self.taken[name] = default
        return super().flag(name, default)

    def word(self, *names: str, default: str) -> str:
        """As the original, noted."""
        self.taken |= dict.fromkeys(names, default)
        return super().word(*names, default=default)


def defaults_of(model_type: str) -> dict[str, Any]:
    """The keys and values to write down for one type."""
    needed = NEEDED.get(model_type, {})
    made = AutoConfig.for_model(UNKNOWN.get(model_type, model_type), **needed)
    values = {key: value for key, value in made.to_dict().items() if value is not None}
    watched = Watched(values)
    read_with(model_type, watched)
    declared = getattr(type(made), "__dataclass_fields__", {})
    found = {}
    for key, instead in watched.taken.items():
        value = values.get(key)
        if key in needed or not plain(value) or value == instead:
            continue
        if key in declared and declared[key].default is None:
            continue  # computed
        if key not in declared and key not in type(made).attribute_map:
            continue
        found[key] = value
    return found | COMPUTED.get(model_type, {})


def read_with(model_type: str, fields: Watched) -> None:
    """Let the reader of a type take what it wants."""
    model_type = config.SAME.get(model_type, model_type)
    READERS[model_type](model_type, fields)


def plain(value: object) -> bool:
    """Whether a value is a number, a name or a short list of numbers."""
    if isinstance(value, list):
        return len(value) <= 12 and all(type(item) is int for item in value)
    return isinstance(value, (bool, int, float)) or (isinstance(value, str) and " " not in value)


def table() -> dict[str, dict[str, Any]]:
    """The keys and values of every type that has a reader."""
    own = [t for t in READERS if t not in earlier_gpt.WITHOUT_DEFAULTS]
    return {kind: defaults_of(kind) for kind in (*own, *config.SAME)}


def computed() -> dict[str, list[str]]:
    """The keys by type that a reader takes, or transformers writes, and that no class has."""
    found = {kind: {*keys} for kind, keys in BESIDE.items()}
    own = [t for t in READERS if t not in earlier_gpt.WITHOUT_DEFAULTS]
    for kind in (*own, *config.SAME, *(n for n in derived.table().entries if ":" not in n)):
        needed = NEEDED_TO_DERIVE.get(kind, {}) | NEEDED.get(kind, {})
        values = AutoConfig.for_model(UNKNOWN.get(kind, kind), **needed).to_dict()
        values = json.loads(json.dumps(values)) | {"model_type": kind}
        watched = Watched({key: value for key, value in values.items() if value is not None})
        if kind in READERS or kind in config.SAME:
            read_with(kind, watched)
        given = dict.fromkeys(watched.taken, 2) | values
        for path in unknown_keys.unknown_keys(given, config.SAME.get(kind, kind)):
            *above, key = path.split(".")
            inside = values
            for name in above:
                inside = inside[name]
            found.setdefault(inside["model_type"], set()).add(key)
    return {kind: sorted(keys) for kind, keys in sorted(found.items())}


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    written = json.loads(OUT.read_text(encoding="utf-8"))
    unknown_keys.COMPUTED.clear()
    written |= {"transformers": transformers.__version__, "defaults": table()}
    written |= {"computed": computed()}
    OUT.write_text(json.dumps(written, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

"""Keys of a config.json that nobody reads here, though a model may take the shapes of tensors from
them.

A key is known where the family's class in transformers has it, where a reader takes it, or where
transformers writes it of itself (`COMPUTED`). Of the others, those are named that say a size, a
count or a list by layer by their name and value, unless they repeat a known one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from unfrozen.data_files import read_json
from unfrozen.model import derived, structure
from unfrozen.model.families import READERS

COMPUTED: Final[dict[str, list[str]]] = read_json("model/defaults.json")["computed"]
"""By model type, keys that no class declares and that are known all the same."""
_SHAPING: Final = re.compile(
    r"(^|_)(sizes?|dims?|width|rank|depth|channels?|heads?|layers?|experts?|groups?|kernel|blocks?|"
    r"hidden|latent|pattern|slots?|units?|expan\w+|ratio|mult|per|num|n|d)(_|$)"
)
_RATIO: Final = re.compile(
    r"(ffn|mlp|hidden|intermediate|width|expan\w+)_?\w*(ratio|mult\w*|factor)"
)
_HARMLESS: Final = re.compile(
    r"(^|_)(tokens?|ids?|idx|index|max|min|beams?|ngram|sequences?|sample|positions?|rope|rotary|"
    r"window|chunk|context|ctx|cache|mtp|nextn|tp|ep|pp|freq|labels?|task|dtype|quantization|media|"
    r"generation|vision_feature|special|dropout|rate|prob|act|activation)(_|$)|^_"
)
_BIAS: Final = re.compile(r"(attention|attn|mlp|ffn|qkv|lm_head)_bias")

Config = Mapping[str, Any]


def unknown_keys(config: Config, family: str) -> tuple[str, ...]:
    """Return the keys by their paths, such as "text_config.per_layer_dim"; none of a family that
    has neither an entry in the table nor a reader.
    """
    entry = derived.table().entries.get(family) or {"defaults": {}, "aliases": {}}
    if not (entry["defaults"] or family in READERS):
        return ()
    kind = str(config.get("model_type"))
    return tuple(_unknown(config, entry["defaults"], kind, (), (config, entry)))


def _unknown(
    config: Config, usual: Config, kind: str, path: tuple[str, ...], whole: tuple[Config, Config]
) -> Iterator[str]:
    """Yield the keys of a config under a path of the `whole` one, which is there with the entry of
    its family; `usual` is what that has at the path.
    """
    entries, (top, entry) = derived.table().entries, whole
    own = entries.get(kind) or entries.get(f"base:{kind}") or entry
    aliases = (entry["aliases"].get(".".join(path), {}), own["aliases"].get("", {}))
    names = {
        *usual,
        *own["defaults"],
        *COMPUTED.get(kind, ()),
        *(n for one in aliases for n in one),
    }
    layers = structure.sizes(top).get("num_hidden_layers", 0)
    inside = (one for one in top.values() if isinstance(one, Mapping) and one is not config)
    values = [item for one in (own["defaults"], usual, *inside) for item in one.items()]
    values += [item for item in config.items() if item[0] in names]
    for key, value in config.items():
        inner = usual.get(key)
        if isinstance(value, Mapping) and isinstance(inner, Mapping) and "model_type" in inner:
            nested = str(value.get("model_type", inner["model_type"]))
            nested = str(inner["model_type"]) if nested == kind else nested
            yield from _unknown(value, inner, nested, (*path, key), whole)
        elif key not in names and _may_shape(key, value, layers):
            alike = structure.names_alike(key)
            same = (name for name, other in values if other == value)
            if not any(name in alike or key.endswith(f"_{name}") for name in same):
                yield ".".join((*path, key))


def _may_shape(key: str, value: object, layers: int) -> bool:
    """Return whether a key may say the shape of a tensor."""
    if _HARMLESS.search(key):
        return False
    match value:
        case bool():
            return value and bool(_BIAS.fullmatch(key))
        case int() | float():
            named = _RATIO.search(key) or (type(value) is int and _SHAPING.search(key))
            return value > 0 and bool(named)
        case str():
            return key.endswith("_pattern")
        case Mapping():
            return any(_may_shape(str(name), one, layers) for name, one in value.items())
        case [first, *others]:
            differs = len(value) == layers and any(one != first for one in others)
            return differs or (type(first) is int and bool(_SHAPING.search(key)))
    return False

"""The sliding windows of a model's layers, from its config.json, as transformers 5 reads it.

A window of w positions is one that slides (`sliding_window`) or a chunk of a fixed grid
(`attention_chunk_size`), of which a token sees half in the mean. Which layers have one is listed in
`layer_types`; where it is not, each family has a rule of its own
(src/transformers/models/*/configuration_*.py).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from unfrozen.model.fields import Fields

EVERY: Final[dict[str, int]] = {
    **dict.fromkeys(("mistral", "mixtral", "ministral", "starcoder2", "phi3", "phimoe"), 0),
    **dict.fromkeys(("gemma2", "gpt_oss", "vaultgemma"), 2),
    **dict.fromkeys(("cohere2", "cohere2_moe", "exaone4", "olmo3", "llama4", "llama4_text"), 4),
    **dict.fromkeys(("gemma3n", "gemma3n_text"), 5),
    **dict.fromkeys(("gemma3", "gemma3_text", "gemma4", "gemma4_text"), 6),
}
"""The period of layers that see all positions, 0 where none does. Other types have windows where
`layer_types` or `use_sliding_window` says so."""
DEFAULTS: Final[dict[str, int]] = {
    **{"gemma2": 4096, "gemma3": 4096, "gemma3_text": 4096, "cohere2": 4096, "cohere2_moe": 4096},
    **{"exaone4": 4096, "olmo3": 4096, "ministral": 4096, "mistral": 4096, "vaultgemma": 4096},
    **{"gemma3n": 512, "gemma3n_text": 512, "gemma4": 512, "gemma4_text": 512, "gpt_oss": 128},
    **{"llama4": 8192, "llama4_text": 8192},
}
"""Windows of configs that leave them out."""


def windows(model_type: str, fields: Fields, layers: int) -> tuple[int, ...]:
    """Return the window of each layer in positions, 0 for full attention; () where all are full.

    A chunk counts as the window of half its size that sees as many positions in the mean.
    """
    chunked = model_type.startswith("llama4")
    name = "attention_chunk_size" if chunked else "sliding_window"
    width = fields.above_zero(name, DEFAULTS.get(model_type, 0))
    width = (width + 1) // 2 if chunked else width
    given = fields.names("layer_types") if fields.is_list("layer_types") else []
    if len(given) == layers:
        near = [word in ("sliding_attention", "chunked_attention") for word in given]
    elif model_type in EVERY:
        period = fields.above_zero("sliding_window_pattern", 0) or EVERY[model_type]
        near = [not period or bool((index + 1) % period) for index in range(layers)]
    elif fields.is_true("use_sliding_window"):
        first = fields.above_zero("max_window_layers", 0)
        near = [index >= first for index in range(layers)]
    else:
        return ()
    return tuple(width if each else 0 for each in near) if width and any(near) else ()


@lru_cache(maxsize=4096)
def seen_share(found: tuple[int, ...], length: int) -> float:
    """Return the mean number of positions that a token attends to, over that of a causal mask.

    The first w of them fill a window, which then slides.
    """
    if not found:
        return 1.0
    whole = (length + 1) / 2
    near = (w * ((w + 1) / 2 + length - w) / length for w in found if 0 < w < length)
    seen = list(near)
    return (sum(seen) + whole * (len(found) - len(seen))) / (whole * len(found))

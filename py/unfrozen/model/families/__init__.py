"""Families of models, each with its tensors; all of one type are read by one module.

Reading order:

1. `dense` — decoders with Llama's layer and other norms, biases and products
2. `sparse` — mixtures of experts
3. `latent` — DeepSeek's attention
4. `gemma` — Gemma 3n and 4
5. `mamba` — state spaces alone
6. `hybrid` — state spaces and attention
7. `zamba` — … with shared blocks
8. `delta` — linear attention or short convolutions, and attention
9. `older` — Falcon, BLOOM, OPT, GPT-J
10. `encoders` — masked-language models
11. `t5` — encoder and decoder
12. `cross` — layers that look at a picture
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from unfrozen.model.architecture import Architecture
from unfrozen.model.families import (
    cross,
    delta,
    dense,
    encoders,
    gemma,
    hybrid,
    latent,
    mamba,
    older,
    sparse,
    t5,
    zamba,
)
from unfrozen.model.fields import Fields

READERS: Final[dict[str, Callable[[str, Fields], Architecture]]] = {
    model_type: family.read
    for family in (
        dense,
        sparse,
        latent,
        gemma,
        mamba,
        hybrid,
        zamba,
        delta,
        older,
        encoders,
        t5,
        cross,
    )
    for model_type in family.MODEL_TYPES
}
"""How each `model_type` is read whose tensors a blueprint lists."""

"""Readers of each family's config.json; one module reads all of one type.

Reading order:

1. `dense` — Llama, and decoders with its layer and other norms and projections
2. `sparse` — mixtures of experts, and latent attention
3. `gemma` — Gemma 3n and 4
4. `state_space` — state spaces, linear attention, and hybrids with attention
5. `earlier_gpt` — GPT-2, GPT-NeoX, Megatron's GPT, Falcon, BLOOM, OPT, GPT-J, BigCode, MPT
6. `encoders` — BERT and other masked-language models, and T5
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from unfrozen.model.architecture import Architecture
from unfrozen.model.families import dense, earlier_gpt, encoders, gemma, sparse, state_space
from unfrozen.model.fields import Fields

READERS: Final[dict[str, Callable[[str, Fields], Architecture]]] = {
    model_type: read
    for model_types, read in (
        (dense.MODEL_TYPES, dense.read),
        (sparse.MODEL_TYPES, sparse.read),
        (sparse.LATENT_TYPES, sparse.read_latent),
        (gemma.MODEL_TYPES, gemma.read),
        (state_space.MAMBA_TYPES, state_space.read_mamba),
        (state_space.HYBRID_TYPES, state_space.read_hybrid),
        (state_space.ZAMBA_TYPES, state_space.read_zamba),
        (state_space.LINEAR_TYPES, state_space.read_linear),
        (earlier_gpt.MODEL_TYPES, earlier_gpt.read),
        (encoders.MODEL_TYPES, encoders.read),
        (encoders.T5_TYPES, encoders.read_t5),
        (dense.MLLAMA_TYPES, dense.read_mllama),
    )
    for model_type in model_types
}
"""The reader of each `model_type`; tensors that a reader does not list are those of the table."""

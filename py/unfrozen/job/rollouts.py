"""vLLM holds the model's weights, and keys and values, beside what trains on a GPU by GRPO; those
of a model too large for one GPU's share are split among several.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from unfrozen.errors import PlanError
from unfrozen.hardware import Gpu
from unfrozen.job.recipe import Recipe
from unfrozen.model import ModelConfig
from unfrozen.units import GIB, format_size

WIDTH: Final = 2
"""Bytes of a weight, key or value of a served model: 16 bits."""
ENGINE_BYTES: Final = 3 * GIB // 2
"""Assumed: activations and CUDA graphs of vLLM, which its share holds beside weights and cache."""


def cache_bytes(model: ModelConfig) -> int:
    """Return the bytes of the KV cache of one token, all layers together."""
    a = model.architecture
    return WIDTH * 2 * a.kv_width * a.layers


class Engine(NamedTuple):
    """One of vLLM: the GPUs whose shares it joins, and how many sequences it holds at once."""

    ranks: int
    sequences: int


def engine(model: ModelConfig, recipe: Recipe, gpu: Gpu, gpus: int) -> Engine:
    """Return the engine of the fewest GPUs that hold the weights in 16 bits and one sequence,
    split among them (`vllm_tensor_parallel_size`). Raises PlanError where those of a machine do
    not.
    """
    share = recipe.rollout_share or 0.0
    has = int(share * gpu.capacity_bytes)
    weights, each = WIDTH * model.num_parameters, cache_bytes(model) * recipe.seq_len
    for ranks in (n for n in (1, 2, 4, 8) if gpus % n == 0 and n <= gpu.node_gpus):
        if has >= (needs := (weights + each) // ranks + ENGINE_BYTES):
            left = has - weights // ranks - ENGINE_BYTES
            return Engine(ranks, ranks * left // max(1, each))
    bound = (
        f"vLLM needs {format_size(needs, 'GiB')} for the weights in 16 bits and one sequence"
        f"{f', split among {ranks} GPUs,' if ranks > 1 else ','}"
        f" and has {format_size(has, 'GiB')}"
    )
    least = math.ceil(100 * needs / gpu.capacity_bytes) / 100
    remedy = f"set it to {least:g} or more" if least < 1 else "set it to 0, with vLLM elsewhere"
    raise PlanError("recipe.rollout_share", share, bound, remedy)

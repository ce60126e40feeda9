"""vLLM holds the model's weights, and keys and values, beside what trains on a GPU by GRPO."""

from __future__ import annotations

import math
from typing import Final

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


def sequences_in_flight(model: ModelConfig, recipe: Recipe, gpu: Gpu) -> int:
    """Return how many sequences an engine holds at once. Raises PlanError where it holds none."""
    share = recipe.rollout_share or 0.0
    has = int(share * gpu.capacity_bytes)
    weights, each = WIDTH * model.num_parameters, cache_bytes(model) * recipe.seq_len
    needs = weights + ENGINE_BYTES + each
    if has < needs:
        bound = (
            f"vLLM needs {format_size(needs, 'GiB')} for the weights in 16 bits and one sequence,"
            f" and has {format_size(has, 'GiB')}"
        )
        least = math.ceil(100 * needs / gpu.capacity_bytes) / 100
        remedy = f"set it to {least:g} or more" if least < 1 else "set it to 0, with vLLM elsewhere"
        raise PlanError("recipe.rollout_share", share, bound, remedy)
    return (has - weights - ENGINE_BYTES) // max(1, each)

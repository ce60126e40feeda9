"""The bytes that many tasks take: a copy of the model each, or adapters on one model.

A copy is two bytes a parameter. Adapters share one model and can be in use side by side (Punica,
arXiv 2310.18547). Both grow by the same amount with every task: two straight lines.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from unfrozen.decision.evidence import trained_parameters
from unfrozen.job.recipe import Recipe
from unfrozen.memory.adapters import frozen_bytes
from unfrozen.model import ModelConfig

WIDTH: Final = 2
"""Bytes of a number that is stored to be used: 16 bits."""
PROMPT_TOKENS: Final = 2048
"""Assumed: examples in a prompt that stands in for training, and what a request may hold beside."""
FOUR_BITS: Final = Recipe.read({"method": "qlora", "base": "nf4-dq"})


@dataclass(frozen=True, slots=True)
class Storage:
    """Bytes of storage: a shared part, and what every task adds."""

    once: int
    each: int

    def at(self, tasks: int) -> int:
        """Return the bytes that so many tasks take."""
        return self.once + self.each * tasks


def copies(model: ModelConfig) -> Storage:
    """Return the storage of a fully fine-tuned model for every task."""
    return Storage(0, WIDTH * model.num_parameters)


def on_16_bits(model: ModelConfig, rank: int) -> Storage:
    """Return the storage of adapters for every task, on one model in 16 bits."""
    return Storage(WIDTH * model.num_parameters, WIDTH * trained_parameters(model, rank))


def on_4_bits(model: ModelConfig, rank: int) -> Storage:
    """Return the storage of adapters for every task, on one model in double-quantized NF4."""
    return Storage(sum(frozen_bytes(model, FOUR_BITS)), WIDTH * trained_parameters(model, rank))


def prompts(model: ModelConfig, *, four_bits: bool = False) -> Storage:
    """Return the storage of one model for all tasks, with the KV cache of every task's prompt."""
    once = sum(frozen_bytes(model, FOUR_BITS)) if four_bits else WIDTH * model.num_parameters
    return Storage(once, prompt_tokens(model) * cache_bytes(model))


def cache_bytes(model: ModelConfig) -> int:
    """Return the bytes of the KV cache of one token, all layers together."""
    a = model.architecture
    return WIDTH * 2 * a.kv_width * a.layers


def prompt_tokens(model: ModelConfig) -> int:
    """Return the length of a prompt, at most half of the learned positions of the model."""
    positions = model.architecture.positions
    return min(PROMPT_TOKENS, positions // 2) if positions else PROMPT_TOKENS

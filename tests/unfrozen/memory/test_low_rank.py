"""Moments in a space of lower rank, and of few bits, beside the optimizers that keep them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from unfrozen.job.recipe import Recipe
from unfrozen.memory.states import low_rank_elements, moment_bytes, update_bytes
from unfrozen.model import ModelConfig
from unfrozen.model.catalogue import CATALOGUE

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 500,
    "tie_word_embeddings": False,
}
TINY = ModelConfig.from_hf(LLAMA)
SEVEN = CATALOGUE["meta-llama/Llama-2-7b-hf"].model


def galore_numbers(shape: tuple[int, ...], rank: int) -> int:
    """What GaLore keeps of a matrix: its projector from the gradient, and two moments of that."""
    gradient = torch.randn(shape)
    left, _, right = torch.linalg.svd(gradient, full_matrices=False)
    tall = shape[0] >= shape[1]
    projector = right[:rank] if tall else left[:, :rank]
    low = gradient @ projector.T if tall else projector.T @ gradient
    return projector.numel() + 2 * low.numel()


@pytest.mark.parametrize("rank", [1, 4, 16])
def test_projected_moments_are_those_of_the_algorithm(rank: int) -> None:
    matrices = [t for i in range(2) for t in TINY.layer_tensors(i) if len(t.shape) == 2]
    moments, projections, covered = low_rank_elements(TINY, rank)
    assert moments + projections == sum(galore_numbers(t.shape, rank) for t in matrices)
    assert covered == sum(t.size for t in matrices)


def test_a_matrix_no_wider_than_the_rank_keeps_its_own_moments() -> None:
    assert low_rank_elements(TINY, 64) == (0, 0, 0)
    whole = Recipe.read({"master": None})
    low = Recipe.read({"master": None, "optimizer": "galore", "projection_rank": 64})
    counters = 4 * TINY.num_tensors  # of the steps: PyTorch's AdamW keeps one a tensor, GaLore none
    assert moment_bytes(TINY, low) == moment_bytes(TINY, whole) - counters


def test_stacked_experts_are_projected_one_by_one() -> None:
    model = CATALOGUE["mistralai/Mixtral-8x7B-v0.1"].model
    moments, projections, covered = low_rank_elements(model, 128)
    assert covered > 0.9 * model.num_parameters
    assert moments + projections < 0.1 * model.num_parameters


@pytest.mark.parametrize("optimizer", ["galore", "apollo"])
def test_a_higher_rank_keeps_more_and_never_more_than_all(optimizer: str) -> None:
    recipes = [
        Recipe.read({"optimizer": optimizer, "projection_rank": rank}) for rank in (1, 64, 128, 512)
    ]
    sizes = [moment_bytes(SEVEN, recipe) for recipe in recipes]
    assert sizes == sorted(sizes)
    assert sizes[-1] < moment_bytes(SEVEN, Recipe())
    assert not [recipe for recipe in recipes if not update_bytes(SEVEN, recipe) > 0]

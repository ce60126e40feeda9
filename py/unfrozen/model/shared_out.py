"""Tensors of a model that several cards share out: stacks of experts, and a head of its own."""

from __future__ import annotations

from unfrozen.model.architecture import Architecture, Experts, Tensor


def copied_head(a: Architecture) -> Tensor:
    """The head of a stage whose model ties it to an embedding that another stage holds."""
    return Tensor("lm_head.weight", (a.vocab, a.hidden))


def of_experts(tensor: Tensor) -> bool:
    """Whether a tensor stacks a matrix of each expert."""
    return ".experts." in tensor.name


def held(tensor: Tensor, experts: Experts) -> Tensor:
    """A stack of matrices of all experts cut to those, and to the width, that a card holds."""
    shape, wide = [experts.held, *tensor.shape[1:]], (experts.ffn, 2 * experts.ffn)
    cut = next((place for place, size in enumerate(shape) if place and size in wide), 0)
    if cut:  # exactly one, where the model is as wide as an expert
        shape[cut] = shape[cut] // experts.ffn * experts.held_ffn
    return Tensor(tensor.name, tuple(shape))

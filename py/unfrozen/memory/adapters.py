"""Adapters and quantized weights: what LoRA trains, and what the frozen part takes.

LoRA (Hu et al., arXiv 2106.09685, section 4.1) puts two thin matrices beside a linear layer:
rank · (in + out) parameters. QLoRA (Dettmers et al., arXiv 2305.14314, section 3) stores the frozen
linear layers in 4-bit NormalFloat, with one fp32 scale for 64 weights (nf4), or with scales that
are quantized in turn, 8 bits each and one fp32 scale for 256 of them (nf4-dq). Embeddings, head
and norms stay as they are. int8 has one fp32 scale for each row, also where
the weights train in it (torchao/prototype/quantized_training/int8.py, after Q-GaLore, Zhang et al.,
arXiv 2407.08296).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from unfrozen.job.lora import INPUTS, targets
from unfrozen.job.recipe import BYTES, Lora, Recipe
from unfrozen.memory.layer_setup import Adapters, LayerSetup, SavedTensor
from unfrozen.model import Architecture, ModelConfig

QUANTISED_BITS: Final = {"nf4": 4, "nf4-dq": 4, "int8": 8}
_SCALE_BITS: Final = {"nf4": 32 / 64, "nf4-dq": 8 / 64 + 32 / (64 * 256)}


@lru_cache(maxsize=1024)
def adapter_parameters(model: ModelConfig, lora: Lora) -> int:
    """Return how many parameters of all adapters: layers · Σ rank · (in + out) over the targets."""
    layers, found = model.architecture.layers, targets(model, lora)
    linear = sum(sum(target.shape) for target in found if target.reads in INPUTS)
    return layers * lora.rank * linear + model.sparse_layers * expert_adapters(model, lora)


@lru_cache(maxsize=1024)
def expert_adapters(model: ModelConfig, lora: Lora) -> int:
    """Return how many parameters the adapters of a layer's experts have."""
    found = targets(model, lora)
    return lora.rank * sum(sum(t.shape) for t in found if t.reads not in INPUTS)


@lru_cache(maxsize=1024)
def linear_parameters(model: ModelConfig) -> int:
    """Return the number of parameters of the linear layers inside the layers, experts included."""
    found = 0
    for kind in model.kinds:
        tensors = model.layer_tensors(kind.first)
        found += kind.layers * sum(tensor.size for tensor in tensors if len(tensor.shape) > 1)
    return found


def quantized_parameters(model: ModelConfig, recipe: Recipe) -> int:
    """Return how many of them a quantized base has in fewer bits."""
    return linear_parameters(model) - (model.expert_parameters if recipe.whole_experts else 0)


def frozen_bytes(model: ModelConfig, recipe: Recipe) -> tuple[int, int]:
    """Return the bytes of the frozen weights and, separately, of their quantization constants."""
    if recipe.base is None:
        return BYTES[recipe.params] * model.num_parameters, 0
    linear = quantized_parameters(model, recipe)
    rest = BYTES[recipe.params] * (model.num_parameters - linear)
    if recipe.base == "int8":
        scales = round(4 * linear / model.architecture.hidden)
    else:
        scales = round(_SCALE_BITS[recipe.base] / 8 * linear)
    return rest + QUANTISED_BITS[recipe.base] * linear // 8, scales


def adapter_inputs(a: Architecture, setup: LayerSetup) -> list[SavedTensor]:
    """Return what adapters save of their inputs, and what 4-bit matmuls save beside it.

    Those with dropout save a copy each and a mask of one byte; LitGPT's q, k and v share one. Where
    the input has another dtype than the adapter, or autocast another than both, each saves a cast
    copy. What nothing copies is saved once for all that read it.
    """
    adapters, c = setup.adapters, setup.compute
    assert adapters is not None
    places = (
        ("attention", adapters.qkv, a.hidden, "h", True),
        ("attention output", adapters.out, a.q_width, "q", False),
        ("feed-forward", adapters.up, a.hidden, "h", True),
        ("inner product", adapters.down, a.ffn, "f", False),
    )
    one_product = adapters.library == "litgpt"
    found = []
    for label, readers, width, symbol, whole in places:
        mask = int(adapters.drops)
        as_is = {adapters.width, adapters.reads} == {setup.stream if whole else c} and not mask
        copies = 0 if as_is else readers
        if one_product and label == "attention":
            copies = min(copies, 1)
        # attention saves its output itself, and the inner product is counted with its layer
        shared = int(whole and (setup.keeps_inputs or (readers and not copies)))
        size = (copies * (mask + adapters.reads) + shared * c) * width
        each = f"(1 + {adapters.reads})" if mask else str(adapters.reads)
        formula = f"({copies}·{each} + {shared}·{c})·{symbol}"
        found.append(SavedTensor(f"inputs of adapters: {label}", formula, size, whole))
    if one_product and 0 < adapters.qkv < 3:
        size = c * adapters.qkv_out
        found.append(
            SavedTensor("outputs of adapters, scattered", f"{c}·(widths of q, k, v)", size)
        )
    return found


def inner_values(adapters: Adapters) -> SavedTensor:
    """Return the saved tensors between the two matrices of each adapter."""
    size = adapters.in_layer * adapters.reads * adapters.rank
    return SavedTensor("inner values of adapters", f"{adapters.in_layer}·{adapters.reads}·r", size)


def output_read(setup: LayerSetup) -> bool:
    """Return whether a matmul that trains reads the attention's output itself."""
    adapters = setup.adapters
    return adapters is None or (bool(adapters.out) and _as_is(setup))


def reads_product(setup: LayerSetup) -> bool:
    """Return whether the input of the last linear layer itself is saved."""
    adapters = setup.adapters
    return adapters is None or setup.keeps_inputs or (bool(adapters.down) and _as_is(setup))


def _as_is(setup: LayerSetup) -> bool:
    """Return whether adapters read the outputs of matmuls without a copy."""
    adapters = setup.adapters
    assert adapters is not None
    return {adapters.width, adapters.reads} == {setup.compute} and not adapters.drops

"""Weights, gradients, master copy and optimizer states: bytes per parameter, and in all.

Sources: mixed-precision Adam 2 + 2 + 12, Rajbhandari et al., arXiv 1910.02054, section 3.1; 8-bit
moments with one fp32 scale for 256 values, Dettmers et al., arXiv 2110.02861; Adafactor's row and
column sums, Shazeer & Stern, arXiv 1804.04235; Muon's single moment for matrices, Jordan 2024;
LOMO, which never holds more than one layer's gradients, Lv et al., arXiv 2306.09782.

GaLore (Zhao et al., arXiv 2403.03507, algorithm 2) multiplies the gradient of an m × n matrix by a
projection of rank r along its shorter side and stores AdamW's two moments of the product: 2·r
numbers for each row or column of the longer side, and the projection, r for each of the shorter one
(jiaweizzhao/GaLore, galore_torch/galore_projector.py @1317b5f: "std"). APOLLO (Zhu et al., arXiv
2412.05270) projects by random numbers, which its package stores as well ("a lazy implementation",
it says, of drawing them again). Matrices inside the layers are projected (attention and MLP,
GaLore's README); embedding, head and norms have AdamW's own moments.

ZeRO (Rajbhandari et al., arXiv 1910.02054): with Ψ parameters, 2Ψ bytes of weights, 2Ψ of gradients
and KΨ of optimizer states (K = 12 for mixed-precision Adam), each of N GPUs holds (4 + K)Ψ at stage
0, 4Ψ + KΨ/N at stage 1, 2Ψ + (2 + K)Ψ/N at stage 2 and (4 + K)Ψ/N at stage 3. N can be a group of
the GPUs that other groups replicate: HSDP (Zhao et al., arXiv 2304.11277, section 3.2.2), or
Megatron-LM's `num_distributed_optimizer_instances`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from unfrozen.job.cluster import Cluster
from unfrozen.job.lora import layer_of_kind, trained_whole
from unfrozen.job.optimizers import OPTIMIZERS
from unfrozen.job.recipe import BYTES, Recipe
from unfrozen.memory.adapters import adapter_parameters, frozen_bytes, linear_parameters
from unfrozen.model import ModelConfig, Tensor


@lru_cache(maxsize=1024)
def low_rank_elements(model: ModelConfig, rank: int) -> tuple[int, int, int]:
    """Return the elements of both moments of projected matrices, of their projections, and the
    number of projected parameters.

    A matrix no wider than the rank is not.
    """
    a, moments, projections, covered = model.architecture, 0, 0, 0
    for sparse, layers in ((False, a.layers - model.sparse_layers), (True, model.sparse_layers)):
        if not layers:
            continue
        for tensor in model.layer_tensors(layer_of_kind(model, sparse)):
            if len(tensor.shape) < 2 or min(tensor.shape[-2:]) <= rank:
                continue
            short, long = sorted(tensor.shape[-2:])
            matrices = layers * tensor.size // (short * long)
            moments += 2 * rank * long * matrices
            projections += rank * short * matrices
            covered += layers * tensor.size
    return moments, projections, covered


BLOCK: Final = 256  # values that share one fp32 scale in 8-bit optimizers
INT8_BYTES: Final = 1 + 4 / BLOCK
CHUNK: Final = 2**20  # weights that an elementwise update "by rows" takes at once
SUB_GROUP: Final = 10**9  # weights of DeepSpeed's sub_group_size (runtime/zero/config.py @edaa722)
SUB_GROUP_BYTES: Final = 2 + 4
"""Of a weight: its gradients, joined, then in fp32 (`_prepare_fp32_grad_for_sub_group` of
deepspeed/runtime/zero/stage3.py @edaa722)."""
ROWS: Final = 4 * CHUNK  # weights in the rows that Adafactor takes together
INT8_LEAST: Final = 4096  # smaller tensors keep fp32 moments


@dataclass(frozen=True, slots=True)
class StateRow:
    """One line of the optimizer table: bytes per parameter on the device, by component."""

    recipe: str
    params: float
    grads: float
    master: float
    moments: float
    note: str

    @property
    def total(self) -> float:
        """Bytes per parameter in all."""
        return self.params + self.grads + self.master + self.moments


_REST: Final = 1 - 6_476_005_376 / 6_738_415_616
"""Share of Llama-2-7B that lies outside the matrices of its layers: embedding, head and norms."""
STATE_TABLE: Final = (
    StateRow("AdamW, mixed precision", 2, 2, 4, 8, "the classic 16 bytes"),
    StateRow("AdamW, fp32 and autocast", 4, 4, 0, 8, "the weights are their own master copy"),
    StateRow("AdamW, fp32 main gradients", 2, 4, 4, 8, "gradients are summed exactly"),
    StateRow("AdamW, 8-bit moments", 2, 2, 4, 2 * INT8_BYTES, "one fp32 scale for 256 values"),
    StateRow("AdamW, paged moments", 2, 2, 4, 0, "moments wait in the memory of the host"),
    StateRow("AdamW, pure bf16", 2, 2, 0, 4, "small updates are rounded away"),
    StateRow("AdamW, pure bf16, 8-bit moments", 2, 2, 0, 2 * INT8_BYTES, "the smallest AdamW"),
    StateRow("SGD with momentum", 2, 2, 4, 4, "one moment"),
    StateRow("SGD", 2, 2, 4, 0, "no moments"),
    StateRow("Muon", 2, 2, 4, 4 * (1 + _REST), "one moment for matrices, two for the rest"),
    StateRow("Adafactor", 2, 2, 4, 0, "4 bytes for each row and each column of a matrix"),
    StateRow("LOMO", 2, 0, 0, 0, "each layer is updated as soon as its gradient is known"),
)
"""Common recipes; a component that vanishes for each parameter counts as 0. Paged moments count as
0 where all of them have left the GPU, which is the best case."""


def trained_parameters(model: ModelConfig, recipe: Recipe) -> int:
    """Return how many parameters get gradients: all, the adapters with the embedding and head that
    train beside them.
    """
    if recipe.lora:
        return adapter_parameters(model, recipe.lora) + sum(trained_whole(model, recipe.lora))
    return model.num_parameters


def beside_frozen(model: ModelConfig, recipe: Recipe, each: float) -> tuple[float, float]:
    """Return the bytes of numbers that adapters have, `each` for a parameter, and of those that
    embedding and head have where these train.

    Embedding and head have a dtype of their own, and so have their gradients and moments, unless
    these are fp32 for the sake of a master copy, or quantized.
    """
    assert recipe.lora
    follows = each == BYTES[recipe.lora.dtype] and not recipe.master
    width = recipe.saved_bytes if follows else each
    whole = sum(trained_whole(model, recipe.lora))
    return each * adapter_parameters(model, recipe.lora), width * whole


def moment_bytes(model: ModelConfig, recipe: Recipe) -> int:
    """Return the bytes of optimizer state beside the master copy, exact tensor by tensor.

    A moving average of the weights is part of it.
    """
    average = BYTES["fp32"] * trained_parameters(model, recipe) if recipe.ema else 0
    return average + _moment_bytes(model, recipe)


def _moment_bytes(model: ModelConfig, recipe: Recipe) -> int:
    kind = OPTIMIZERS[recipe.optimizer]
    if recipe.paged or not (kind.states or kind.factored):
        return 0
    elsewhere = kind.states if kind.other_states is None else kind.other_states
    if recipe.lora:
        width = kind.states and _width(recipe)
        return round(kind.states * sum(beside_frozen(model, recipe, width)))
    counters = unsharded_moment_bytes(model, recipe)
    if recipe.projection_rank:
        moments, projections, covered = low_rank_elements(model, recipe.projection_rank)
        rest = 2 * (model.num_parameters - covered)
        return round(_width(recipe) * (moments + rest)) + BYTES[recipe.grads] * projections
    if recipe.rounds and recipe.rounding == "kahan":  # what was rounded away
        counters += BYTES[recipe.params] * model.num_parameters
    if kind.factored:
        return counters + _adafactor_bytes(model)[0]
    if elsewhere != kind.states:
        matrices = linear_parameters(model)
        numbers = kind.states * matrices + elsewhere * (model.num_parameters - matrices)
        return round(_width(recipe) * numbers)
    return kind.states * _held_bytes(model, str(recipe.moments)) + counters


@lru_cache(maxsize=1024)
def unsharded_moment_bytes(model: ModelConfig, recipe: Recipe) -> int:
    """Return the bytes of optimizer state that every GPU holds whole, however many shard the rest.

    One step count a tensor; of Adafactor also the sums of rows and columns, which are of whole
    matrices: `gpu_runner` has them so, and so do PyTorch's own where they are made (the
    Adafactors of torch 2.13 and transformers 5.24 then refuse tensors that FSDP2 has cut).
    """
    kind = OPTIMIZERS[recipe.optimizer]
    if recipe.paged or recipe.lora or not kind.counts_steps:
        return 0
    return 4 * model.num_tensors + (_adafactor_bytes(model)[1] if kind.factored else 0)


def state_bytes(model: ModelConfig, recipe: Recipe) -> dict[str, int]:
    """Return the bytes of weights, those of a reference model, adapters, master copy, gradients and
    moments of the whole model, unsharded.

    What trains is everything, or the adapters with a copy of embedding and head.
    """
    trained = trained_parameters(model, recipe)
    own, grads = 0, BYTES[recipe.grads] * trained
    if recipe.lora:
        whole = recipe.saved_bytes * sum(trained_whole(model, recipe.lora))
        own = BYTES[recipe.lora.dtype] * adapter_parameters(model, recipe.lora) + whole
        grads = round(sum(beside_frozen(model, recipe, BYTES[recipe.grads])))
    params, constants = frozen_bytes(model, recipe)
    return {
        "params": params,
        "reference": BYTES[recipe.params] * model.num_parameters if recipe.copies_weights else 0,
        "quant_constants": constants,
        "adapters": own,
        "master": BYTES[recipe.master] * trained if recipe.master else 0,
        "grads": grads,
        "moments": moment_bytes(model, recipe),
    }


def update_bytes(
    model: ModelConfig, recipe: Recipe, shards: int = 1, tensor: int | None = None
) -> int:
    """Return the bytes of temporaries of the update on one of `shards` GPUs, for one `tensor` where
    they depend on it.

    None where it is fused; one more copy of what is updated where it runs over lists of tensors
    (foreach), of the largest tensor where it runs over one at a time; see `_rows_bytes` where it
    takes some rows at a time. 8-bit moments are widened to fp32, and the weight with them, one
    tensor at a time. Of Muon see `_orthogonal_bytes`.
    """
    trained = trained_parameters(model, recipe)
    largest = (tensor or model.largest_tensor) * trained // model.num_parameters
    if recipe.lora:
        largest = max(largest, *trained_whole(model, recipe.lora))
    if OPTIMIZERS[recipe.optimizer].orthogonal:
        inside = (tensor for kind in model.kinds for tensor in model.layer_tensors(kind.first))
        sizes = (_orthogonal_bytes(t.shape, shards) for t in inside if not _is_vector(t))
        return max(sizes) * trained // model.num_parameters
    if recipe.moments == "int8" and not recipe.paged:
        return 3 * 4 * largest // shards
    if recipe.projection_rank:
        return _projected_bytes(model, recipe, largest) // shards
    if recipe.step == "sub_groups":
        return SUB_GROUP_BYTES * min(SUB_GROUP, trained // shards)
    if recipe.step == "rows":
        if OPTIMIZERS[recipe.optimizer].factored:
            largest = min(largest, _largest_at_once(model))
        return _rows_bytes(recipe, -(-largest // shards))
    if recipe.step == "fused":
        return 0
    width = BYTES[recipe.master or (recipe.lora.dtype if recipe.lora else recipe.params)]
    return (width * trained if recipe.step == "foreach" else 2 * width * largest) // shards


def _orthogonal_bytes(shape: tuple[int, ...], shards: int) -> int:
    """Return the bytes of temporaries of Muon's update of a matrix, or of a stack of them (Jordan
    2024).

    A matrix becomes orthogonal in three 16-bit copies and two squares of its shorter side; of the
    copy that is then its direction, turned and laid out again, a CHUNK at a time is widened. Of a
    stack each of the `shards` holds some whole matrices, in one copy: beside it are two more of
    those that are made orthogonal together, at most a CHUNK, and of their squares.
    """
    size, square = math.prod(shape[-2:]), min(shape[-2:]) ** 2
    if len(shape) == 2:
        widened = (10 if size <= CHUNK else 14) * min(size, CHUNK)
        return max(3 * 2 * size + 2 * 2 * square, 2 * 2 * size + widened)
    matrices = -(-math.prod(shape[:-2]) // shards)
    stack = matrices * size
    at_once = min(matrices, max(1, CHUNK // size))
    widened = (12 if stack <= CHUNK else 14) * min(stack, CHUNK)
    return 2 * stack + max(2 * 2 * at_once * (size + square), widened)


def _projected_bytes(model: ModelConfig, recipe: Recipe, largest: int) -> int:
    """Return the bytes of temporaries of an update by GaLore or APOLLO.

    Tensors are updated one at a time: what is projected back and scaled takes two copies of a
    matrix; the largest tensor, which is not projected, takes the root of its second moment and the
    quotient. Every so often a matrix is taken apart in fp32: itself, and factors as large
    (`torch.linalg.svd`).
    """
    width = round(_width(recipe))
    apart = 3 * 4 if recipe.optimizer == "galore" else 2 * BYTES[recipe.grads]
    return max(2 * width * largest, apart * model.largest_matrix)


def _rows_bytes(recipe: Recipe, largest: int) -> int:
    """Return the bytes of temporaries of an update over slices of rows, as in `gpu_runner`.

    AdamW takes CHUNK numbers: gradient, moments, deviation, change and target in fp32, a square,
    and for the noise a 64-bit place and 32 bits. Adafactor takes ROWS: target and update in fp32,
    of 16-bit weights the gradient too; then the rounded target, with noise for a CHUNK of it, or
    with what the rounding took away.
    """
    if recipe.optimizer == "adamw":
        return 40 * min(largest, CHUNK)
    rows = min(largest, ROWS)
    if recipe.params == "fp32":
        return 2 * 4 * rows
    if recipe.rounds and recipe.rounding == "kahan":
        return (14 if largest <= ROWS else 16) * rows
    noise = 12 * min(largest, CHUNK) * recipe.rounds
    return max(3 * 4 * rows, (4 + 2) * rows + noise)


def _width(recipe: Recipe) -> float:
    return INT8_BYTES if recipe.moments == "int8" else BYTES[str(recipe.moments)]


@lru_cache(maxsize=1024)
def _largest_at_once(model: ModelConfig) -> int:
    """Return the elements of the largest matrix; those of a stack are updated one after another."""
    return max(math.prod(tensor.shape[-2:]) for tensor, _ in model.counted_tensors)


@lru_cache(maxsize=1024)
def _held_bytes(model: ModelConfig, moments: str) -> int:
    """Return the bytes of one moment of every tensor."""
    if moments != "int8":
        return BYTES[moments] * model.num_parameters
    return sum(count * _int8_bytes(tensor.size) for tensor, count in model.counted_tensors)


@lru_cache(maxsize=1024)
def _adafactor_bytes(model: ModelConfig) -> tuple[int, int]:
    """Return the bytes of Adafactor's second moments of vectors, and of its row and column sums."""
    found = model.counted_tensors
    vectors = sum(4 * count * tensor.size for tensor, count in found if _is_vector(tensor))
    return vectors, sum(count * _sums_bytes(t) for t, count in found if not _is_vector(t))


def _is_vector(tensor: Tensor) -> bool:
    return len(tensor.shape) < 2


def _sums_bytes(tensor: Tensor) -> int:
    """Return the bytes of the row and column sums of a matrix, or of each of a stack of them."""
    *batch, rows, columns = tensor.shape
    matrices = 1
    for length in batch:
        matrices *= length
    return 4 * matrices * (rows + columns)


def _int8_bytes(size: int) -> int:
    return 4 * size if size < INT8_LEAST else size + 4 * -(-size // BLOCK)


_ALL: Final = frozenset(
    ("master", "moments", "grads", "params", "reference", "adapters", "quant_constants")
)
_SHARDED: Final = (
    frozenset[str](),
    frozenset({"master", "moments"}),
    frozenset({"master", "moments", "grads"}),
    _ALL,
)
_OFFLOADED: Final = {
    "none": frozenset[str](),
    "optimizer": frozenset({"master", "moments"}),
    "params": _ALL,
}


class ExpertShare(NamedTuple):
    """How many of a GPU's `parameters` are those of experts."""

    experts: int
    parameters: int


def per_gpu_bytes(
    states: dict[str, int],
    cluster: Cluster,
    whole_moments: int = 0,
    share: ExpertShare | None = None,
) -> dict[str, int]:
    """Return the bytes of each component on one GPU, rounded up; offloaded components take none.

    Of the moments `whole_moments` bytes stay whole where tensors are cut (stage 3); below, whole
    tensors are dealt out with all that belongs to them. The `share` of experts is spread over the
    GPUs alone that hold the same experts (Megatron-LM `megatron/core/parallel_state.py`,
    `get_expert_data_parallel_group`; torchtitan `torchtitan/distributed/parallel_dims.py`).
    """
    whole = {"moments": whole_moments if cluster.stage == 3 else 0}
    sharded, away = _SHARDED[cluster.stage], _OFFLOADED[cluster.offload]
    if cluster.offload != "none" and cluster.stage >= 2:
        away = away | {"grads"}
    shards, own = cluster.shards, cluster.expert_shards
    apart = share if share and own != shards else None

    def on_gpu(name: str, size: int) -> int:
        if apart is None:
            return _share(size, whole.get(name, 0), shards)
        experts = 0 if name == "adapters" else size * apart.experts // apart.parameters
        return _share(size - experts, whole.get(name, 0), shards) + _share(experts, 0, own)

    return {
        name: 0 if name in away else on_gpu(name, size) if name in sharded else size
        for name, size in states.items()
    }


def _share(size: int, whole: int, shards: int) -> int:
    return whole - (whole - size) // shards

"""The part of a recipe that decides what one layer saves: dtypes, kernels, adapters.

A `SavedTensor` is one entry of what it saves, in bytes per token, with its formula. Symbols: h
width, q = heads · d, k = kv heads · d, f ffn, a heads, s sequence, E experts, t experts per token,
r rank of the adapters.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from unfrozen.job.lora import STACKS, targets, trained_whole
from unfrozen.job.recipe import BYTES, Lora, Recipe
from unfrozen.model import ModelConfig


class SavedTensor(NamedTuple):
    """Tensors that a layer saves for its backward pass, in bytes per token.

    `whole` marks what tensor parallelism leaves whole and only sequence parallelism divides.
    """

    label: str
    formula: str
    size: int
    whole: bool = False


class Adapters(NamedTuple):
    """How many adapters of a layer read each of its tensors; see `unfrozen.job.recipe.Lora`.

    `width` is bytes of one of their numbers, `reads` of one that their matmuls read; `qkv_out` the
    numbers they add to q, k and v; `drops` whether they read dropped copies; `embedded` whether the
    embedding trains, so that gradients flow through all of the first layer. `stacks` are the stacks
    of experts that have adapters, which are added to their weights.
    """

    qkv: int
    out: int
    up: int
    down: int
    width: int
    rank: int
    qkv_out: int
    library: str
    reads: int
    drops: bool
    embedded: bool
    stacks: tuple[str, ...]

    @property
    def cast(self) -> bool:
        """Whether autocast makes their matmuls narrower than they are."""
        return self.reads < self.width

    @property
    def in_layer(self) -> int:
        """Adapters of one layer."""
        return self.qkv + self.out + self.up + self.down


class LayerSetup(NamedTuple):
    """Bytes per element in matmuls (`compute`) and in the residual stream (`stream`).

    `adapters` is None where every weight trains. `noise` is the bytes of one entry of a dropout
    mask, 0 without dropout: the width of its input in eager kernels (what PyTorch saves on a CPU,
    and what published CUDA measurements of BERT agree with), one byte where it is fused.
    `padding`: slots that experts have for each token routed to one.
    `keeps_inputs`: the 4-bit matmuls of bitsandbytes before 0.43, with which LitGPT was measured,
    save the inputs of frozen layers (bitsandbytes/autograd/_functions.py, MatMul4Bit; 0.50 saves
    none).
    """

    compute: int
    stream: int
    attention: str
    kernels: str
    seq_len: int
    batched: bool
    dropout: bool
    adapters: Adapters | None
    keeps_inputs: bool
    packed: bool
    padding: float
    experts_cast: bool
    torch_delta: bool

    def reads_experts(self, stack: str) -> bool:
        """Return whether the matmul of a stack of experts saves its input."""
        return self.adapters is None or self.keeps_inputs or stack in self.adapters.stacks

    @property
    def autocast(self) -> bool:
        """Whether linear layers cast their inputs and weights themselves."""
        return self.stream > self.compute

    @property
    def in_experts(self) -> int:
        """Bytes of a number in the matmuls of experts, which take no part in autocast of PyTorch's
        own: they are of the precision of their weights, unless those are cast.
        """
        return self.compute if self.experts_cast else self.stream

    def noise(self, width: int) -> int:
        """Return bytes of one entry of a dropout mask whose input has numbers of `width` bytes."""
        if not self.dropout:
            return 0
        return 1 if self.kernels == "fused" else width

    @classmethod
    def of(cls, model: ModelConfig, recipe: Recipe, sharded_weights: bool = False) -> LayerSetup:
        """Return the setup of a recipe; sharded fp32 weights are gathered in 16 bits."""
        compute = BYTES[recipe.compute]
        adapters = _adapters(model, recipe.lora, _product_width(recipe)) if recipe.lora else None
        stream = compute if sharded_weights else BYTES[recipe.params]
        if adapters and adapters.embedded and not sharded_weights:
            stream = max(stream, recipe.saved_bytes)  # it is as wide as what comes in
        dropout = recipe.dropout
        if dropout is None:
            dropout = model.architecture.dropout
        return cls(
            compute,
            stream,
            "flash" if recipe.flashes else recipe.attention,
            recipe.kernels,
            recipe.seq_len,
            recipe.sequences > 1,
            bool(dropout),
            adapters,
            _keeps_inputs(recipe),
            recipe.packed,
            _padding(model, recipe.expert_padding),
            recipe.experts_cast,
            recipe.torch_delta,
        )


def _keeps_inputs(recipe: Recipe) -> bool:
    of_old = recipe.lora is not None and recipe.lora.library == "litgpt"
    return of_old and recipe.base is not None and recipe.kernels == "eager"


def _padding(model: ModelConfig, chosen: str | float | None) -> float:
    """Return expert slots per routed token; the fullest expert may have to take all tokens."""
    experts = model.architecture.experts
    if experts is None or chosen is None:
        return 1.0
    return experts.count / experts.per_token if chosen == "fullest" else float(chosen)


def _product_width(recipe: Recipe) -> int:
    """Return bytes of a number in adapter matmuls: theirs, or the model's under autocast."""
    assert recipe.lora is not None
    own, compute = BYTES[recipe.lora.dtype], BYTES[recipe.compute]
    autocast = recipe.lora.autocast or BYTES[recipe.params] > compute
    return min(own, compute) if autocast else own


@lru_cache(maxsize=1024)
def _adapters(model: ModelConfig, lora: Lora, reads: int) -> Adapters:
    found = targets(model, lora)
    read = [target.reads for target in found]
    return Adapters(
        qkv=read.count("qkv"),
        out=read.count("out"),
        up=read.count("up"),
        down=read.count("down"),
        width=BYTES[lora.dtype],
        rank=lora.rank,
        qkv_out=sum(target.shape[0] for target in found if target.reads == "qkv"),
        library=lora.library,
        reads=reads,
        drops=lora.drops,
        embedded=bool(trained_whole(model, lora)[0]),
        stacks=tuple(name for name in STACKS if name in read),
    )

"""What a decoder-only model is made of: sizes, and the choices that change its tensors.

Shapes: D width, H heads, K kv heads, d head dimension, F ffn, V vocabulary, L layers, E experts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final, Literal

from unfrozen.errors import ModelError

QkNorm = Literal["none", "head", "width"]
# rms multiplies by its weight in the compute dtype, rms_fp32 in fp32 (Gemma, OLMo 2);
# layer_fp32 has no weight (OLMo)
NormKind = Literal["rms", "rms_fp32", "layer", "layer_fp32"]
NormPlaces = Literal["pre", "post", "sandwich"]

FUSED_TYPES: Final = ("llama", "mistral", "qwen2", "qwen3")
"""Models whose blocks `gpu_runner.model.fused` has written as operations that keep less."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One trainable tensor, under the name transformers gives it."""

    name: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of elements."""
        count = 1
        for length in self.shape:
            count *= length
        return count


@dataclass(frozen=True, slots=True)
class Experts:
    """The sparse feed-forward part of a mixture-of-experts model."""

    count: int
    per_token: int
    ffn: int
    shared_ffn: int = 0
    every: int = 1
    dense_layers: frozenset[int] = frozenset()
    normalised: bool = False  # the weights of a token's experts are divided by their sum
    sharers: int = 1  # cards that share the experts out, each with some of them whole
    widths: tuple[int, int] = (
        1,
        1,
    )  # cards by which `ffn` is divided, and those by which weights are

    @property
    def held(self) -> int:
        """How many of the experts a card holds."""
        return self.count // self.sharers

    @property
    def held_ffn(self) -> int:
        """Width of the weights of one of them."""
        return self.ffn * self.widths[0] // self.widths[1]

    def in_layer(self, index: int) -> bool:
        """Whether layer `index` (from 0) is sparse."""
        return index not in self.dense_layers and (index + 1) % self.every == 0


@dataclass(frozen=True, slots=True)
class Part:
    """Some layers of a model, by their numbers in it, with or without what stands at its ends."""

    layers: tuple[int, ...]
    embedding: bool = True
    head: bool = True


_WHOLE: Final = Part(())


@dataclass(frozen=True, slots=True)
class Architecture:
    """Sizes and choices of one model; everything the memory model needs to know of it."""

    model_type: str
    hidden: int  # D
    layers: int  # L
    heads: int  # H
    kv_heads: int  # K
    head_dim: int  # d
    ffn: int  # F, of one expert in a mixture without dense layers
    vocab: int  # V
    tied: bool
    activation: str
    gated: bool = True
    positions: int = 0  # learned position embeddings (GPT-2)
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False
    qk_norm: QkNorm = "none"
    norm: NormKind = "rms"
    norm_places: NormPlaces = "pre"
    fused_projections: bool = False  # one qkv and one gate-up matrix
    copies_rotated: bool = False  # partial rotary: q and k are rebuilt by a concatenation
    parallel_residual: bool = False
    experts: Experts | None = None
    dropout: float = 0.0  # on the residual stream and the attention weights, while training
    caps_scores: bool = False  # eager attention scores pass a tanh (Gemma 2)
    caps_logits: bool = False  # so do the logits
    types: int = 0  # token-type embeddings (BERT)
    labels: int = 0  # classes of a classification head in place of the language-model head
    part: Part | None = None  # these of its layers alone, in a pipeline

    def __post_init__(self) -> None:
        if self.heads % self.kv_heads:
            raise ModelError(
                "num_key_value_heads",
                self.kv_heads,
                f"it must divide num_attention_heads = {self.heads}",
                "copy both from the model's config.json",
            )
        if self.experts and self.experts.per_token > self.experts.count:
            raise ModelError(
                "num_experts_per_tok",
                self.experts.per_token,
                f"it must not exceed the number of experts, {self.experts.count}",
                "copy both from the model's config.json",
            )

    @property
    def has_fused_block(self) -> bool:
        """Whether `gpu_runner.model.fused` runs its blocks: Llama's, with any number of heads."""
        plain = self.norm == "rms" and self.norm_places == "pre" and not self.mlp_bias
        return self.model_type in FUSED_TYPES and self.activation == "silu" and plain

    @property
    def has_embedding(self) -> bool:
        """Whether this part of a model, or the whole of it, begins with the embedding."""
        return (self.part or _WHOLE).embedding

    @property
    def has_head(self) -> bool:
        """Whether this part of a model, or the whole of it, ends with last norm and head."""
        return (self.part or _WHOLE).head

    @property
    def head_size(self) -> int:
        """Parameters of a language-model head, tied or not; 0 where there is none."""
        return self.vocab * self.hidden if self.has_head and not self.labels else 0

    @property
    def embedding_size(self) -> int:
        """Parameters of the embedding of tokens; 0 where another part of the model has it."""
        return self.vocab * self.hidden if self.has_embedding else 0

    @property
    def q_width(self) -> int:
        """Width of the queries, H · d."""
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Width of the keys, and of the values, K · d."""
        return self.kv_heads * self.head_dim

    def split(self, ranks: int, sharers: int = 1, own: int | None = None) -> Architecture:
        """The share of one of `ranks` tensor-parallel ranks: heads, ffn, experts and vocabulary.

        Ranks that outnumber the kv heads hold a copy of one each; the vocabulary is padded to a
        multiple of 128 a rank, as Megatron does. `sharers` ranks share the experts out, and `own`
        ranks the matrices of one (None: as many as of the rest). Raises ModelError where a size
        does not divide.
        """
        if self.experts and (sharers > 1 or (own or ranks) != ranks):
            experts = replace(self.experts, sharers=sharers, widths=(ranks, own or ranks))
            return replace(self, experts=experts).split(ranks)
        if ranks == 1:
            return self
        sizes = {"num_attention_heads": self.heads, "intermediate_size": self.ffn}
        if self.experts:
            sizes["moe_intermediate_size"] = self.experts.ffn
        for name, size in sizes.items():
            if size % ranks:
                bound = f"{ranks} tensor-parallel ranks must divide it"
                raise ModelError(name, size, bound, "choose fewer ranks")
        experts = self.experts
        if experts:
            shared = -(-experts.shared_ffn // ranks)
            experts = replace(experts, ffn=experts.ffn // ranks, shared_ffn=shared)
        return replace(
            self,
            heads=self.heads // ranks,
            kv_heads=math.gcd(max(1, self.kv_heads // ranks), self.heads // ranks),
            ffn=self.ffn // ranks,
            vocab=128 * -(-self.vocab // (128 * ranks)),
            experts=experts,
        )

    def only(self, layers: tuple[int, ...], *, embedding: bool, head: bool) -> Architecture:
        """A part of the model. Where one end of two that are tied is elsewhere, each is its own."""
        part, tied = Part(layers, embedding, head), self.tied and embedding and head
        return replace(self, layers=len(layers), part=part, tied=tied)

    def number(self, index: int) -> int:
        """The number in the whole model of the layer that is number `index` here."""
        return self.part.layers[index] if self.part else index

    def is_sparse(self, index: int) -> bool:
        """Whether layer `index` routes its tokens to experts."""
        return self.experts is not None and self.experts.in_layer(self.number(index))


def divided(name: str, width: int, heads: int) -> int:
    """The head dimension D / H; ModelError when it does not divide."""
    if width % heads:
        raise ModelError(
            name, heads, f"it must divide the hidden size {width}", "copy both from config.json"
        )
    return width // heads

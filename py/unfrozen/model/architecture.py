"""The architecture of a model: its sizes, and the choices that change its tensors.

Shapes: D width, H heads, K kv heads, d head dimension, F ffn, V vocabulary, L layers, E experts.
Widths of a mixer, which stands in place of attention, are numbers a token; each knows its share on
one of several tensor-parallel ranks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final, Literal, NamedTuple

from unfrozen.errors import ModelError
from unfrozen.model.blueprint import Blueprint, Tensor


class Latent(NamedTuple):
    """Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434, section 2.1).

    `q_rank` is 0 where queries are not compressed; `nope` and `rope` are dimensions of a head
    without and with positions, `value` those of a value.
    """

    heads: int
    q_rank: int
    kv_rank: int
    nope: int
    rope: int
    value: int

    def split(self, ranks: int) -> Latent:
        """Return the share of one of `ranks`: heads are split, compressed vectors are not."""
        return self._replace(heads=-(-self.heads // ranks))


class Selective(NamedTuple):
    """Mamba's selective state space (arXiv 2312.00752, section 3): `inner` channels with `state`
    numbers each, steps from `rank` numbers, a convolution over `conv` tokens.
    """

    inner: int
    state: int
    rank: int
    conv: int
    normed: bool = False  # steps, B and C pass norms (Jamba)

    def split(self, ranks: int) -> Selective:
        """Return the share of one of `ranks`: channels are split."""
        return self._replace(inner=-(-self.inner // ranks))


class Dual(NamedTuple):
    """Mamba-2 (arXiv 2405.21060): heads of a state space, computed in chunks."""

    heads: int
    head_dim: int
    state: int
    groups: int
    conv: int
    chunk: int
    normed: bool = True  # its output passes a gated norm

    @property
    def inner(self) -> int:
        """Channels."""
        return self.heads * self.head_dim

    @property
    def convolved(self) -> int:
        """Numbers that pass the convolution: x, B and C."""
        return self.inner + 2 * self.groups * self.state

    def split(self, ranks: int) -> Dual:
        """Return the share of one of `ranks`: heads and groups are split."""
        groups = max(1, self.groups // ranks)
        return self._replace(heads=-(-self.heads // ranks), groups=groups)


class Delta(NamedTuple):
    """The gated delta rule (arXiv 2412.06464), as Qwen3-Next runs it."""

    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    conv: int
    joined: bool = True  # q, k, v and z of one matrix

    @property
    def keys(self) -> int:
        """Width of the queries, and of the keys."""
        return self.key_heads * self.key_dim

    @property
    def values(self) -> int:
        """Width of the values, and of the gate."""
        return self.value_heads * self.value_dim

    def split(self, ranks: int) -> Delta:
        """Return the share of one of `ranks`: heads are split."""
        keys, values = -(-self.key_heads // ranks), -(-self.value_heads // ranks)
        return self._replace(key_heads=keys, value_heads=values)


class Convolution(NamedTuple):
    """A short gated convolution as wide as the model (LFM2)."""

    width: int
    conv: int

    def split(self, ranks: int) -> Convolution:
        """Return the share of one of `ranks`: channels are split."""
        return self._replace(width=-(-self.width // ranks))


class Absent(NamedTuple):
    """No mixer: the layer is an MLP alone (Nemotron-H)."""

    def split(self, _: int) -> Absent:
        """Return the same: there is nothing to split."""
        return self


Mixer = Latent | Selective | Dual | Delta | Convolution | Absent


__all__ = ["Architecture", "Experts", "Tensor", "divided"]

QkNorm = Literal["none", "head", "width"]
# rms multiplies by its weight in the compute dtype, rms_fp32 in fp32 (Gemma, OLMo 2);
# layer_fp32 has no weight (OLMo), layer_scaled is written out in fp32 and has one (Cohere)
Counted = Literal["exact", "traced", "bounded"]
NormKind = Literal["rms", "rms_fp32", "layer", "layer_fp32", "layer_scaled"]
NormPlaces = Literal["pre", "post", "sandwich"]

ENCODERS: Final = (
    "roberta",
    "electra",
    "deberta-v2",
    "distilbert",
    "modernbert",
    "t5",
    "mt5",
    "umt5",
)
"""Model types with another task than next-token prediction; see `unfrozen.model.families`."""

FUSED_TYPES: Final = ("llama", "mistral", "qwen2", "qwen3")
"""Models whose blocks `gpu_runner.model.fused_blocks` has written as operations that save less."""


@dataclass(frozen=True, slots=True)
class Experts:
    """The sparse MLP of a mixture-of-experts model."""

    count: int
    per_token: int
    ffn: int
    shared_ffn: int = 0
    every: int = 1
    dense_layers: frozenset[int] = frozenset()
    normalised: bool = False  # the weights of a token's experts are divided by their sum
    shared_gate: bool = True  # a shared expert has a gate of its own (Qwen)
    router: str = "softmax"  # how it scores: see `unfrozen.memory.experts`
    gated: bool = True  # gate and up, or up alone
    groups: int = 0  # of experts, of which a token's are chosen first
    top_groups: int = 0
    expert_parallel: int = 1  # GPUs that each hold some of the experts whole
    widths: tuple[int, int] = (1, 1)  # GPUs that divide `ffn`, and those that divide weights

    @property
    def local_count(self) -> int:
        """How many of the experts a GPU holds."""
        return self.count // self.expert_parallel

    @property
    def local_ffn(self) -> int:
        """Width of the weights of one of them."""
        return self.ffn * self.widths[0] // self.widths[1]

    def in_layer(self, index: int) -> bool:
        """Return whether layer `index` (from 0) is sparse."""
        return index not in self.dense_layers and (index + 1) % self.every == 0


@dataclass(frozen=True, slots=True)
class ModelPart:
    """Some layers of a model, by their numbers in it, with or without what stands at its ends."""

    layers: tuple[int, ...]
    embedding: bool = True
    head: bool = True


_WHOLE: Final = ModelPart(())
_UNLISTED: Final = Blueprint((), (), (), ())


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
    qk_norm: QkNorm = "none"
    v_norm: bool = False  # so are the values, by a norm without weights (Gemma 4)
    norm: NormKind = "rms"
    norm_places: NormPlaces = "pre"
    norms: int = 0  # of a layer, where the places do not tell: one for both parts side by side
    fused_projections: bool = False  # one qkv and one gate-up matrix
    copies_rotated: bool = False  # partial rotary: q and k are rebuilt by a concatenation
    parallel_residual: bool = False
    experts: Experts | None = None
    dropout: float = 0.0  # on the residual stream and the attention weights, while training
    caps_scores: bool = False  # eager attention scores pass a tanh (Gemma 2)
    caps_logits: bool = False  # so do the logits
    labels: int = 0  # classes of a classification head in place of the language-model head
    part: ModelPart | None = None  # these of its layers alone, in a pipeline
    mixer: Mixer | None = None  # what stands in place of attention
    beside: bool = False  # … or beside it (Falcon-H1)
    feeds: bool = True  # a feed-forward part follows
    sinks: bool = False  # a further score a head that no value answers (gpt-oss)
    gates_output: bool = False  # the attention's output passes a gate as wide (Qwen3-Next)
    per_layer_input: int = 0  # width of each layer's own embedding of a token (Gemma 3n, 4)
    blueprint: Blueprint = _UNLISTED
    variants: tuple[Architecture, ...] = ()  # the kinds of layers, where attention differs
    order: tuple[int, ...] = ()  # which of them each layer is
    windows: tuple[int, ...] = ()  # positions that each layer attends to, 0 for all; () all do
    vision: bool = False  # it has a vision encoder
    task: str = ""  # what it is made for, where that is not the next token, as text
    estimated: str = ""  # what of its activations is not known exactly, as text
    unknown_keys: tuple[str, ...] = ()  # of its config.json, that may change tensors
    counted: Counted = "exact"  # how its tensors are known
    counted_by: str = ""  # how that came, as a sentence

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
        """Whether `gpu_runner.model.fused_blocks` runs its blocks: Llama's, any number of heads."""
        plain = self.norm == "rms" and self.norm_places == "pre" and not self.has_bias("mlp.")
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
    def has_plain_head(self) -> bool:
        """Whether its logits are one matmul, by the head's weight alone."""
        ends = (t for t in self.blueprint.after if t.vocabulary)
        return not self.caps_logits and all(len(t.shape) > 1 for t in ends)

    def has_bias(self, name: str) -> bool:
        """Return whether layers have a bias under a name that begins so."""
        inside = (t.name for kind in self.blueprint.kinds for t in kind)
        return any(one.startswith(name) and one.endswith(".bias") for one in inside)

    @property
    def embedding_size(self) -> int:
        """Parameters of the embedding of tokens; 0 where another part of the model has it."""
        return self.vocab * self.hidden if self.has_embedding else 0

    @property
    def score_widths(self) -> tuple[int, int]:
        """Widths of all heads whose products are the scores, and whose sum the scores weigh; 0
        where a layer has no scores.
        """
        if isinstance(self.mixer, Latent):
            m = self.mixer
            return m.heads * (m.nope + m.rope), m.heads * m.value
        return (self.q_width, self.q_width) if self.mixer is None or self.beside else (0, 0)

    @property
    def kv_widths(self) -> tuple[int, int]:
        """Widths of the keys and of the values, as attention reads them."""
        if self.mixer is None or self.beside:
            return self.kv_width, self.kv_width
        return self.score_widths

    @property
    def q_width(self) -> int:
        """Width of the queries, H · d."""
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Width of the keys, and of the values, K · d."""
        return self.kv_heads * self.head_dim

    @property
    def is_encoder(self) -> bool:
        """Whether it reads in both directions, or encodes before it decodes."""
        return bool(self.labels) or self.model_type in ENCODERS

    @property
    def has_delta_rule(self) -> bool:
        """Whether any of its layers is a gated delta rule."""
        return any(isinstance(layer.mixer, Delta) for layer in (self, *self.variants))

    @property
    def guesses(self) -> str:
        """What of its activations is estimated, as text; empty where all of it is known."""
        mixers = {type(layer.mixer) for layer in (self, *self.variants)}
        if mixers & {Selective, Dual}:
            return self.estimated or "its state spaces"
        if self.has_delta_rule:
            return self.estimated or "its linear attention"
        return self.estimated or (
            "what its vision encoder saves for backward, left out here" if self.vision else ""
        )

    @property
    def notes(self) -> list[str]:
        """Sentences: what of it is estimated or unknown, and what it is made for."""
        what = "all of it" if self.counted == "bounded" else "its activations"
        guessed = f"Estimated: {self.guesses}; {what} may be half as much, or twice."
        keys = ", ".join(self.unknown_keys)
        unknown = (
            f"Unknown in config.json: {keys}. The plan assumes that this changes no tensor: compare"
            " its parameters with those of the model's weights."
        )
        notes = [self.counted_by, guessed * bool(self.guesses), unknown * bool(self.unknown_keys)]
        return [note for note in (*notes, self.task) if note]

    def split(self, ranks: int, expert_parallel: int = 1, own: int | None = None) -> Architecture:
        """Return the share of one of `ranks` tensor-parallel ranks: heads, ffn, experts and
        vocabulary.

        Ranks that outnumber the kv heads hold a copy of one each; the vocabulary is padded to a
        multiple of 128 a rank, as Megatron does. `expert_parallel` ranks shard the experts, and
        `own` ranks the matrices of one (None: as many as of the rest). Raises ModelError where a
        size does not divide.
        """
        if self.experts and (expert_parallel > 1 or (own or ranks) != ranks):
            sharded = replace(
                self.experts, expert_parallel=expert_parallel, widths=(ranks, own or ranks)
            )
            return replace(self, experts=sharded).split(ranks)
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
            mixer=self.mixer.split(ranks) if self.mixer else None,
            blueprint=self.blueprint.split(ranks),
            variants=tuple(variant.split(ranks) for variant in self.variants),
        )

    def only(self, layers: tuple[int, ...], *, embedding: bool, head: bool) -> Architecture:
        """Return a part of the model; of tied ends that lie apart each has a copy."""
        part, tied = ModelPart(layers, embedding, head), self.tied and embedding and head
        order = tuple(self.order[index] for index in layers) if self.order else ()
        windows = tuple(self.windows[index] for index in layers) if self.windows else ()
        own = replace(self, layers=len(layers), order=order, windows=windows)
        return replace(own, part=part, tied=tied)

    def number(self, index: int) -> int:
        """Return the number in the whole model of this part's layer `index`."""
        return self.part.layers[index] if self.part else index

    def of_layer(self, index: int) -> Architecture:
        """Return the sizes and choices of layer `index`: those of its kind, where kinds differ."""
        return self.variants[self.order[index]] if self.variants else self

    def with_vocabulary(self, rows: int) -> Architecture:
        """Return the same with another number of rows of the embedding and of an untied head."""
        return replace(self, vocab=rows, blueprint=self.blueprint.with_vocabulary(rows))

    def is_sparse(self, index: int) -> bool:
        """Return whether layer `index` routes its tokens to experts."""
        return self.experts is not None and self.experts.in_layer(self.number(index))


def divided(name: str, width: int, heads: int) -> int:
    """Return the head dimension D / H; ModelError when it does not divide."""
    if width % heads:
        raise ModelError(
            name, heads, f"it must divide the hidden size {width}", "copy both from config.json"
        )
    return width // heads

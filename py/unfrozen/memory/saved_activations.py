"""Activations that all layers of a micro-batch save on one GPU, checkpointing considered.

Layers of every kind: latent attention and LFM2's convolution are read off autograd in transformers
5.24 and compared with a real forward pass, as `activations` is. State spaces and the delta rule are
those of the kernels that training uses (mamba_ssm, flash-linear-attention), which save their inputs
and recompute the rest: mamba_ssm ops/triton/ssd_combined.py, fla ops/gated_delta_rule/chunk.py.
They are estimates.

Only each n-th layer may be recomputed, counted from the first (prime-rl and torchtitan:
`layer_id % freq == 0`); the others save everything.

A router that stores its auxiliary loss as an attribute (KempnerForge, kempnerforge/model/router.py
@bc775fe) keeps the graph that leads to it alive once its layer is recomputed: PyTorch's checkpoints
free the outputs of the second pass, and the attribute is none of them (torch/utils/checkpoint.py).
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property, lru_cache

from unfrozen.job.cluster import Cluster
from unfrozen.job.lora import trained_whole
from unfrozen.job.recipe import BYTES, Recipe
from unfrozen.memory.activations import (
    attention_saved_tensors,
    bytes_before_experts,
    last_saved_tensors,
    layer_bytes,
    layer_saved_tensors,
    norm_bytes,
    overlap_bytes,
    selective_layer_bytes,
    shared_saved_tensors,
    undifferentiated_bytes,
    undifferentiated_weights,
)
from unfrozen.memory.adapters import adapter_parameters, expert_adapters
from unfrozen.memory.experts import dispatched_bytes, folded_bytes
from unfrozen.memory.layer_setup import LayerSetup, SavedTensor
from unfrozen.memory.points import Point
from unfrozen.model import Architecture, ModelConfig
from unfrozen.model.architecture import Absent, Convolution, Delta, Dual, Latent, Mixer, Selective


def is_transformer_layer(a: Architecture) -> bool:
    """Return whether a layer is attention and an MLP, as `activations` knows it."""
    return a.mixer is None and a.feeds


@lru_cache(maxsize=4096)
def saved_tensors(
    a: Architecture, setup: LayerSetup, sparse: bool = False
) -> tuple[SavedTensor, ...]:
    """Return the tensors that one layer of any kind saves for backward, in bytes per token."""
    if is_transformer_layer(a):
        return layer_saved_tensors(a, setup, sparse)
    norms = a.qk_norm if a.beside or a.mixer is None else "none"
    whole = replace(a, mixer=None, feeds=True, beside=False, qk_norm=norms)
    inside = {item.label for item in attention_saved_tensors(a, setup)}
    inside |= {"q, k, v and attention output"}
    found = layer_saved_tensors(whole, setup, sparse)
    kept = [item for item in found if a.beside or item.label not in inside]
    if not a.feeds or isinstance(a.mixer, Absent):
        kept = [_halved(item) for item in kept if a.feeds or not _feeds(item)]
    mixed = mixer_saved_tensors(a.mixer, a, setup) if a.mixer else ()
    return tuple(item for item in (*kept, *mixed) if item.size)


def _feeds(item: SavedTensor) -> bool:
    words = ("feed-forward", "MLP", "expert", "routing", "copies for the experts")
    return any(word in item.label for word in words)


def _halved(item: SavedTensor) -> SavedTensor:
    """Return one norm, and one input, of the two that a whole layer has."""
    if "norm" in item.label or item.label == "inputs of the linear layers":
        return item._replace(size=item.size // 2, formula=f"({item.formula}) / 2")
    return item


@lru_cache(maxsize=4096)
def saved_bytes(
    a: Architecture, setup: LayerSetup, sparse: bool = False, whole_ranks: int = 1
) -> float:
    """Return the bytes per token that one layer of any kind saves."""
    if is_transformer_layer(a):
        return layer_bytes(a, setup, sparse, whole_ranks)
    found = saved_tensors(a, setup, sparse)
    return sum(item.size / whole_ranks if item.whole else item.size for item in found)


def selective_saved_bytes(
    a: Architecture, setup: LayerSetup, whole_ranks: int, sparse: bool
) -> float:
    """Return bytes per token under selective checkpointing; of a mixer its input and output."""
    if is_transformer_layer(a):
        return selective_layer_bytes(a, setup, whole_ranks, sparse)
    return (setup.stream + setup.compute) * a.hidden / whole_ranks


def recomputed_overlap_bytes(
    a: Architecture, setup: LayerSetup, kind: str, whole_ranks: int, sparse: bool
) -> float:
    """Return the bytes of a checkpointed layer that recomputation does not store a second time."""
    if is_transformer_layer(a):
        return overlap_bytes(a, setup, kind, whole_ranks, sparse)
    return overlap_bytes(replace(a, mixer=None, feeds=True), setup, "full", whole_ranks, sparse)


def mixer_saved_tensors(
    mixer: Mixer, a: Architecture, setup: LayerSetup
) -> tuple[SavedTensor, ...]:
    """Return what a mixer saves, without the input of its first matmul."""
    if isinstance(mixer, Latent):
        return _latent(mixer, a, setup)
    if isinstance(mixer, Convolution):
        return _convolution(mixer, setup)
    if isinstance(mixer, Delta):
        return _delta(mixer, setup)
    if isinstance(mixer, Dual):
        return _dual(mixer, setup)
    if isinstance(mixer, Selective):
        return _selective(mixer, setup)
    return ()


def _latent(m: Latent, a: Architecture, setup: LayerSetup) -> tuple[SavedTensor, ...]:
    """Return what latent attention saves: compressed vectors with their norms, q and k of every
    head, the matmul that holds values and keys, and the output.
    """
    c, narrow = setup.compute, setup._replace(stream=setup.compute)
    beside = m.rope if c == 4 else 0  # a wider copy of the compressed part leaves the rest behind
    size = norm_bytes(a, narrow, m.kv_rank) + 4 * beside + c * m.kv_rank
    if m.q_rank:
        size += norm_bytes(a, narrow, m.q_rank) + c * m.q_rank
    heads, d = m.heads, m.nope + m.rope
    eager = setup.attention == "eager"
    values = m.value if eager else m.nope + m.value  # a view of the product, or a copy
    scores = setup.seq_len * heads
    outputs = 1 if eager or setup.packed else 2  # a copy is made where the layout differs
    found = [
        SavedTensor(
            "compressed queries, keys and values", "norms and inputs of r_q and r_kv", size, True
        ),
        SavedTensor(
            "q, k and v", f"{c}·a·(2·(d_n + d_r) + d_n + d_v)", c * heads * (2 * d + values)
        ),
        SavedTensor("attention output", f"{c}·a·d_v", c * heads * m.value * outputs),
    ]
    if eager:
        upcast = 4 * scores if c == 2 else 0
        return (*found, SavedTensor("attention weights", f"{c}·a·s", c * scores + upcast))
    return (*found, SavedTensor("log-sum-exp of the scores", "4·a", 4 * heads))


def _convolution(m: Convolution, setup: LayerSetup) -> tuple[SavedTensor, ...]:
    """Return what LFM2's convolution saves: three gates of one matmul, the gated input, the
    convolution's output, and the output.
    """
    c, s = setup.compute, setup.seq_len
    longer = m.width * (s + m.conv - 1) // s
    size = c * (3 * m.width + m.width + longer + m.width)
    return (SavedTensor("gated convolution", f"6·{c}·h", size),)


def _delta(m: Delta, setup: LayerSetup) -> tuple[SavedTensor, ...]:
    """Return kernel inputs: q, k and v around the convolution, gates, states of a chunk.

    In PyTorch all of it is in fp32, for rows of whole chunks: six tensors as wide as a key for each
    value head, three as wide as a value, five products of a chunk's tokens with each other. What is
    neither cast nor padded is copied four times more.
    """
    c, heads, chunk = setup.compute, m.value_heads, 64
    mixed = 2 * m.keys + m.values
    tokens = chunk * -(-setup.seq_len // chunk)
    states = 4 * heads * m.key_dim * m.value_dim * tokens // (chunk * setup.seq_len)
    gates = 3 * 4 * heads
    inner = 2 * mixed + m.values + 3 * m.values  # before and after, z, output, its norm and product
    if setup.torch_delta:
        keys = 5 + (tokens > chunk) + 4 * (c == 4 and tokens == setup.seq_len)
        padded = heads * (keys * m.key_dim + 3 * m.value_dim + 5 * chunk + 4) * tokens
        normalised = heads * (2 * m.key_dim + 2)  # q and k, and their lengths
        outside = c * (2 * mixed + 3 * m.values + heads) + 12 * (m.values + heads)
        return (
            SavedTensor(
                "convolution, norm and gate", "c·(2·(2k + v) + 3v + a) + 12·(v + a)", outside
            ),
            SavedTensor("q and k, normalised", "8·a·(d_k + 1)", 4 * normalised),
            SavedTensor(
                "products of the chunks",
                f"4·a·({keys}·d_k + 3·d_v + 324), of rows in chunks of 64",
                4 * padded // setup.seq_len,
            ),
            SavedTensor("states of the chunks", "4·a·d_k·d_v / 64", states),
        )
    return (
        SavedTensor(
            "queries, keys and values of the delta rule", f"{c}·(2·(2k + v) + 4v)", c * inner
        ),
        SavedTensor("gates and decays", "12·a", gates),
        SavedTensor("states of the chunks", "4·a·d_k·d_v / 64", states),
    )


def _dual(m: Dual, setup: LayerSetup) -> tuple[SavedTensor, ...]:
    """Return the kernel's inputs: x, B and C before and after the convolution, z, steps, states."""
    c = setup.compute
    inner = 2 * m.convolved + m.inner + m.inner + (m.inner if m.normed else 0)
    states = 4 * m.heads * m.head_dim * m.state // m.chunk
    return (
        SavedTensor(
            "x, B, C, gate and output of the state space", f"{c}·(2·(i + 2gn) + 3i)", c * inner
        ),
        SavedTensor("steps and decays", "8·a", 2 * 4 * m.heads),
        SavedTensor("states of the chunks", "4·i·n / chunk", states),
    )


def _selective(m: Selective, setup: LayerSetup) -> tuple[SavedTensor, ...]:
    """Return kernel's inputs: x and z, x after the convolution, steps, B and C, and its output."""
    c = setup.compute
    inner = 5 * m.inner + m.rank + 2 * m.state
    return (
        SavedTensor(
            "x, gate, steps and output of the state space", f"{c}·(5i + r + 2n)", c * inner
        ),
    )


@lru_cache(maxsize=1024)
def layer_kinds(model: ModelConfig) -> tuple[tuple[Architecture, bool], ...]:
    """Return the sizes and choices of each kind of layer, and whether it has experts."""
    a = model.architecture
    return tuple(dict.fromkeys((a.of_layer(kind.first), kind.sparse) for kind in model.kinds))


def kind_bytes(
    model: ModelConfig, setup: LayerSetup, whole_ranks: int = 1
) -> tuple[tuple[float, int], ...]:
    """Return the bytes per token that a layer of each kind saves, and how many layers are of it.

    Scores and masks grow with the sequence, a straight line, which two lengths give; only the edges
    of a convolution and the last chunk of a delta rule do not.
    """
    if any(isinstance(of.mixer, Convolution | Delta) for of, _ in layer_kinds(model)):
        return _kind_bytes(model, setup, whole_ranks)
    one = _kind_bytes(model, setup._replace(seq_len=1), whole_ranks)
    two = _kind_bytes(model, setup._replace(seq_len=2), whole_ranks)
    more = setup.seq_len - 1
    return tuple((a + more * (b - a), n) for (a, n), (b, _) in zip(one, two, strict=True))


@lru_cache(maxsize=4096)
def _kind_bytes(
    model: ModelConfig, setup: LayerSetup, whole_ranks: int
) -> tuple[tuple[float, int], ...]:
    a = model.architecture
    found: dict[tuple[Architecture, bool], int] = {}
    for kind in model.kinds:
        key = a.of_layer(kind.first), kind.sparse
        found[key] = found.get(key, 0) + kind.layers
    return tuple(
        (saved_bytes(of, setup, sparse, whole_ranks), count)
        for (of, sparse), count in found.items()
    )


class SavedActivations:
    """The activations that one micro-batch of `model` saves on this GPU.

    In bytes: `layer` is what the largest layer saves without checkpointing, `kept` what a
    checkpointed one saves, `layers` what all of them save on the GPU, `outside` what is saved
    outside them but for the head's input, `beside` the part of it that stays until the end.
    """

    def __init__(self, model: ModelConfig, recipe: Recipe, cluster: Cluster) -> None:
        self.model, self.recipe, self.cluster = model, recipe, cluster
        self.setup = LayerSetup.of(model, recipe, sharded_weights=cluster.stage == 3)
        self.tokens = -(-recipe.tokens // cluster.context_parallel)
        self.whole_ranks = cluster.tensor_parallel if cluster.sequence_parallel else 1
        self._kinds = kind_bytes(model, self.setup, self.whole_ranks)
        self.folds = self._folded_bytes()
        self.layer = self._layer_bytes()
        self.kept = self._kept_bytes()
        self.layers = self._layers_bytes()
        a, checkpointed = model.architecture, recipe.checkpointing != "none"
        shared = shared_saved_tensors(a, self.setup, checkpointed, recipe.sequences)
        self.beside = self._outside_bytes(shared)
        self.outside = self._outside_bytes(shared + last_saved_tensors(a, self.setup))

    def is_recomputed(self, layer: int) -> bool:
        """Return whether a layer, counted from the first, is recomputed in the backward pass."""
        recipe = self.recipe
        return recipe.checkpointing != "none" and layer % recipe.checkpoint_every == 0

    def first_layers_bytes(self, count: int) -> int:
        """Return the bytes that the first `count` layers save on the GPU."""
        recipe = self.recipe
        again = -(-count // recipe.checkpoint_every)
        if recipe.checkpointing == "none" or again == count:
            return min(self.layers, count * self.kept)
        return min(self.layers, again * self.kept + (count - again) * self.layer)

    def recomputed(self, layer: int) -> int:
        """Return what a recomputed layer holds beside what was saved of it; 0 where none is."""
        return self._again if self.is_recomputed(layer) else 0

    @cached_property
    def _again(self) -> int:
        shared = min(
            recomputed_overlap_bytes(
                of, self.setup, self.recipe.checkpointing, self.whole_ranks, sparse
            )
            for of, sparse in layer_kinds(self.model)
        )
        return self.layer - round(self.tokens * shared)

    def _folded_bytes(self) -> int:
        """Return the bytes of a layer's experts with adapters added, and of what is cast for it."""
        lora, setup = self.recipe.lora, self.setup
        if lora is None or not setup.adapters or not setup.adapters.stacks:
            return 0
        cast = BYTES[lora.dtype] > setup.compute
        factors = setup.compute * expert_adapters(self.model, lora) if cast else 0
        return sum(folded_bytes(self.model.architecture, setup)) + factors

    def folded(self, layers: int, *, forward: bool = False) -> int:
        """Return the bytes of experts with their adapters added that the first `layers` layers
        hold: those that are not recomputed, and in backward the one that is.
        """
        model, recipe, each = self.model, self.recipe, self.folds
        if recipe.checkpointing == "none":
            return each * layers * model.sparse_layers // model.architecture.layers
        again = -(-layers // recipe.checkpoint_every)
        return each * (layers - again + (not forward))

    def routers(self, differentiated: int) -> int:
        """Return the bytes of the graphs of the auxiliary losses of the last layers, recomputed."""
        held = self.recipe.router_held and self.recipe.checkpointing != "none"
        if not held or not self.model.sparse_layers:
            return 0
        each = bytes_before_experts(self.model.architecture, self.setup, self.whole_ranks)
        return round(self.tokens * each) * differentiated // self.recipe.checkpoint_every

    def _layer_bytes(self) -> int:
        return round(self.tokens * max(size for size, _ in self._kinds))

    def _kept_bytes(self) -> int:
        a, recipe = self.model.architecture, self.recipe
        if recipe.checkpointing == "full":
            return round(self.tokens * self.setup.stream * a.hidden / self.whole_ranks)
        if recipe.checkpointing == "selective":
            kept = max(
                selective_saved_bytes(of, self.setup, self.whole_ranks, sparse)
                for of, sparse in layer_kinds(self.model)
            )
            return round(self.tokens * kept)
        return self.layer

    def _layers_bytes(self) -> int:
        a = self.model.architecture
        if self.recipe.activation_offload:  # those of two layers are on their way
            whole = min(2, a.layers, self.recipe.checkpoint_every - 1)  # next to each other
            return whole * self.layer + (min(2, a.layers) - whole) * self.kept
        if self.recipe.checkpointing != "none":
            again = -(-a.layers // self.recipe.checkpoint_every)
            return again * self.kept + (a.layers - again) * self.layer
        if len(self._kinds) == 1:
            return a.layers * self.kept - self.tokens * undifferentiated_bytes(a, self.setup)
        return round(self.tokens * sum(count * size for size, count in self._kinds))

    def _outside_bytes(self, found: list[SavedTensor]) -> int:
        ranks = self.whole_ranks
        return round(self.tokens * sum(i.size / ranks if i.whole else i.size for i in found))

    def parallel_buffers(self, layer: bool) -> Point:
        """Return the buffers of parallelism and of quantized weights, inside a layer or outside."""
        a, cluster, c = self.model.architecture, self.cluster, self.setup.compute
        found: Point = {}
        if cluster.sequence_parallel and cluster.tensor_parallel > 1:
            found["gathered_inputs"] = (2 if layer else 1) * c * self.tokens * a.hidden
        if cluster.context_parallel > 1 and layer:
            found["ring"] = 4 * c * self.tokens * a.kv_width
        if cluster.expert_parallel > 1 and layer:
            found["dispatched"] = dispatched_bytes(a, self.setup, self.tokens) // self.whole_ranks
        if self.recipe.base and layer:
            found["dequantised"] = c * self.model.largest_linear
        return found

    def casts(self, layers: int, *, forward: bool = False, head: bool = False) -> int:
        """Return 16-bit copies of the weights of `layers` layers that autocast makes, and of the
        `head`.

        Until its context ends, after the loss, it keeps those of all that train; the graph keeps
        those that no checkpoint will make again, and that of a head which is not differentiated
        yet. Quantised weights are none that it casts.
        """
        a, setup, recipe = self.model.architecture, self.setup, self.recipe
        remade = recipe.checkpointing != "none"
        adapters = 0
        if recipe.lora and setup.adapters and setup.adapters.cast:
            beside = self.model.sparse_layers * expert_adapters(self.model, recipe.lora)
            each = (adapter_parameters(self.model, recipe.lora) - beside) // a.layers
            adapters = each * (min(layers, 1) if remade and not forward else layers)
        if not setup.autocast or BYTES[recipe.params] <= setup.compute:
            wide = head and recipe.lora and recipe.saved_bytes > setup.compute
            whole = trained_whole(self.model, recipe.lora)[1] if wide else 0
            return setup.compute * (adapters + whole)
        kept = self.model.layer_linears
        if setup.kernels == "fused_block":  # it casts the others again
            kept = a.q_width * a.hidden
        if recipe.base:
            kept = 0
        if recipe.lora and remade:  # frozen ones are there within their layer only
            copies = 0 if forward or head else kept
        elif recipe.lora:
            copies = max(0, layers * kept - undifferentiated_weights(a, setup))
        else:
            copies = kept * (min(layers, 1) if remade and not forward else layers)
        return setup.compute * (copies + adapters + (a.head_size if head else 0))

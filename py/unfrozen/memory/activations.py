"""Activations: what the forward pass of a layer saves for its backward pass, in bytes per token.

Read off autograd: each entry names the tensors that transformers' modules save (torch 2.13, eager
kernels), and the tests compare the sum with what a real forward pass saves. For fused kernels the
entries are those of implementations that recompute norms and the activation function; without gates
and with dropout that is the 34 h of Korthikanti et al., arXiv 2205.05198, section 4.1. A fused
block (`gpu_runner.model.fused_blocks`) recomputes the outputs of norms and activation as well.

With fp32 weights and 16-bit compute (autocast) the residual stream and the norms stay fp32, and
every linear layer saves its own 16-bit copy of its input. A frozen linear layer saves no input:
only the adapters that read it do.

Under activation checkpointing a layer is recomputed in the backward pass beside what was saved of
it. Some of that is the same tensor twice: the layer's input where the first norm reads it as it is,
the matmul outputs that selective checkpointing saved where something saves them unchanged. They are
counted once, and a saved output that nothing reads any more (q, once it is rotated) is gone when
the layer is complete.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from unfrozen.errors import PlanError
from unfrozen.memory.adapters import adapter_inputs, inner_values, output_read, reads_product
from unfrozen.memory.experts import expert_saved_tensors
from unfrozen.memory.layer_setup import LayerSetup, SavedTensor
from unfrozen.model import Architecture
from unfrozen.model.architecture import Latent


def attention_saved_tensors(a: Architecture, setup: LayerSetup) -> list[SavedTensor]:
    """Return what attention saves: q, k, v, its output, and the scores or what replaces them."""
    c, q = setup.compute, a.q_width
    qkv, written = qkv_numbers(a, setup)
    found = [SavedTensor("q, k and v", f"{c}·({written})", c * qkv)]
    eager = setup.attention == "eager"
    reads_output = setup.adapters is None or setup.adapters.out or setup.keeps_inputs
    outputs = int(not eager or bool(reads_output))
    copies = a.copies_rotated and not setup.packed  # where the layout differs
    if setup.attention == "efficient":  # that of its groups, or of its documents
        copies = copies or setup.packed or 1 < a.kv_heads < a.heads
    if copies and not eager and reads_output:
        outputs += 1
    found.append(SavedTensor("attention output", f"{outputs}·{c}·q", outputs * c * q))
    if a.gates_output:
        gates = 3 if c == 4 else 2  # in fp32 the norm of q saves a view of both
        found.append(SavedTensor("gate of the attention output", f"{gates}·{c}·q", gates * c * q))
    return found + score_saved_tensors(a, setup)


def score_saved_tensors(a: Architecture, setup: LayerSetup) -> list[SavedTensor]:
    """Return what is saved of the scores: mask and a number a row; eager: the weights."""
    c, s, heads = setup.compute, setup.seq_len, a.heads
    if setup.attention != "eager":
        mask = c * s if setup.attention == "sdpa" and setup.kernels != "fused" else 0
        return [
            SavedTensor("mask, cast in each layer", f"{c}·s", mask),
            SavedTensor("log-sum-exp of the scores", "4·a", 4 * heads),
        ]
    if a.sinks:  # a column more, and the place of the largest score of each row
        return [SavedTensor("attention weights", f"{c}·a·(s + 1) + 8·a", (c * (s + 1) + 8) * heads)]
    upcasts = _upcasts_softmax(a, setup)
    found = [
        SavedTensor("attention weights", f"{c}·a·s", c * heads * s),
        SavedTensor("attention weights in fp32", "4·a·s", 4 * heads * s if upcasts else 0),
        SavedTensor("capped scores", f"{c}·a·s", c * heads * s if a.caps_scores else 0),
    ]
    if setup.dropout:
        noise = setup.noise(c)
        size = (noise + c) * heads * s
        found.append(SavedTensor("dropped weights and their mask", f"({noise} + {c})·a·s", size))
    return found


def softmax_workspace(a: Architecture, setup: LayerSetup) -> tuple[int, int]:
    """Return bytes per token freed, and added, in the softmax's backward pass of eager attention.

    By then the attention's output, the values and, where they were cast, the 16-bit weights are
    gone; the gradients of weights and scores exist at once.
    """
    c, scores = setup.compute, a.heads * setup.seq_len
    upcasts = _upcasts_softmax(a, setup)
    freed = 2 * c * a.q_width + (c * scores if upcasts else 0)
    return freed, 2 * (4 if upcasts else c) * scores + 2 * c * a.hidden


def qkv_numbers(a: Architecture, setup: LayerSetup) -> tuple[int, str]:
    """Return how many numbers of q, k and v are saved, and their formula."""
    q, k = a.q_width, a.kv_width
    repeated = k < q and a.kv_heads > 1  # one head is repeated by a view
    if setup.attention == "eager":
        repeated = k < q or setup.batched  # the batched matmul needs its own copies
    if repeated and setup.attention not in ("flash", "efficient"):
        return 3 * q, "3·q"
    # a view of the fused matmul keeps all of it alive, beside the rotated copies of q and k
    fused = setup.adapters is not None and setup.adapters.library == "litgpt"
    if fused and k == q and setup.kernels != "fused" and a.gated:
        return 2 * q + 3 * k, "2·q + 3·k"
    if a.fused_projections and a.copies_rotated and setup.kernels != "fused":
        return 2 * q + 3 * k, "2·q + 3·k"
    return q + 2 * k, "q + 2·k"


def _upcasts_softmax(a: Architecture, setup: LayerSetup) -> bool:
    """Return whether the softmax is computed in fp32; GPT-2 and BERT leave that to autocast."""
    return setup.compute == 2 and (not a.positions or setup.autocast)


# tensors of width f that the activation function and what surrounds it save, and how many of them
# are read by nothing but the weight of the last linear layer
_GATED_SAVES: Final = {
    "silu": (4, 1),
    "gelu": (4, 1),
    "gelu_pytorch_tanh": (4, 1),
    "relu": (3, 1),
    "gelu_new": (7, 1),
}
_PLAIN_SAVES: Final = {
    "gelu": (2, 1),
    "gelu_pytorch_tanh": (2, 1),
    "silu": (2, 1),
    "relu": (1, 0),
    "relu2": (2, 1),
    "gelu_new": (5, 1),
}


@lru_cache(maxsize=4096)
def layer_saved_tensors(
    a: Architecture, setup: LayerSetup, sparse: bool = False
) -> tuple[SavedTensor, ...]:
    """Return tensors that one layer saves for backward. Raises PlanError where it is unknown."""
    if setup.kernels == "fused":
        items = [*_fused_items(a, setup), *score_saved_tensors(a, setup)]
        items += expert_saved_tensors(a, setup) if sparse else [_fused_mlp(a, setup)]
    elif setup.kernels == "fused_block":
        items = [_block_norms(a, setup), *attention_saved_tensors(a, setup)]
        items += expert_saved_tensors(a, setup) if sparse else [_block_mlp(a, setup)]
    else:
        items = [_norms(a, setup), *_inputs(a, setup, sparse), *attention_saved_tensors(a, setup)]
        items += expert_saved_tensors(a, setup) if sparse else [_mlp(a, setup)]
    if a.per_layer_input:
        items.append(_per_layer_input(a, setup))
    if setup.adapters:
        items.append(inner_values(setup.adapters))
    if setup.dropout and (not a.gated or a.dropout):
        noise = setup.noise(setup.compute)
        items.append(
            SavedTensor("masks of two dropouts", f"2·{noise}·h", 2 * noise * a.hidden, True)
        )
    return tuple(item for item in items if item.size)


@lru_cache(maxsize=4096)
def layer_bytes(
    a: Architecture, setup: LayerSetup, sparse: bool = False, whole_ranks: int = 1
) -> float:
    """Return bytes per token that one layer saves; `whole_ranks` GPUs share what is whole."""
    items = layer_saved_tensors(a, setup, sparse)
    return sum(item.size / whole_ranks if item.whole else item.size for item in items)


@lru_cache(maxsize=4096)
def bytes_before_experts(a: Architecture, setup: LayerSetup, whole_ranks: int) -> float:
    """Return the bytes per token that a sparse layer saves up to its router."""
    items = expert_saved_tensors(a, setup)
    after = sum(item.size / whole_ranks if item.whole else item.size for item in items)
    return layer_bytes(a, setup, True, whole_ranks) - after


def last_saved_tensors(a: Architecture, setup: LayerSetup) -> list[SavedTensor]:
    """Return what the last norm saves, of the part of a model that has it."""
    size = norm_bytes(a, setup, a.hidden)
    norm = SavedTensor("last norm", _norm_formula(a, setup, "h"), size, True)
    return [norm] if a.has_head else []


def shared_saved_tensors(
    a: Architecture, setup: LayerSetup, checkpointed: bool, batch: int
) -> list[SavedTensor]:
    """Return saved tensors that all layers read, which live until the first layer's backward."""
    # … or truth values, kept by a checkpoint
    masks = {"flash": 0, "efficient": 0, "sdpa_masked": setup.compute}
    mask = 0 if setup.kernels == "fused" else masks.get(setup.attention, int(checkpointed))
    turned = a.mixer.rope if isinstance(a.mixer, Latent) else a.head_dim
    rotary = 0 if a.positions else 2 * turned * setup.stream // batch
    noise = setup.noise(setup.stream) if a.positions and a.has_embedding else 0
    items = [  # a frozen embedding needs no ids
        SavedTensor("token ids", "8", 0 if setup.adapters or not a.has_embedding else 8),
        SavedTensor("attention mask", f"{mask}·s", mask * setup.seq_len),
        SavedTensor("rotary tables", f"2·{setup.stream}·d / b", rotary),
        SavedTensor("mask of the embedding's dropout", f"{noise}·h", noise * a.hidden, True),
        _all_per_layer_inputs(a, setup),
    ]
    return [item for item in items if item.size]


def _per_layer_input(a: Architecture, setup: LayerSetup) -> SavedTensor:
    """Return what a layer saves for its per-layer embedding: the gate before and after its
    activation function, and the inputs of both matmuls, where these train.
    """
    c, trained = setup.compute, int(not setup.adapters)
    size = (2 + trained) * c * a.per_layer_input + trained * c * a.hidden
    return SavedTensor(
        "gate of the per-layer embedding", f"{2 + trained}·{c}·p + {trained * c}·h", size, True
    )


def _all_per_layer_inputs(a: Architecture, setup: LayerSetup) -> SavedTensor:
    """Return the per-layer inputs of all layers, the input of their norm, and their embedding."""
    c, normalised, trained = setup.compute, 0 if setup.adapters else 4, int(not setup.adapters)
    each = f"L·(p·({c} + {4 + normalised}) + 4) + {trained * c}·h"
    size = a.layers * (a.per_layer_input * (c + 4 + normalised) + 4) + trained * c * a.hidden
    return SavedTensor("per-layer embeddings", each, size if a.per_layer_input else 0, True)


def norm_bytes(a: Architecture, setup: LayerSetup, width: int, rows: int = 1) -> int:
    """Return the bytes per token that one norm over `width` numbers in `rows` groups saves, without
    its output.

    RMSNorm saves its fp32 input, the inverse root (4 bytes per row) and, for the gradient of its
    weight, the normalised values in the compute precision unless the weight multiplies in fp32.
    LayerNorm saves its input, the mean and the inverse deviation.
    """
    stream = setup.stream
    if a.norm == "layer":
        return stream * width + 2 * stream * rows
    if a.norm == "layer_fp32":
        return 4 * width + 8 * rows
    if a.norm == "layer_scaled":  # two differences to the mean, and what the weight multiplies
        return 12 * width + 4 * rows
    normalised = 4 if a.norm == "rms_fp32" else stream
    return (4 + (0 if setup.adapters else normalised)) * width + 4 * rows


def undifferentiated_bytes(a: Architecture, setup: LayerSetup) -> int:
    """Return the bytes per token that the first layer need not save: no gradient flows into a
    frozen embedding, so nothing before the layer's first adapter is differentiated.
    """
    adapters = setup.adapters
    if not adapters or adapters.embedded or a.norm_places == "post":
        return 0
    norm = norm_bytes(a, setup, a.hidden)
    if adapters.qkv or setup.kernels != "eager" or a.mixer or a.experts:
        return norm
    found = norm + sum(item.size for item in attention_saved_tensors(a, setup))
    if adapters.out:  # which reads the output, or a copy of it
        return found - (setup.compute * a.q_width if output_read(setup) else 0)
    if a.norm_places != "pre" or a.parallel_residual:
        return found
    found += norm
    if not adapters.up:
        found += _mlp(a, setup).size - (setup.compute * a.ffn if reads_product(setup) else 0)
    return found


def undifferentiated_weights(a: Architecture, setup: LayerSetup) -> int:
    """Return frozen first-layer weights that are not saved: no gradient flows below them."""
    adapters = setup.adapters
    if not adapters or adapters.embedded or a.norm_places == "post":
        return 0
    found = a.hidden * (a.q_width + 2 * a.kv_width)
    if adapters.qkv or a.mixer or a.experts:
        return found
    found += a.hidden * a.q_width
    if adapters.out:
        return found
    up = (2 if a.gated else 1) * a.hidden * a.ffn
    return found + up + (0 if adapters.up else a.hidden * a.ffn)


def _norm_formula(a: Architecture, setup: LayerSetup, width: str) -> str:
    if a.norm == "layer":
        return f"{setup.stream}·{width} + {2 * setup.stream}"
    if a.norm == "layer_fp32":
        return f"4·{width} + 8"
    normalised = 4 if a.norm == "rms_fp32" else setup.stream
    return f"{4 if setup.adapters else 4 + normalised}·{width} + 4"


def _norms(a: Architecture, setup: LayerSetup) -> SavedTensor:
    count = a.norms or (4 if a.norm_places == "sandwich" else 2)
    total = count * norm_bytes(a, setup, a.hidden)
    formula = f"{count}·({_norm_formula(a, setup, 'h')})"
    if a.parallel_residual and count > 1:  # both norms read, and save, the same tensor
        total -= setup.stream * a.hidden
        formula += f" − {setup.stream}·h"
    if a.qk_norm != "none":
        total += _qk_norm_bytes(a, setup)
        formula += " + norms of q and k"
    return SavedTensor("norms: input and normalised values", formula, total, True)


def _qk_norm_bytes(a: Architecture, setup: LayerSetup) -> int:
    """Return what the norms of queries and keys save, which read 16-bit projections."""
    q_rows, k_rows = (a.heads, a.kv_heads) if a.qk_norm == "head" else (1, 1)
    narrow = setup._replace(stream=setup.compute)
    values = 4 * (a.kv_width + k_rows) if a.v_norm else 0
    both = norm_bytes(a, narrow, a.q_width, q_rows) + norm_bytes(a, narrow, a.kv_width, k_rows)
    return both + values


def _inputs(a: Architecture, setup: LayerSetup, sparse: bool) -> list[SavedTensor]:
    """Return inputs of the q, k, v and of the gate and up projections."""
    if setup.adapters:
        return adapter_inputs(a, setup)
    copies = 1 if a.norms == 1 and not setup.autocast else 2
    if setup.autocast and not a.fused_projections:
        copies = 3 + (2 if a.gated and not sparse else 1)
        if sparse and a.experts and a.experts.shared_ffn:  # gate, up and the gate of the whole
            copies += 3
    size = copies * setup.compute * a.hidden
    return [SavedTensor("inputs of the linear layers", f"{copies}·{setup.compute}·h", size, True)]


def softmax_workspace_point(a: Architecture, setup: LayerSetup) -> tuple[int, int]:
    """Return the bytes per token freed, and added, in the softmax's backward pass of eager
    attention: the MLP and its norm are freed by then.
    """
    freed, added = softmax_workspace(a, setup)
    if setup.kernels == "fused_block":
        return freed + _block_mlp(a, setup).size + _block_norms(a, setup).size // 2, added
    freed += _mlp(a, setup).size + _norms(a, setup).size // 2 + setup.compute * a.hidden
    return freed, added


def _saves(a: Architecture) -> tuple[int, int]:
    saves = _GATED_SAVES if a.gated else _PLAIN_SAVES
    if a.activation not in saves:
        bound = f"known activation functions are {', '.join(saves)}"
        raise PlanError("model.hidden_act", a.activation, bound, "choose a model with one of them")
    return saves[a.activation]


def _mlp(a: Architecture, setup: LayerSetup) -> SavedTensor:
    count, unread = _saves(a)
    count -= 0 if reads_product(setup) else unread
    c = setup.compute
    return SavedTensor("MLP", f"{count}·{c}·f", count * c * a.ffn)


def feed_forward_bytes(a: Architecture, setup: LayerSetup) -> int:
    """Return the bytes per token that the MLP of a fused block saves."""
    return _block_mlp(a, setup).size


def _fused_items(a: Architecture, setup: LayerSetup) -> list[SavedTensor]:
    """Return inputs of the norms and of the linear layers, q, k, v and the attention's output."""
    c, h = setup.compute, a.hidden
    adapters = setup.adapters
    inputs = 2 if adapters is None else int(adapters.qkv > 0) + int(adapters.up > 0)
    read = [SavedTensor("inputs of the linear layers", f"{inputs}·{c}·h", inputs * c * h, True)]
    if adapters and adapters.drops and adapters.library == "peft":  # each copy is a dropped one
        read = adapter_inputs(a, setup)
    qkv, written = qkv_numbers(a, setup)
    return [
        SavedTensor("inputs of the norms", f"2·{setup.stream}·h", 2 * setup.stream * h, True),
        *read,
        SavedTensor("q, k, v and attention output", f"{c}·({written} + q)", c * (qkv + a.q_width)),
    ]


def _fused_mlp(a: Architecture, setup: LayerSetup) -> SavedTensor:
    _saves(a)
    count = (3 if a.gated else 2) - (0 if reads_product(setup) else 1)
    c = setup.compute
    return SavedTensor("MLP", f"{count}·{c}·f", count * c * a.ffn)


def _block_norms(a: Architecture, setup: LayerSetup) -> SavedTensor:
    """Return the saved inputs of the norms and a number a row; their outputs are recomputed."""
    size = 2 * (setup.stream * a.hidden + 4)
    formula = f"2·({setup.stream}·h + 4)"
    if a.qk_norm != "none":
        size += _qk_norm_bytes(a, setup)
        formula += " + norms of q and k"
    return SavedTensor("inputs of the norms", formula, size, True)


def _block_mlp(a: Architecture, setup: LayerSetup) -> SavedTensor:
    """Return saved gate and up; the activation function's output and the product are recomputed."""
    _saves(a)
    count, c = 2 if a.gated else 1, setup.compute
    return SavedTensor("MLP", f"{count}·{c}·f", count * c * a.ffn)


@lru_cache(maxsize=4096)
def selective_layer_bytes(
    a: Architecture, setup: LayerSetup, whole_ranks: int = 1, sparse: bool = False
) -> float:
    """Return the bytes per token that one layer saves under selective checkpointing.

    Eager attention recomputes its scores (Korthikanti et al., section 5). Otherwise every second
    matmul and the attention's output are kept, the policy of torchtitan: q, v, the gate and
    the layer's last matmul, beside the layer's input. Of a `sparse` layer q, v and what is counted
    by `_routed`; grouped matmuls are not counted among them, and recomputed.
    """
    if setup.attention == "eager":
        scores = sum(item.size for item in score_saved_tensors(a, setup))
        return layer_bytes(a, setup, sparse, whole_ranks) - scores
    q, k, c = a.q_width, a.kv_width, setup.compute
    if sparse:
        numbers = q + k + q + _routed(a)
        return c * numbers + 4 * a.heads + setup.stream * a.hidden / whole_ranks
    inner = q + 2 * k + (2 if a.gated else 1) * a.ffn if a.fused_projections else q + k + a.ffn
    whole = setup.stream * a.hidden + (0 if a.fused_projections else c * a.hidden)
    return c * (inner + q) + 4 * a.heads + whole / whole_ranks


@lru_cache(maxsize=4096)
def overlap_bytes(
    a: Architecture, setup: LayerSetup, kind: str, whole_ranks: int = 1, sparse: bool = False
) -> float:
    """Return the bytes per token that checkpointing of this `kind` saved and recomputation does not
    store again.
    """
    if kind == "selective" and setup.attention == "eager":
        return selective_layer_bytes(a, setup, whole_ranks, sparse)
    entrance = setup.stream * a.hidden / whole_ranks if keeps_input(a, setup) else 0
    if kind == "full":
        return entrance
    q, k, c = a.q_width, a.kv_width, setup.compute
    if sparse:  # the experts' matmuls are recomputed, the router's scores are saved as they are
        return entrance + c * (q + k + q + _routed(a)) + 4 * a.heads
    products = q + k + a.ffn  # q is gone; v and the gate are saved as they are
    if a.fused_projections:
        products = q + 2 * k + (2 if a.gated else 1) * a.ffn
    numbers, _ = qkv_numbers(a, setup)
    if not a.fused_projections and numbers == 3 * q != q + 2 * k:
        products -= k  # copies for every head are saved instead
    return entrance + c * (products + q) + 4 * a.heads


def _routed(a: Architecture) -> int:
    """Return the numbers a token of every second matmul from the fifth on, the order of
    transformers: the router's scores; with a shared expert its gate, its last matmul and the gate
    of the whole.
    """
    experts = a.experts
    assert experts is not None
    if experts.shared_ffn:
        return experts.shared_ffn + a.hidden + 1
    return experts.count


def keeps_input(a: Architecture, setup: LayerSetup) -> bool:
    """Return whether a layer's first operation saves its input itself, not a wider copy."""
    if setup.kernels != "eager":
        return True
    if a.norm_places == "post":
        return not setup.autocast
    return a.norm == "layer" or setup.stream == 4

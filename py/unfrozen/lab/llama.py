"""A Llama in numpy, forward and backward by hand.

    ids ─embedding─▶ x ─┬▶ norm ─▶ q k v ─▶ attention ─▶ o ─(+)─┬▶ norm ─▶ gate, up ─▶ down ─(+)─▶ …
                        └──────────────────────────────────────┘└──────────────────────────────┘
    … ─norm─▶ embeddingᵀ (tied), or the head ─▶ logits ─▶ cross-entropy over the answer's tokens

The equations are those of transformers' LlamaForCausalLM, the tensors' names too, so that weights
are read from any such model's file. What the forward pass keeps for the backward pass is what the
runner's fused blocks keep (`gpu_runner.model.fused_blocks`), and `unfrozen.memory` predicts both.
Norm: Zhang & Sennrich, arXiv 1910.07467. Rotary positions: Su et al., arXiv 2104.09864. Gated
feed-forward part: Shazeer, arXiv 2002.05202. Tests hold loss and gradients against PyTorch's.

Shapes: T tokens of all documents, h width, H heads, K kv heads, d width of a head, f ffn, V
vocabulary, P positions that predict a trained token. `by_x` is the gradient of the loss by x.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unfrozen.errors import PlanError
from unfrozen.lab.operations import (
    Floats,
    Places,
    Tables,
    attend,
    attend_backward,
    cross_entropy,
    inverse_rms,
    matmul,
    norm,
    norm_backward,
    places_by_length,
    rotate,
    silu_backward,
    silu_product,
)
from unfrozen.memory.loss import LINEAR_CHUNK
from unfrozen.model import Architecture

Weights = dict[str, Floats]
Ids = NDArray[np.int64]
EMBEDDING: Final = "model.embed_tokens.weight"
LAST_NORM: Final = "model.norm.weight"


class Documents(NamedTuple):
    """Rows one after the other, without padding; the first token of a row is never predicted."""

    ids: Ids  # (T,)
    positions: Ids  # (T,) place of each token in its own document
    places: list[Places]  # see attention
    predicting: Ids  # (P,) positions whose next token is trained
    targets: Ids  # (P,) those tokens

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]], trained: Sequence[Sequence[bool]]) -> Documents:
        """Pack rows of token ids; `trained` says of each token whether it is learned."""
        lengths = [len(row) for row in rows]
        ids = np.concatenate([np.asarray(row, np.int64) for row in rows])
        flags = np.concatenate([np.asarray(flags, bool) for flags in trained])
        positions = np.concatenate([np.arange(length) for length in lengths])
        answers = np.flatnonzero(flags & (positions > 0))
        return cls(ids, positions, places_by_length(lengths), answers - 1, ids[answers])


class Layer(NamedTuple):
    """One layer's weights, or their gradients."""

    norm: Floats  # (h,)
    q: Floats  # (H·d, h)
    k: Floats  # (K·d, h)
    v: Floats  # (K·d, h)
    o: Floats  # (h, H·d)
    middle_norm: Floats  # (h,)
    gate: Floats  # (f, h)
    up: Floats  # (f, h)
    down: Floats  # (h, f)

    @classmethod
    def of(cls, weights: Mapping[str, Floats], index: int) -> Layer:
        """Return the weights of layer `index`."""
        return cls(*(weights[name] for name in layer_names(index)))


_NAMES: Final = (
    "input_layernorm",
    *(f"self_attn.{letter}_proj" for letter in "qkvo"),
    "post_attention_layernorm",
    *(f"mlp.{kind}_proj" for kind in ("gate", "up", "down")),
)


def layer_names(index: int) -> list[str]:
    """Return the names of a layer's tensors, in the order of `Layer`."""
    return [f"model.layers.{index}.{name}.weight" for name in _NAMES]


class SavedTensors(NamedTuple):
    """What one layer saves for its backward pass."""

    x: Floats  # (T, h) input of the first norm
    root: Floats  # (T, 1)
    q: Floats  # (T, H, d) rotated
    k: Floats  # (T, K, d) rotated
    v: Floats  # (T, K, d)
    out: Floats  # (T, H, d) of attention
    logs: Floats  # (T, H)
    middle: Floats  # (T, h) input of the second norm
    middle_root: Floats  # (T, 1)
    gate: Floats  # (T, f)
    up: Floats  # (T, f)


class NullMeter:
    """A meter that measures nothing; `lab.memory` has one that does."""

    def phase(self, name: str) -> AbstractContextManager[None]:
        """Return a context that measures nothing."""
        del name
        return nullcontext()

    def record_peak(self, **components: int) -> None:
        """Nothing."""


@dataclass(frozen=True)
class Llama:
    """A model of this shape; its weights are given to each call, by name.

    Raises PlanError where the architecture is not a plain Llama's.
    """

    shape: Architecture
    theta: float = 10_000.0
    epsilon: float = 1e-6

    def __post_init__(self) -> None:
        kind = self.shape.model_type
        if kind != "llama" or not self.shape.has_fused_block or self.shape.has_bias("self_attn."):
            raise PlanError("model_type", kind, "the lab knows plain Llamas", "use the runner")

    def head(self, weights: Weights) -> tuple[str, Floats]:
        """Return the name of the head and its weights (V, h); a tied one is the embedding."""
        name = EMBEDDING if self.shape.tied else "lm_head.weight"
        return name, weights[name]

    def tables(self, positions: Ids) -> Tables:
        """Return the angles of these positions."""
        return Tables.at(positions, self.shape.head_dim, self.theta)

    # --- forward --------------------------------------------------------------------------------
    def loss(
        self, weights: Weights, documents: Documents, hits: NDArray[np.bool_] | None = None
    ) -> float:
        """Return the sum of −log p(token | before) over the P trained tokens, in nats.

        Fills `hits` (P,) with whether each is the likeliest token.
        """
        tables, x = self.tables(documents.positions), weights[EMBEDDING][documents.ids]
        for index in range(self.shape.layers):
            x, _ = self._layer(Layer.of(weights, index), x, tables, documents)
        x = x[documents.predicting]  # (P, h)
        n = norm(x, inverse_rms(x, self.epsilon), weights[LAST_NORM])
        return cross_entropy(n, self.head(weights)[1], documents.targets, hits=hits)

    def _layer(
        self, w: Layer, x: Floats, tables: Tables, documents: Documents
    ) -> tuple[Floats, SavedTensors]:
        heads = len(x), -1, self.shape.head_dim
        root = inverse_rms(x, self.epsilon)
        n = norm(x, root, w.norm)
        q = rotate(matmul(n, w.q.T).reshape(heads), tables)
        k = rotate(matmul(n, w.k.T).reshape(heads), tables)
        v = matmul(n, w.v.T).reshape(heads)
        del n
        out, logs = attend(q, k, v, documents.places)
        middle = matmul(out.reshape(len(x), -1), w.o.T)
        middle += x
        middle_root = inverse_rms(middle, self.epsilon)
        n = norm(middle, middle_root, w.middle_norm)
        gate, up = matmul(n, w.gate.T), matmul(n, w.up.T)
        del n
        result = matmul(silu_product(gate, up), w.down.T)
        result += middle
        return result, SavedTensors(x, root, q, k, v, out, logs, middle, middle_root, gate, up)

    # --- and backward ---------------------------------------------------------------------------
    def gradients(
        self, weights: Weights, documents: Documents, meter: NullMeter | None = None
    ) -> tuple[float, Weights]:
        """Return the mean loss over the trained tokens, and its gradient by every weight."""
        meter, found = meter or NullMeter(), dict[str, Floats]()
        tables = self.tables(documents.positions)
        with meter.phase("forward"):
            loss, by_x, saved = self._forward(weights, documents, tables, found, meter)
        with meter.phase("backward"):
            for index in reversed(range(self.shape.layers)):
                layer = Layer.of(weights, index)
                meter.record_peak(
                    grads=_bytes(*found.values(), layer.gate, layer.up, layer.down),
                    workspace=2 * _bytes(by_x, saved[-1].gate),  # gradients by both ends and inside
                )
                by_x, gradients = self._layer_backward(layer, by_x, saved.pop(), tables, documents)
                found |= dict(zip(layer_names(index), gradients, strict=True))
            by_embedding = found.setdefault(EMBEDDING, np.zeros_like(weights[EMBEDDING]))
            for token, slope in zip(documents.ids, by_x, strict=True):
                by_embedding[token] += slope  # a token that occurs twice adds up, as does the head
            del by_x, slope, tables
        return loss, found

    def _forward(
        self,
        weights: Weights,
        documents: Documents,
        tables: Tables,
        found: Weights,
        meter: NullMeter,
    ) -> tuple[float, Floats, list[SavedTensors]]:
        """Return the loss, the gradient by the last layer's output, and saved tensors."""
        x, saved = weights[EMBEDDING][documents.ids], []
        for index in range(self.shape.layers):
            x, of_layer = self._layer(Layer.of(weights, index), x, tables, documents)
            saved.append(of_layer)
        (name, head), gain = self.head(weights), weights[LAST_NORM]
        root = inverse_rms(x, self.epsilon)
        unit = x * root  # (T, h)
        whole = unit * gain
        n = whole[documents.predicting]  # (P, h)
        by_n, by_head = np.empty_like(n), np.empty_like(head)
        logits = head.itemsize * min(len(n), LINEAR_CHUNK) * len(head)
        meter.record_peak(grads=by_head.nbytes, logits_loss=logits + _bytes(whole, by_n))
        share = np.float32(1 / len(documents.targets))
        total = cross_entropy(n, head, documents.targets, by_n, by_head)
        del whole
        by_head *= share
        by_x = np.zeros_like(x)
        by_x[documents.predicting] = by_n * share
        found[name] = by_head
        found[LAST_NORM] = norm_backward(by_x, unit, root, gain)
        return total * float(share), by_x, saved

    def _layer_backward(
        self, w: Layer, by_result: Floats, saved: SavedTensors, tables: Tables, documents: Documents
    ) -> tuple[Floats, Layer]:
        """Return gradients by the layer's input (T, h) and weights, from that by its output."""
        # what reads result: it is middle + down(silu(gate) · up) …
        d_down = matmul(by_result.T, silu_product(saved.gate, saved.up))
        by_gate, by_up = silu_backward(matmul(by_result, w.down), saved.gate, saved.up)
        n = norm(saved.middle, saved.middle_root, w.middle_norm)
        d_gate, d_up = matmul(by_gate.T, n), matmul(by_up.T, n)
        del n
        by_n = matmul(by_up, w.up)
        by_n += matmul(by_gate, w.gate)
        del by_gate, by_up
        unit = saved.middle * saved.middle_root
        d_middle_norm = norm_backward(by_n, unit, saved.middle_root, w.middle_norm)
        del unit
        by_result += by_n  # now by_middle
        # the same for middle, which is x + o(attention(q, k, v)) …
        rows = len(by_result)
        d_o = matmul(by_result.T, saved.out.reshape(rows, -1))
        by_out = matmul(by_result, w.o).reshape(saved.out.shape)
        by_q, by_k, by_v = attend_backward(
            by_out, saved.q, saved.k, saved.v, saved.out, saved.logs, documents.places
        )
        del by_out
        # … and for q, k, v, which are products of norm(x), the first two rotated
        slopes = [
            slope.reshape(rows, -1)
            for slope in (rotate(by_q, tables.back()), rotate(by_k, tables.back()), by_v)
        ]
        n = norm(saved.x, saved.root, w.norm)
        d_q, d_k, d_v = (matmul(slope.T, n) for slope in slopes)
        by_n.fill(0)
        for slope, weight in zip(slopes, (w.q, w.k, w.v), strict=True):
            by_n += matmul(slope, weight)
        np.multiply(saved.x, saved.root, out=n)
        d_norm = norm_backward(by_n, n, saved.root, w.norm)
        by_result += by_n  # now by_x
        return by_result, Layer(d_norm, d_q, d_k, d_v, d_o, d_middle_norm, d_gate, d_up, d_down)


def _bytes(*arrays: Floats) -> int:
    return sum(array.nbytes for array in arrays)

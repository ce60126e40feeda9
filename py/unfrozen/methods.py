"""What full fine-tuning, LoRA and QLoRA hold, in the classic terms: the chart of chapter 2.

States follow the 16 bytes of mixed-precision AdamW for every parameter that trains; activations are
the rule of thumb s·b·d·L·12 at s = 2048, b = 1. LoRA trains two thin matrices beside every linear
layer, rank · (in + out) parameters each (Hu et al., arXiv 2106.09685); QLoRA stores the frozen
linear layers in 4-bit NormalFloat with doubly quantised scales (Dettmers et al., arXiv 2305.14314,
section 3). Totals quoted elsewhere are kept beside ours, with the reason for each difference.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from unfrozen.catalogue import CATALOGUE
from unfrozen.memory.classic import activation_bytes, states_bytes
from unfrozen.model import ModelConfig
from unfrozen.publish import Line, Plot, Threshold
from unfrozen.units import gb

SEQ_LEN: Final = 2048
RANK: Final = 16
NF4_BYTES: Final = (4 + 8 / 64 + 32 / (64 * 256)) / 8
"""Bytes a weight: 4 bits, an 8-bit scale for 64 weights, an fp32 scale for 256 of those."""

SEVEN_B: Final = "meta-llama/Llama-2-7b-hf"
SEVENTY_B: Final = "meta-llama/Llama-2-70b-hf"
THRESHOLDS: Final = (
    Threshold("RTX 4090", 24),
    Threshold("RTX A6000", 48),
    Threshold("A100 80 GB", 80),
)


@dataclass(frozen=True, slots=True)
class Method:
    """One bar of the chart, in bytes, and the total that is usually quoted for it."""

    label: str
    weights: int
    gradients: int
    optimizer: int
    activations: int
    quoted_gb: float
    reason: str

    @property
    def total(self) -> int:
        """All parts together."""
        return self.weights + self.gradients + self.optimizer + self.activations


def lora_parameters(model: ModelConfig, rank: int = RANK) -> int:
    """Parameters of adapters beside every linear layer: Σ rank · (in + out)."""
    layer = [t for t in model.tensors if ".layers.0." in t.name and len(t.shape) == 2]
    return model.architecture.layers * sum(rank * sum(tensor.shape) for tensor in layer)


def nf4_weight_bytes(model: ModelConfig) -> int:
    """Frozen weights with 4-bit linear layers; embeddings, head and norms stay in 16 bits."""
    linear = model.architecture.layers * model.layer_matrices
    return round(NF4_BYTES * linear) + 2 * (model.num_parameters - linear)


def full(hub_id: str = SEVEN_B) -> Method:
    """Every parameter trains: 16 bytes each."""
    model = CATALOGUE[hub_id].model
    states, kept = states_bytes(model.num_parameters), _activations(model)
    reason = (
        "The quoted figure is 16 bytes for a round 7 billion parameters, without activations;"
        f" the model has {model.num_parameters:,}, {gb(sum(states.values())):.1f} GB of states,"
        f" and keeps about {gb(kept):.1f} GB of activations."
    )
    optimizer = states["master"] + states["moments"]
    return Method(
        "Full 7B", states["params"], states["grads"], optimizer, kept, gb(16 * 7e9), reason
    )


def lora(hub_id: str = SEVEN_B) -> Method:
    """16-bit frozen weights; only the adapters have gradients and optimizer state."""
    model = CATALOGUE[hub_id].model
    method = _adapted(model, "LoRA 7B", 2 * model.num_parameters, 28.0)
    left = 28.0 - gb(method.total - method.activations)
    batch = round(left / gb(method.activations))
    reason = (
        f"The quoted figure is about twice the 16-bit weights. Ours counts one sequence; what is"
        f" left of 28 GB, {left:.1f} GB, holds the activations of about {batch}."
    )
    return replace(method, reason=reason)


def qlora(hub_id: str, label: str, quoted_gb: float) -> Method:
    """4-bit frozen weights, 16-bit adapters."""
    model = CATALOGUE[hub_id].model
    method = _adapted(model, label, nf4_weight_bytes(model), quoted_gb)
    a = model.architecture
    recomputed = 2 * SEQ_LEN * a.hidden * a.layers  # inputs of the layers, 16 bits
    other = gb(method.total - method.activations + recomputed)
    gap = gb(method.total) - quoted_gb
    if gap > 0:
        reason = (
            f"The quoted figure holds only if layers are recomputed in the backward pass: keeping"
            f" only their inputs needs {gb(recomputed):.1f} GB instead of"
            f" {gb(method.activations):.1f}, {other:.1f} GB in all before the working memory."
        )
    else:
        reason = (
            f"The quoted figure leaves {-gap:.1f} GB for what ours does not count: 16-bit copies"
            " of the weights in use, logits, and what the allocator reserves."
        )
    return replace(method, reason=reason)


def methods() -> list[Method]:
    """The four bars of the chart."""
    return [
        full(),
        lora(),
        qlora(SEVEN_B, "QLoRA 7B", 10.0),
        qlora(SEVENTY_B, "QLoRA 70B", 46.0),
    ]


def chart() -> Plot:
    """The stacked bars with the cards they fit, in decimal gigabytes."""
    bars = methods()
    parts = ("weights", "gradients", "optimizer", "activations")
    return Plot(
        title="Memory by method",
        x_label="Method",
        y_label="Memory",
        x_data=tuple(bar.label for bar in bars),
        lines=tuple(
            Line(part.capitalize(), tuple(round(gb(getattr(bar, part)), 2) for bar in bars))
            for part in parts
        ),
        type="stacked_bar",
        thresholds=THRESHOLDS,
        y_unit="GB",
    )


def _activations(model: ModelConfig) -> int:
    a = model.architecture
    return activation_bytes(SEQ_LEN, 1, a.hidden, a.layers)


def _adapted(model: ModelConfig, label: str, frozen_bytes: int, quoted_gb: float) -> Method:
    states = states_bytes(lora_parameters(model))
    optimizer = states["master"] + states["moments"]
    weights = frozen_bytes + states["params"]
    return Method(label, weights, states["grads"], optimizer, _activations(model), quoted_gb, "")

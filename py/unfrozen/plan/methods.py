"""The memory of full fine-tuning, LoRA and QLoRA on a GPU: the chart of chapter 2.

Every bar is a plan of `unfrozen.plan` at its peak, for one sequence of 2048 tokens and
FlashAttention: mixed-precision AdamW for what trains, adapters of rank 16 beside every linear layer
(Hu et al., arXiv 2106.09685); under QLoRA 4-bit NormalFloat with doubly quantized scales (Dettmers
et al., arXiv 2305.14314). Totals quoted elsewhere are kept beside ours; the chapter says why they
differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan import Plan, plan
from unfrozen.publish import Line, Plot, Threshold
from unfrozen.units import gb

SEQ_LEN: Final = 2048
RANK: Final = 16
SEVEN_B: Final = "meta-llama/Llama-2-7b-hf"
SEVENTY_B: Final = "meta-llama/Llama-2-70b-hf"
THRESHOLDS: Final = (
    Threshold("RTX 4090", 24),
    Threshold("RTX A6000", 48),
    Threshold("A100 80 GB", 80),
)
PARTS: Final = {
    "weights": ("params", "quant_constants", "adapters"),
    "gradients": ("grads",),
    "optimizer": ("master", "moments"),
    "activations": ("activations", "logits_loss"),
}
"""The parts of a bar and the components they gather; what is left is `other`."""

_LORA: Final[dict[str, object]] = {
    "method": "lora",
    "lora": {"rank": RANK, "dtype": "bf16", "library": "peft"},
}
_QLORA: Final = _LORA | {"method": "qlora", "base": "nf4-dq"}
_AGAIN: Final[dict[str, object]] = {"checkpointing": "full"}
_BARS: Final[tuple[tuple[str, str, dict[str, object], float], ...]] = (
    ("Full 7B", SEVEN_B, {}, 112.0),
    ("LoRA 7B", SEVEN_B, _LORA, 28.0),
    ("QLoRA 7B", SEVEN_B, _QLORA, 10.0),
    ("QLoRA 70B", SEVENTY_B, _QLORA, 46.0),
)
"""Label, model, recipe, and the total that is usually quoted, in decimal gigabytes."""


@dataclass(frozen=True, slots=True)
class MethodMemory:
    """One bar of the chart, in bytes, and the total that is usually quoted for it.

    `other` is working memory, what the allocator holds in reserve and the context of the driver.
    """

    label: str
    weights: int
    gradients: int
    optimizer: int
    activations: int
    other: int
    quoted_gb: float

    @property
    def total(self) -> int:
        """What the GPU has to hold."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.other


def planned(hub_id: str, recipe: dict[str, object]) -> Plan:
    """Return the plan behind a bar."""
    fixed = {"seq_len": SEQ_LEN, "attention": "flash"}
    return plan({"model": CATALOGUE[hub_id].config, "recipe": fixed | recipe})


def methods(*, recomputed: bool = False) -> list[MethodMemory]:
    """Return the four bars, with activations saved or layers recomputed."""
    setting = _AGAIN if recomputed else {}
    return [
        _method(label, planned(hub_id, recipe | setting), quoted_gb)
        for label, hub_id, recipe, quoted_gb in _BARS
    ]


def _method(label: str, found: Plan, quoted_gb: float) -> MethodMemory:
    components = found.instants[found.peak_instant]
    parts = {name: sum(components.get(key, 0) for key in keys) for name, keys in PARTS.items()}
    other = found.device_bytes - sum(parts.values())
    return MethodMemory(label, **parts, other=other, quoted_gb=quoted_gb)


def chart() -> Plot:
    """Return the stacked bars with the GPUs they fit, in decimal gigabytes."""
    bars = methods()
    return Plot(
        title="Memory by method, activations saved",
        x_label="Method",
        y_label="Memory",
        x_data=tuple(bar.label for bar in bars),
        lines=tuple(
            Line(part.capitalize(), tuple(round(gb(getattr(bar, part)), 3) for bar in bars))
            for part in (*PARTS, "other")
        ),
        type="stacked_bar",
        thresholds=THRESHOLDS,
        y_unit="GB",
    )

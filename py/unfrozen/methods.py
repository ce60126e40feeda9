"""What full fine-tuning, LoRA and QLoRA take on a card: the chart of chapter 2.

Every bar is a plan of `unfrozen.plan` at its peak, for one sequence of 2048 tokens and
FlashAttention: mixed-precision AdamW for what trains, adapters of rank 16 beside every linear layer
(Hu et al., arXiv 2106.09685); under QLoRA 4-bit NormalFloat with doubly quantised scales, and
layers recomputed in the backward pass (Dettmers et al., arXiv 2305.14314). Totals quoted elsewhere
are kept beside ours, with the reason for each difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from unfrozen.catalogue import CATALOGUE
from unfrozen.plan import Plan, plan
from unfrozen.publish import Line, Plot, Threshold
from unfrozen.units import GB, gb

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
_QLORA: Final = _LORA | {"method": "qlora", "base": "nf4-dq", "checkpointing": "full"}


@dataclass(frozen=True, slots=True)
class Method:
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
    reason: str

    @property
    def total(self) -> int:
        """What the card has to hold."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.other


def planned(hub_id: str, recipe: dict[str, object]) -> Plan:
    """The plan behind a bar."""
    fixed = {"seq_len": SEQ_LEN, "attention": "flash"}
    return plan({"model": CATALOGUE[hub_id].config, "recipe": fixed | recipe})


def methods() -> list[Method]:
    """The four bars of the chart."""
    seven = CATALOGUE[SEVEN_B].num_parameters
    full = planned(SEVEN_B, {})
    return [
        _method(
            "Full 7B",
            full,
            112.0,
            "The quoted figure is 16 bytes for a round 7 billion parameters. The model has"
            f" {seven:,}, which takes {gb(16 * seven):.1f} GB; the driver and the allocator's"
            " reserve make up for the rest.",
        ),
        _method(
            "LoRA 7B",
            planned(SEVEN_B, _LORA),
            28.0,
            "The quoted figure is about twice the 16-bit weights. So is ours, and the second half"
            " is activations: frozen weights need no gradients, but gradients pass through them.",
        ),
        _method("QLoRA 7B", planned(SEVEN_B, _QLORA), 10.0, _room_words(10.0)),
        _method(
            "QLoRA 70B",
            planned(SEVENTY_B, _QLORA),
            46.0,
            f"Ours counts adapters of rank {RANK}; of rank 64, as in the paper, it is"
            f" {gb(_rank_64().device_bytes):.1f} GB.",
        ),
    ]


def _room_words(quoted_gb: float) -> str:
    """How many sequences fit into the quoted figure."""
    batch = 1
    while planned(SEVEN_B, _QLORA | {"micro_batch": batch + 1}).device_bytes <= quoted_gb * GB:
        batch += 1
    return f"The quoted figure has room for {batch} sequences of {SEQ_LEN} tokens, ours counts one."


def _rank_64() -> Plan:
    lora = {"rank": 64, "dtype": "bf16", "library": "peft"}
    return planned(SEVENTY_B, _QLORA | {"lora": lora})


def _method(label: str, found: Plan, quoted_gb: float, reason: str) -> Method:
    components = found.instants[found.peak_instant]
    parts = {name: sum(components.get(key, 0) for key in keys) for name, keys in PARTS.items()}
    other = found.device_bytes - sum(parts.values())
    return Method(label, **parts, other=other, quoted_gb=quoted_gb, reason=reason)


def chart() -> Plot:
    """The stacked bars with the cards they fit, in decimal gigabytes."""
    bars = methods()
    return Plot(
        title="Memory by method",
        x_label="Method",
        y_label="Memory",
        x_data=tuple(bar.label for bar in bars),
        lines=tuple(
            Line(part.capitalize(), tuple(round(gb(getattr(bar, part)), 2) for bar in bars))
            for part in (*PARTS, "other")
        ),
        type="stacked_bar",
        thresholds=THRESHOLDS,
        y_unit="GB",
    )

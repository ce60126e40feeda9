"""What cards were measured to reach: products that last, memory, attention, collectives.

A data sheet says what a card could do at its highest clock. A training step lasts, so its products
run at the clock that the power limit leaves: those of B200 at half the sheet. Every figure is a
microbenchmark that somebody published, and names its source; no training run went into it. Cards
that nobody measured take the share of the nearest one of their kind, and say so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from unfrozen.hardware.boards import board, low_bits_gain, peak_tflops
from unfrozen.hardware.gpus import Gpu

SOURCES: Final = {
    "mamf": "stas00/ml-engineering compute/accelerator @744d01e: best product of any shape",
    "simumax-a100": "MooreThreads/SimuMax configs/system/a100_pcie.json @4dcaae5: 183 products,"
    " attention of one sequence of 4,096, and collectives over PCIe",
    "simumax-b200": "MooreThreads/SimuMax configs/system/b200_bf16_ceperm.json @4dcaae5: 514"
    " products, attention by cuDNN, memory-bound kernels, collectives over NVLink",
    "semianalysis": "SemiAnalysis, MI300X vs H100 vs H200, part 1 (December 2024): products of the"
    " shapes of a Llama 70B, in bf16 720 and fp8 1,280 TFLOP/s on H100 and H200, 620 and 990 on"
    " MI300X",
    "fa3": "Shah et al., FlashAttention-3, arXiv 2407.08608, figures 5 and 6: H100, causal and not",
    "fa2": "Dao, FlashAttention-2, arXiv 2307.08691, section 4.1: the first version reaches 30 to"
    " 50% of an A100 forward and 25 to 35% backward, where the second has up to 73 and 63%",
    "tvm": "apache/tvm tl_doc/flash_perf.md: FlashAttention-2 on an RTX 4090, 2,048 positions",
    "hopper-mma": "Luo et al., arXiv 2402.13499: Ampere's matrix instructions reach 63% of the peak"
    " of an H100; only its own, asynchronous ones reach more",
    "a100-paper": "NVIDIA A100 white paper, and those of its successors: multiprocessors of a card",
}
"""Where each figure was read."""

BANDWIDTH_SHARE: Final = 0.75
"""Of a data sheet's bandwidth, what the memory-bound kernels of a training step reach: 0.91 of
1,600 GB/s where the sheet of an A100 says 1,935 (simumax-a100); of a B200, 0.67 (simumax-b200)."""
SUSTAINED_SHARE: Final = 0.92
"""Assumed of the best product where nobody measured those that last: simumax-a100 has 0.745 of the
peak where the best is 0.81 (mamf); the H100 and the MI300X keep 0.91 and 0.93 of theirs."""
UNMEASURED_SHARE: Final = 0.8
"""Assumed share of the peak for the best product of a card nobody measured; those that somebody did
reach 0.73 to 0.87 of it by NVIDIA's cards and 0.51 to 0.63 by AMD's."""
FP8_GAIN: Final = 1.78
"""Products in fp8 over those in bf16 on an H100: 1,280 / 720 (semianalysis); on a card without a
figure of its own this is assumed."""
ATTENTION_SHARE: Final = (0.68, 0.58)
"""Assumed share of the best product for FlashAttention-2, forward and backward, where nobody
measured it: 185 and 156 of the 271 TFLOP/s of an A100 (simumax-a100, mamf)."""


SLOWEST: Final = 1.04
"""A step of many cards waits for the slowest of them: cards of one kind differ by 8%, whisker to
whisker, so that the last is 4% behind the median (Sinha et al., Not All GPUs Are Created Equal,
SC22, arXiv 2208.11035)."""


@dataclass(frozen=True, slots=True)
class Reached:
    """Measured rates of a card.

    multiprocessors  over which the tiles of a product are dealt out
    products         TFLOP/s of 16-bit products that last; None: `SUSTAINED_SHARE` of the best
    fp8              TFLOP/s of those in fp8; None: `FP8_GAIN` times the others
    bandwidth_share  of the data sheet's bandwidth
    attention        TFLOP/s forward and backward of FlashAttention-2, causal, heads of 128, 4,096
                     positions, half of the scores counted; None: `ATTENTION_SHARE`
    newest           the same of the fastest kernels for this card: cuDNN, FlashAttention-3
    link_share       of its links, what a collective among the cards of a machine reaches
    """

    multiprocessors: int
    products: float | None = None
    fp8: float | None = None
    bandwidth_share: float = BANDWIDTH_SHARE
    attention: tuple[float, float] | None = None
    newest: tuple[float, float] | None = None
    link_share: float | None = None
    sources: tuple[str, ...] = ("mamf",)


def _blackwell(watts: int) -> Reached:
    """A B200 whose board may draw so much. Its products wait for power, not for the units: 1,098
    TFLOP/s at 1,000 W (simumax-b200), assumed to grow with the limit, and to double in fp8, where
    each takes half the energy. Shares of attention count all scores of a causal mask in the source
    and half of them here. FlashAttention-2 runs on Ampere's instructions, 148 units at 1.9 GHz.
    """
    products = 1098.0 * watts / 1000
    return Reached(
        multiprocessors=148,
        products=products,
        fp8=2 * products,
        bandwidth_share=0.67,
        attention=(400.0, 340.0),
        newest=(980.0, 820.0),
        link_share=0.67,
        sources=("simumax-b200", "hopper-mma"),
    )


_H100: Final = Reached(
    132,
    products=720.0,
    fp8=1280.0,
    attention=(319.0, 269.0),
    newest=(518.0, 424.0),
    sources=("semianalysis", "fa3"),
)
REACHED: Final[dict[str, Reached]] = {
    "RTX 3090": Reached(82),
    "RTX 4090": Reached(128, attention=(151.0, 99.0), sources=("tvm",)),
    "RTX 5090": Reached(170),
    "RTX A6000": Reached(84),
    "RTX PRO 6000 Blackwell": Reached(188),
    "L4": Reached(58),
    "L40S": Reached(142),
    "A10G": Reached(80),
    "A10": Reached(72),
    "T4": Reached(40),
    "V100 SXM 32GB": Reached(80),
    "V100 SXM 16GB": Reached(80),
    "A100 40GB": Reached(108, attention=(185.0, 156.0), sources=("mamf", "simumax-a100")),
    "A100 80GB SXM": Reached(108, attention=(185.0, 156.0), sources=("mamf", "simumax-a100")),
    "A100 80GB PCIe": Reached(108, 232.0, attention=(185.0, 156.0), sources=("simumax-a100",)),
    "H100 SXM": _H100,
    "H100 PCIe": Reached(114),
    "H100 NVL": Reached(132),
    "H200": _H100,
    "H20": Reached(78),
    "B200": _blackwell(1000),
    "GB200": _blackwell(1200),
    "B300": _blackwell(1100),
    "GB300": _blackwell(1400),
    "MI300X": Reached(304, 620.0, 990.0, sources=("semianalysis",)),
    "MI325X": Reached(304),
    "MI350X": Reached(256),
    "MI355X": Reached(256),
    "MI250X": Reached(110),
}
"""Measured rates by the card's name."""
_UNKNOWN: Final = Reached(108)


def reached(gpu: Gpu) -> Reached:
    """The measured rates of a card; of one that the table lacks, nothing but assumed shares."""
    return REACHED.get(gpu.name, _UNKNOWN)


def reached_sources(gpu: Gpu) -> list[str]:
    """Who measured a card."""
    return [SOURCES[key] for key in reached(gpu).sources]


def best_tflops(gpu: Gpu) -> float:
    """TFLOP/s of the best 16-bit product anyone measured, or the assumed share of the peak."""
    return gpu.matmul_tflops or UNMEASURED_SHARE * peak_tflops(gpu, "bf16")


def product_tflops(gpu: Gpu, precision: str) -> float:
    """TFLOP/s of large products that last, in a precision of `unfrozen.job.choices`."""
    if precision == "fp32":
        return SUSTAINED_SHARE * board(gpu).fp32_tflops
    found = reached(gpu)
    half = found.products or SUSTAINED_SHARE * best_tflops(gpu)
    gain = low_bits_gain(gpu, precision)
    if gain > 1:
        return (found.fp8 or FP8_GAIN * half) * gain / 2
    return half


def slowest(cards: int) -> float:
    """How much longer the slowest of so many cards takes than the median one."""
    return 1 + (SLOWEST - 1) * (cards - 1) / cards


def memory_bytes_per_second(gpu: Gpu) -> float:
    """What kernels that only read and write move."""
    return reached(gpu).bandwidth_share * gpu.bandwidth_gb_s * 1e9

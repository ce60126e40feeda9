"""What a card draws, how fast it is outside 16-bit matrices, and how fast it talks to others.

Read off the vendors' public data sheets in November 2025. Power is the board's limit, which a
training step comes close to; it is what energy is computed from. `link_gb_s` is one direction of
NVLink or Infinity Fabric, all links of a card together; None stands for a card that talks through
its host. fp32 is that of plain fp32 units, PyTorch's default: TF32 is off unless asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from unfrozen.gpus import Gpu

SOURCES: Final = (
    "NVIDIA data sheets: RTX 3090/4090/5090, RTX A6000, RTX PRO 6000, L4, L40S, A10, T4, V100,"
    " A100, H100, H200, HGX B200/B300, GB200: board power, fp32, NVLink",
    "AMD data sheets: Instinct MI250X, MI300X, MI325X, MI355X: board power, fp32 vector,"
    " Infinity Fabric; the MI250X figures are halved, for one of its two dies",
)

HOST_LINK_GB_S: Final = 25.0
"""Assumed: PCIe 4.0 with 16 lanes, 31.5 GB/s on paper, one direction."""
HOST_MEMORY_GB_S: Final = 100.0
"""Assumed: what one card's share of the host's processors reads and writes."""
NETWORK_GB_S: Final = 25.0
"""Assumed between machines: one 200 Gb/s adapter a card, one direction."""
NODE_GPUS: Final = 8
"""Assumed: cards of one machine."""


@dataclass(frozen=True, slots=True)
class Board:
    """Watts; dense TFLOP/s of fp32 units and of 16-bit matrices without bf16; GB/s one way."""

    power_watts: int
    fp32_tflops: float
    link_gb_s: float | None = None
    fp16_tflops: float | None = None
    fp8: bool = False


BOARDS: Final[dict[str, Board]] = {
    "RTX 3090": Board(350, 35.6),
    "RTX 4090": Board(450, 82.6, fp8=True),
    "RTX 5090": Board(575, 104.8, fp8=True),
    "RTX A6000": Board(300, 38.7),
    "RTX PRO 6000 Blackwell": Board(600, 125.0, fp8=True),
    "L4": Board(72, 30.3, fp8=True),
    "L40S": Board(350, 91.6, fp8=True),
    "A10G": Board(300, 31.2),
    "T4": Board(70, 8.1, fp16_tflops=65.0),
    "V100 SXM 32GB": Board(300, 15.7, 150.0, fp16_tflops=125.0),
    "V100 SXM 16GB": Board(300, 15.7, 150.0, fp16_tflops=125.0),
    "A100 40GB": Board(400, 19.5, 300.0),
    "A100 80GB SXM": Board(400, 19.5, 300.0),
    "A100 80GB PCIe": Board(300, 19.5),
    "H100 SXM": Board(700, 67.0, 450.0, fp8=True),
    "H100 PCIe": Board(350, 51.0, fp8=True),
    "H100 NVL": Board(400, 60.0, 300.0, fp8=True),
    "H200": Board(700, 67.0, 450.0, fp8=True),
    "B200": Board(1000, 75.0, 900.0, fp8=True),
    "GB200": Board(1200, 80.0, 900.0, fp8=True),
    "B300": Board(1100, 77.0, 900.0, fp8=True),
    "MI300X": Board(750, 163.4, 448.0, fp8=True),
    "MI325X": Board(1000, 163.4, 448.0, fp8=True),
    "MI355X": Board(1400, 157.3, 538.0, fp8=True),
    "MI250X": Board(280, 23.9, 50.0),
}
"""One board for every card of `unfrozen.gpus`."""


def board(gpu: Gpu) -> Board:
    """The board of a card."""
    return BOARDS[gpu.name]


def peak_tflops(gpu: Gpu, precision: str) -> float:
    """Dense TFLOP/s of matrix products in a precision; fp8 is twice bf16 where the card has it."""
    found = board(gpu)
    if precision == "fp32":
        return found.fp32_tflops
    half = gpu.bf16_tflops or found.fp16_tflops or found.fp32_tflops
    return 2 * half if precision == "fp8" and found.fp8 else half

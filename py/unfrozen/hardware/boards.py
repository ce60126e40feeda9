"""What a card draws, how fast it is outside 16-bit matrices, and how fast it talks to others.

Every figure was compared in November 2026 with the sources its board names; they repeat the
vendors' own pages. Power is the board's limit, the most it may draw; energy computed from it is an
upper bound of what the cards take. Links are one direction, all links of a card together: data
sheets print both directions, twice as much. fp32 is that of plain fp32 units, PyTorch's default:
TF32 is off unless asked for. What no source says is called assumed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from unfrozen.hardware.gpus import Gpu

SOURCES: Final = {
    "ml-engineering": "stas00/ml-engineering @744d01e: power, fp32 and links, with vendors' pages",
    "epoch": "Epoch AI, Machine Learning Hardware: power, fp32 and NVLink, from data sheets",
    "blackwell": "NVIDIA Blackwell technical brief 2.1, table 3, HGX column for one card",
    "rtx-blackwell": "NVIDIA RTX Blackwell white paper, and its announcement of the RTX PRO 6000",
    "h100": "NVIDIA H100 specifications: fp32 of the NVL card, NVLink bridge of a pair",
    "a10": "NVIDIA A10 data sheet: 150 W, fp32 31.2",
    "h20": "NVIDIA H20: 400 W, NVLink 900 GB/s (willitrunai.com), fp32 44 (zangshuxian.com)",
    "mi350": "AMD at Hot Chips 2025: 1000 W; fp32 by its clock, 2.2/2.4 of the MI355X' 157.3",
    "a10g": "NVIDIA A10G data sheet for AWS: fp32; power limit as nvidia-smi prints it there",
    "cdna2": "ROCm documentation, MI250 microarchitecture: one link between two dies",
}
"""Where each figure was read, by the keys a board names."""

LINK_SHARE: Final = 0.8
"""Assumed: what a transfer reaches of a link's figure. ml-engineering (network/README.md) measured
0.78 in all-reduces over the NVLink of eight A100, 0.88 between two H200 and over PCIe 5."""
HOST_MEMORY_GB_S: Final = 41.0
"""Assumed: what one card's share of the host's processors reads and writes. Two EPYC 7742 with
eight channels of DDR4-3200 each have 410 GB/s for the eight cards of a DGX A100; a program reaches
`LINK_SHARE` of it."""
NETWORK_GB_S: Final = 25.0
"""Assumed between machines where a board says nothing else: one adapter of 200 Gb/s a card, one
way, which is what A100s have (epoch)."""
_NDR, _XDR = 50.0, 100.0
"""Assumed for cards whose vendor's own machine has one adapter of 400 or 800 Gb/s a card: DGX H100,
H200, B200 and GB200 NVL72; DGX B300 (ml-engineering, network/README.md), GB300 NVL72."""
NODE_GPUS: Final = 8
"""Assumed: cards of one machine, as in the DGX and HGX machines of both sources. A GB200 is the
exception, and a GB300: a tray of their racks is a machine of four."""

_PCIE_3, _PCIE_4, _PCIE_5 = 15.75, 31.5, 63.0
"""16 lanes, GB/s one way (ml-engineering, network/README.md, rounds to 31 and 63)."""
_NVLINK_C2C: Final = 450.0
"""Between Grace and Blackwell; ml-engineering found no specification and a report of this."""


@dataclass(frozen=True, slots=True)
class Board:
    """What `gpus` does not say of a card.

    power_watts   limit of the board
    fp32_tflops   dense, of the fp32 units
    host_gb_s     link to the host, one way
    link_gb_s     link to other cards, one way; None: they talk through the host
    linked        cards that such links join; more talk as if they had none
    network_gb_s  to cards of other machines, one way
    fp16_tflops   of 16-bit matrices on a card without bf16
    fp8           whether it multiplies in fp8, twice as fast as in bf16
    fp4           whether it multiplies in nvfp4, four times as fast
    machine       cards of one machine
    peer_to_peer  whether cards without links read each other's memory over PCIe; NVIDIA's driver
                  lets GeForce cards of the 40 and 50 series do no such thing
    sources       keys of `SOURCES`
    """

    power_watts: int
    fp32_tflops: float
    host_gb_s: float
    link_gb_s: float | None = None
    linked: int = NODE_GPUS
    network_gb_s: float = NETWORK_GB_S
    fp16_tflops: float | None = None
    fp8: bool = False
    fp4: bool = False
    machine: int = NODE_GPUS
    peer_to_peer: bool = True
    sources: tuple[str, ...] = ("ml-engineering",)


_BOTH: Final = ("ml-engineering", "epoch")
_EPOCH: Final = ("epoch",)
_RTX: Final = ("rtx-blackwell",)

# RTX 3090, RTX A6000 and the PCIe cards take NVLink bridges for two, sold apart: not counted here.
BOARDS: Final[dict[str, Board]] = {
    "RTX 3090": Board(350, 35.6, _PCIE_4, sources=_EPOCH),
    "RTX 4090": Board(450, 82.6, _PCIE_4, fp8=True, peer_to_peer=False, sources=_EPOCH),
    "RTX 5090": Board(575, 104.8, _PCIE_5, fp8=True, fp4=True, peer_to_peer=False, sources=_RTX),
    "RTX A6000": Board(300, 38.7, _PCIE_4, sources=_EPOCH),
    "RTX PRO 6000 Blackwell": Board(
        600, 125.0, _PCIE_5, fp8=True, fp4=True, sources=("rtx-blackwell", "ml-engineering")
    ),
    "L4": Board(72, 30.3, _PCIE_4, fp8=True, sources=_EPOCH),
    "L40S": Board(350, 91.6, _PCIE_4, fp8=True),
    "A10G": Board(300, 35.0, _PCIE_4, sources=("a10g",)),
    "A10": Board(150, 31.2, _PCIE_4, sources=("a10",)),
    "T4": Board(70, 8.1, _PCIE_3, fp16_tflops=65.0, sources=_EPOCH),
    "V100 SXM 32GB": Board(300, 15.7, _PCIE_3, 150.0, fp16_tflops=125.0, sources=_BOTH),
    "V100 SXM 16GB": Board(300, 15.7, _PCIE_3, 150.0, fp16_tflops=125.0, sources=_BOTH),
    "A100 40GB": Board(400, 19.5, _PCIE_4, 300.0, sources=_BOTH),
    "A100 80GB SXM": Board(400, 19.5, _PCIE_4, 300.0, sources=_BOTH),
    "A100 80GB PCIe": Board(300, 19.5, _PCIE_4, sources=_BOTH),
    "H100 SXM": Board(700, 67.0, _PCIE_5, 450.0, 8, _NDR, fp8=True, sources=_BOTH),
    "H100 PCIe": Board(350, 51.0, _PCIE_5, fp8=True, sources=_BOTH),
    "H100 NVL": Board(400, 60.0, _PCIE_5, 300.0, 2, fp8=True, sources=("ml-engineering", "h100")),
    "H200": Board(700, 67.0, _PCIE_5, 450.0, 8, _NDR, fp8=True, sources=_BOTH),
    "H20": Board(400, 44.0, _PCIE_5, 450.0, 8, _NDR, fp8=True, sources=("h20",)),
    "B200": Board(
        1000,
        75.0,
        _PCIE_5,
        900.0,
        8,
        _NDR,
        fp8=True,
        fp4=True,
        sources=("blackwell", "ml-engineering"),
    ),
    "GB200": Board(1200, 80.0, _NVLINK_C2C, 900.0, 72, _NDR, fp8=True, fp4=True, machine=4),
    # HGX boards. A DGX B300 caps its cards at 1000 W (ml-engineering, after NVIDIA's DGX guide).
    "B300": Board(
        1100, 75.0, _PCIE_5, 900.0, 8, _XDR, fp8=True, fp4=True, sources=("blackwell", "epoch")
    ),
    "GB300": Board(1400, 80.0, _NVLINK_C2C, 900.0, 72, _XDR, fp8=True, fp4=True, machine=4),
    "MI300X": Board(750, 163.4, _PCIE_5, 448.0, fp8=True, sources=_BOTH),
    "MI325X": Board(1000, 163.4, _PCIE_5, 448.0, fp8=True, sources=_BOTH),
    "MI350X": Board(1000, 144.2, _PCIE_5, 535.5, fp8=True, sources=("mi350",)),
    "MI355X": Board(1400, 157.3, _PCIE_5, 535.5, fp8=True),
    # One of two dies: half of 560 W and of 47.9 TFLOP/s, and one link to a die of another card.
    "MI250X": Board(280, 23.9, _PCIE_4, 50.0, sources=("ml-engineering", "cdna2")),
}
"""One board for every card of `unfrozen.hardware.gpus`."""


def board(gpu: Gpu) -> Board:
    """The board of a card."""
    return BOARDS[gpu.name]


def sources(gpu: Gpu) -> list[str]:
    """Who says what this module tells of a card."""
    return [SOURCES[key] for key in board(gpu).sources]


def between_cards_gb_s(gpu: Gpu, cards: int) -> float:
    """GB/s that a card sends to the others of `cards`: over its links where they join that many,
    through the host within a machine, over the network beyond it.
    """
    found = board(gpu)
    if found.link_gb_s and cards <= found.linked:
        return LINK_SHARE * found.link_gb_s
    return LINK_SHARE * (found.host_gb_s if cards <= found.machine else found.network_gb_s)


def host_link_gb_s(gpu: Gpu) -> float:
    """GB/s between a card and its host, one way."""
    return LINK_SHARE * board(gpu).host_gb_s


def peak_tflops(gpu: Gpu, precision: str) -> float:
    """Dense TFLOP/s of matrix products in a precision: 8 bits are twice bf16 where the card has
    fp8, int8 on all that have bf16; nvfp4 is four times on Blackwell. Else they run in 16 bits.
    """
    found = board(gpu)
    if precision == "fp32":
        return found.fp32_tflops
    half = gpu.bf16_tflops or found.fp16_tflops or found.fp32_tflops
    return low_bits_gain(gpu, precision) * half


def low_bits_gain(gpu: Gpu, precision: str) -> int:
    """How much faster than in 16 bits a card multiplies in a precision, by its data sheet."""
    found = board(gpu)
    if precision == "nvfp4":
        return 4 if found.fp4 else 1
    if precision in ("fp8", "mxfp8"):
        return 2 if found.fp8 else 1
    return 2 if precision == "int8" and (found.fp8 or gpu.bf16) else 1

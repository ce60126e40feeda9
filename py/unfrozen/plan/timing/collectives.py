"""Seconds of collectives between cards, by what joins them.

A ring passes S bytes around n cards in (n - 1) / n · S over the slowest link it crosses: NVLink
inside a machine, PCIe through the host where cards have no other link, the adapters between
machines. A ring that crosses machines enters and leaves each of them once, and NCCL opens one ring
an adapter: all adapters of a machine whose cards are in the group carry a part (NCCL, src/graph
/search.cc; its `ncclTopoTuneModel`, src/graph/tuning.cc, adds latencies the same way).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

from unfrozen.hardware.gpus import Gpu
from unfrozen.hardware.rates import LINK_SHARE
from unfrozen.units import GB

BASE_SECONDS: Final = 8.4e-6
HOP_SECONDS: Final = {"nvlink": 3.4e-6, "pcie": 5.7e-6, "network": 14.0e-6}
"""Latency of a ring under NCCL's simple protocol, and of each step of it (src/graph/tuning.cc)."""
_SLOWED, _SEQUENTIAL = 0.189, 0.102
CROWD: Final = _SLOWED / ((1 + _SEQUENTIAL) * (1 + _SLOWED) - 1)
"""Of each second that a collective runs behind products, what they lose to it: 0.61. On A100, H100
and MI250 overlapped products are 18.9% slower in the mean, and one after the other is 10.2% slower
than overlapped (Lee et al., arXiv 2507.03114, abstract): with C seconds of products and M of
collectives, C + M = 1.102 · 1.189 C, so that 0.189 C is lost where M = 0.310 C hides. Blocks of a
collective take multiprocessors, memory and power."""
PCIE_SHARE: Final = 0.45
"""What a ring over PCIe reaches of a card's lane figure where eight share two host bridges, 13.5 of
30 GB/s (simumax-a100 of `unfrozen.hardware.rates`)."""
RELAY: Final = 0.5
"""Cards that cannot read each other's memory (GeForce from the 40 series on) pass every byte
through the host's: written once and read once over the same lanes (NCCL, SHM transport)."""


class Ring(NamedTuple):
    """Cards that take part: bytes a second of the slowest link, and seconds of latency."""

    cards: int
    rate: float
    latency: float
    outside: bool  # between machines

    def gather(self, size: float) -> float:
        """Seconds until each card has all `size` bytes, or its share of their sum."""
        if self.cards <= 1:
            return 0.0
        return self.latency + size * (self.cards - 1) / self.cards / self.rate

    def reduce(self, size: float) -> float:
        """Seconds of an all-reduce: a reduce-scatter and a gather."""
        return 2 * self.gather(size)

    def exchange(self, size: float) -> float:
        """Seconds of an all-to-all in which each card sends `size` bytes, its own share stays."""
        return self.gather(size)


@lru_cache(maxsize=4096)
def ring(gpu: Gpu, cards: int, stride: int = 1) -> Ring:
    """The ring of `cards` cards that lie `stride` apart; neighbours share a machine."""
    machine = max(1, gpu.linked_gpus if gpu.link_gb_s else gpu.node_gpus)
    near = max(1, min(cards, machine // stride)) if stride < machine else 1
    rate, hop = _inside(gpu)
    if near >= cards:
        return Ring(cards, rate, BASE_SECONDS + (cards - 1) * hop, False)
    machines = -(-cards // near)
    far = LINK_SHARE * GB * gpu.network_gb_s * near
    latency = (cards - machines) * hop + (machines - 1) * HOP_SECONDS["network"]
    slowest = min(rate, far) if near > 1 else far
    return Ring(cards, slowest, BASE_SECONDS + latency, True)


def _inside(gpu: Gpu) -> tuple[float, float]:
    if gpu.link_gb_s:
        share = gpu.link_share or LINK_SHARE
        return share * GB * gpu.link_gb_s, HOP_SECONDS["nvlink"]
    share = PCIE_SHARE * (1.0 if gpu.peer_to_peer else RELAY)
    return share * GB * gpu.host_gb_s, HOP_SECONDS["pcie"]

"""GPUs that a model may be trained on: the table in `gpus.json`, and how one is found by name.

Every figure was compared in November 2026 with the sources that its entry names; they repeat the
vendors' own pages. What no source states is called assumed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from unfrozen.data_files import read_json
from unfrozen.errors import PlanError
from unfrozen.units import GB, GIB

NETWORK_GB_S: Final = 25.0
"""Assumed between machines where an entry gives no other figure: one adapter of 200 Gb/s per GPU,
one way, which is what A100s have (epoch). Entries with 50 or 100 GB/s assume the adapter of 400 or
800 Gb/s of the vendor's own machine: DGX H100, H200, B200 and GB200 NVL72; DGX B300, GB300 NVL72
(ml-engineering, network/README.md)."""
NODE_GPUS: Final = 8
"""Assumed GPUs per machine, as in the DGX and HGX machines of both sources. GB200 and GB300 are the
exceptions: a tray of their racks is a machine of four."""
BANDWIDTH_SHARE: Final = 0.75
"""Share of a data sheet's bandwidth that the memory-bound kernels of a training step reach: 0.91 of
1,600 GB/s where the sheet of an A100 says 1,935 (simumax-a100); 0.67 on a B200 (simumax-b200)."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU. TFLOP/s are dense; links are one direction, where data sheets print both.

    nominal_gb          memory as marketed, decimal
    usable_gib          what a program can allocate, the lowest figure reported: the total that
                        PyTorch's out-of-memory messages print; None: nobody reported one
    bandwidth_gb_s      of the data sheet
    bf16_tflops         with fp32 accumulation; None: no bf16 hardware
    matmul_tflops       of the best 16-bit matmul anyone measured
    power_watts         limit of the board; energy computed from it is an upper bound
    fp32_tflops         of plain fp32 units, PyTorch's default: TF32 is off unless asked for
    fp16_tflops         of 16-bit matmuls on a GPU without bf16
    fp8, fp4            whether it multiplies in fp8 (twice as fast as in bf16), in nvfp4 (four
                        times)
    host_gb_s           link to the host; 16 lanes of PCIe 3, 4 and 5 have 15.75, 31.5 and 63.0
    link_gb_s           NVLink or the like to other GPUs; None: through the host. NVLink bridges
                        for two, sold apart, do not count
    linked_gpus         GPUs that such links join; more talk as if they had none
    network_gb_s        to GPUs of other machines
    node_gpus           GPUs per machine
    peer_to_peer        whether GPUs without links read each other's memory over PCIe; NVIDIA's
                        driver does not let GeForce GPUs of the 40 and 50 series do so
    multiprocessors     over which the tiles of a matmul are distributed
    sustained_tflops    of 16-bit matmuls for as long as a step lasts, at the clock that the power
                        limit leaves. Those of Blackwell are 1,098 at 1,000 W (simumax-b200),
                        assumed to grow with the limit and to double in fp8
    bandwidth_share     of `bandwidth_gb_s`, what memory-bound kernels reach
    flash_attention_2_tflops   forward and backward, causal, heads of 128, 4,096 positions, half of
                        the scores counted
    fastest_attention_tflops   the same of the fastest kernels for it: cuDNN, FlashAttention-3
    link_share          of its links, what a collective among the GPUs of a machine reaches
    """

    name: str
    nominal_gb: int
    bandwidth_gb_s: float
    usable_gib: float | None = None
    bf16_tflops: float | None = None
    matmul_tflops: float | None = None
    note: str = ""
    memory_sources: tuple[str, ...] = ()
    power_watts: int = 0
    fp32_tflops: float = 0.0
    fp16_tflops: float | None = None
    fp8: bool = False
    fp4: bool = False
    host_gb_s: float = 0.0
    link_gb_s: float | None = None
    linked_gpus: int = NODE_GPUS
    network_gb_s: float = NETWORK_GB_S
    node_gpus: int = NODE_GPUS
    peer_to_peer: bool = True
    board_sources: tuple[str, ...] = ()
    multiprocessors: int = 108
    sustained_tflops: float | None = None
    sustained_fp8_tflops: float | None = None
    bandwidth_share: float = BANDWIDTH_SHARE
    flash_attention_2_tflops: tuple[float, float] | None = None
    fastest_attention_tflops: tuple[float, float] | None = None
    link_share: float | None = None
    measured_sources: tuple[str, ...] = ()

    @classmethod
    def read(cls, entry: dict[str, Any]) -> Gpu:
        """Return the GPU of an entry of the table; TypeError for a key that no field has."""
        lists = {key: tuple(value) for key, value in entry.items() if isinstance(value, list)}
        return cls(**{**entry, **lists})

    @property
    def bf16(self) -> bool:
        """Whether it multiplies in bf16."""
        return self.bf16_tflops is not None

    @property
    def capacity_bytes(self) -> int:
        """Bytes that a program can allocate; the nominal size where nobody reported them."""
        return self.nominal_gb * GB if self.usable_gib is None else int(self.usable_gib * GIB)


_TABLE: Final = read_json("hardware/gpus.json")
SOURCES: Final[dict[str, str]] = _TABLE["sources"]
"""Where figures were read, by the keys that entries name."""
COMPARED: Final[tuple[str, ...]] = tuple(_TABLE["compared"])
"""Keys of the sources with which memory, bandwidth and bf16 rates of all GPUs were compared."""
GPUS: Final = tuple(Gpu.read(entry) for entry in _TABLE["gpus"])
"""Every GPU of the table."""


@lru_cache(maxsize=256)
def find(name: str) -> Gpu:
    """Return the GPU of this name; case and punctuation do not matter, and the first match of a
    prefix wins ("A100-80GB" is the SXM version). Raises PlanError that lists the GPUs there are.
    """
    wanted = _normalized(name)
    matches = [gpu for gpu in GPUS if _normalized(gpu.name) == wanted]
    matches += [gpu for gpu in GPUS if wanted and _normalized(gpu.name).startswith(wanted)]
    if not matches:
        names = ", ".join(gpu.name for gpu in GPUS)
        raise PlanError("gpu", name, "this GPU is not in the table", f"choose one of {names}")
    return matches[0]


def board_sources(gpu: Gpu) -> list[str]:
    """Return who states power, fp32 rate and links of a GPU."""
    return [SOURCES[key] for key in gpu.board_sources]


def measured_sources(gpu: Gpu) -> list[str]:
    """Return who measured the sustained rates of a GPU."""
    return [SOURCES[key] for key in gpu.measured_sources]


def _normalized(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower().removeprefix("nvidia"))

"""GPUs that a model may be trained on: the table in `gpus.json`, and the rates that a step reaches.

Every figure was compared in November 2026 with the sources that its entry names; they repeat the
vendors' own pages. What no source states is called assumed.

A data sheet says what a GPU could do at its highest clock. A training step lasts, so its matmuls
run at the clock that the power limit leaves: on a B200 at half the sheet. Every measured figure is
a published microbenchmark; no training run went into it. GPUs that nobody measured take the share
of the nearest one of their kind, and the estimate says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
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
LINK_SHARE: Final = 0.8
"""Assumed share of a link's figure that a transfer reaches. ml-engineering (network/README.md)
measured 0.78 in all-reduces over the NVLink of eight A100, 0.88 between two H200, over PCIe 5."""
HOST_MEMORY_GB_S: Final = 41.0
"""Assumed: what one GPU's share of the host's processors reads and writes. Two EPYC 7742 with eight
channels of DDR4-3200 each have 410 GB/s for the eight GPUs of a DGX A100; a program reaches
`LINK_SHARE` of it."""
SUSTAINED_SHARE: Final = 0.92
"""Assumed of the best matmul where nobody measured sustained ones: simumax-a100 has 0.745 of the
peak where the best is 0.81 (mamf); the H100 and the MI300X sustain 0.91 and 0.93 of theirs."""
UNMEASURED_SHARE: Final = 0.8
"""Assumed share of the peak for the best matmul of a GPU that nobody measured; those that somebody
did reach 0.73 to 0.87 of it on NVIDIA's GPUs and 0.51 to 0.63 on AMD's."""
FP8_GAIN: Final = 1.78
"""Matmuls in fp8 over those in bf16 on an H100: 1,280 / 720 (semianalysis); assumed for a GPU
without a figure of its own."""
ATTENTION_SHARE: Final = (0.68, 0.58)
"""Assumed share of the best matmul for FlashAttention-2, forward and backward, where nobody
measured it: 185 and 156 of the 271 TFLOP/s of an A100 (simumax-a100, mamf)."""
SLOWEST: Final = 1.04
"""A step of many GPUs waits for the slowest of them: GPUs of one kind differ by 8%, whisker to
whisker, so that the last is 4% behind the median (Sinha et al., Not All GPUs Are Created Equal,
SC22, arXiv 2208.11035)."""
PRICES: Final = {
    "A100 80GB SXM": (0.8, 3.0),
    "H100 SXM": (2.0, 5.0),
    "H200": (2.5, 7.0),
}
"""What a GPU was offered at, US dollars an hour on demand, from the cheapest provider to the
dearest (Mercatus, "Cloud GPU pricing", May 2026); where a reader gives no price, the middle."""
PRICES_OF: Final = "May 2026"


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
    fp32_tflops         of plain fp32 units, PyTorch's default: TF32 is off unless asked for; a
                        quarter of the rate in 16 bits where it is left out
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
    power_watts: int = 300
    fp32_tflops: float = 0.0
    fp16_tflops: float | None = None
    fp8: bool = False
    fp4: bool = False
    host_gb_s: float = 15.75
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
        """Return the GPU of an entry; TypeError for a key that no field has. Raises PlanError."""
        half = entry.get("bf16_tflops") or entry.get("fp16_tflops")
        if half is None:
            bound = f"a {entry['name']} has a rate of 16-bit matmuls"
            raise PlanError("gpu.bf16_tflops", "nothing", bound, "give it, or fp16_tflops")
        if "sustained_tflops" in entry and not entry.get("measured_sources"):
            bound = f"a measured figure of the {entry['name']} names who published it"
            raise PlanError("gpu.measured_sources", "nothing", bound, "name a source of the table")
        lists = {key: tuple(value) for key, value in entry.items() if isinstance(value, list)}
        return cls(**{"fp32_tflops": half / 4, **entry, **lists})

    @property
    def bf16(self) -> bool:
        """Whether it multiplies in bf16."""
        return self.bf16_tflops is not None

    @property
    def groups_matmuls(self) -> bool:
        """Whether PyTorch multiplies all experts in one kernel: `grouped_mm` has one for Hopper and
        the Blackwell of data centers, and goes from expert to expert elsewhere
        (aten/src/ATen/native/cuda/GroupedBlas.cpp, `_grouped_mm_fallback`).
        """
        return re.match(r"G?[HB]\d", self.name) is not None

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
    """Return the GPU that is called so; case, punctuation, "RTX" and the form ("A100-80GB" is the
    SXM version) are optional, the memory is not where it differs. Raises PlanError.
    """
    wanted = _words_of(name)
    found = _called(wanted) or (_called(wanted[:-2]) if wanted[-1:] == ("gb",) else [])
    if not found:
        remedy = 'give its numbers, as {"nominal_gb": 16, "bandwidth_gb_s": 500, "bf16_tflops": 60}'
        remedy += f", or choose one of {', '.join(gpu.name for gpu in GPUS)}"
        raise PlanError("gpu", name, "this GPU is not in the table", remedy)
    if len({_memory(gpu.name) for gpu in found}) > 1:
        names = ", ".join(gpu.name for gpu in found)
        raise PlanError("gpu", name, "it is sold with different memory", f"choose one of {names}")
    return found[0]


_MAKERS: Final = re.compile(
    r"\b(nvidia|geforce|tesla|quadro|amd|instinct|generation|gpu|hbm\w*)\b|(?<=sxm)\d"
)


def _called(wanted: tuple[str, ...]) -> list[Gpu]:
    """Return the GPUs of this name, else those that begin so, else those with all its words."""

    def begins(gpu: Gpu) -> bool:
        return any(spelt[: len(wanted)] == wanted for spelt in _spellings(gpu.name))

    whole = [gpu for gpu in GPUS if wanted in _spellings(gpu.name)]
    mixed = [gpu for gpu in GPUS if len(wanted) > 2 and {*wanted} <= {*_words_of(gpu.name)}]
    return whole or [gpu for gpu in GPUS if wanted and begins(gpu)] or mixed


@lru_cache(maxsize=1024)
def _words_of(name: str) -> tuple[str, ...]:
    """Return words and numbers of a GPU's name, without who makes it."""
    return tuple(re.findall(r"[a-z]+|\d+", _MAKERS.sub("", name.lower())))


def _spellings(name: str) -> tuple[tuple[str, ...], ...]:
    words = _words_of(name)
    return (words, words[1:]) if words[0] == "rtx" else (words,)


def _memory(name: str) -> str:
    found = re.search(r"\d+GB", name)
    return found[0] if found else ""


_GIVEN: Final = (
    *("nominal_gb", "usable_gib", "bandwidth_gb_s", "bf16_tflops", "fp16_tflops", "fp32_tflops"),
    *("power_watts", "host_gb_s", "link_gb_s", "network_gb_s", "node_gpus"),
)
_MOST: Final = 1_000_000


def gpu_of(numbers: Mapping[str, Any]) -> Gpu:
    """Return a GPU by its numbers: memory, bandwidth and 16-bit TFLOP/s at least; the others are
    assumed: PCIe 3, 300 W, a quarter of the TFLOP/s in fp32. Raises PlanError.
    """
    for key, value in numbers.items():
        if key == "name" and type(value) is str and 0 < len(value) <= 60:
            continue
        if key not in _GIVEN:
            raise PlanError(
                f"gpu.{key}", value, f"known keys are name, {', '.join(_GIVEN)}", "drop it"
            )
        if type(value) not in (int, float) or not 0 < value <= _MOST:
            bound = f"it must be a number above 0, at most {_MOST:,}"
            raise PlanError(f"gpu.{key}", value, bound, "correct it")
        if key in ("nominal_gb", "node_gpus") and type(value) is not int:
            raise PlanError(f"gpu.{key}", value, "it must be a whole number", "round it")
    for key in ("nominal_gb", "bandwidth_gb_s"):
        if key not in numbers:
            raise PlanError(f"gpu.{key}", "nothing", "a GPU has one", "give it")
    return Gpu.read({"name": f"GPU of {numbers['nominal_gb']} GB", **numbers})


def board_sources(gpu: Gpu) -> list[str]:
    """Return who states power, fp32 rate and links of a GPU."""
    return [SOURCES[key] for key in gpu.board_sources]


def measured_sources(gpu: Gpu) -> list[str]:
    """Return who measured the sustained rates of a GPU."""
    return [SOURCES[key] for key in gpu.measured_sources]


def peak_tflops(gpu: Gpu, precision: str) -> float:
    """Return dense TFLOP/s of matmuls in a precision, by the data sheet.

    8 bits are twice as fast as bf16 where the GPU has fp8, int8 on all that have bf16; nvfp4 is
    four times as fast on Blackwell. Otherwise they run in 16 bits.
    """
    if precision == "fp32":
        return gpu.fp32_tflops
    half = gpu.bf16_tflops or gpu.fp16_tflops or gpu.fp32_tflops
    return low_precision_speedup(gpu, precision) * half


def low_precision_speedup(gpu: Gpu, precision: str) -> int:
    """Return how much faster than in 16 bits a GPU multiplies in a precision, by its data sheet."""
    if precision == "nvfp4":
        return 4 if gpu.fp4 else 1
    if precision in ("fp8", "mxfp8"):
        return 2 if gpu.fp8 else 1
    return 2 if precision == "int8" and (gpu.fp8 or gpu.bf16) else 1


def best_matmul_tflops(gpu: Gpu) -> float:
    """Return TFLOP/s of the best measured 16-bit matmul, or the assumed share of the peak."""
    return gpu.matmul_tflops or UNMEASURED_SHARE * peak_tflops(gpu, "bf16")


def sustained_tflops(gpu: Gpu, precision: str) -> float:
    """Return TFLOP/s that large matmuls sustain in a precision of `unfrozen.job.settings`."""
    if precision == "fp32":
        return SUSTAINED_SHARE * gpu.fp32_tflops
    half = gpu.sustained_tflops or SUSTAINED_SHARE * best_matmul_tflops(gpu)
    gain = low_precision_speedup(gpu, precision)
    if gain > 1:
        return (gpu.sustained_fp8_tflops or FP8_GAIN * half) * gain / 2
    return half


def slowest_factor(gpus: int) -> float:
    """Return how much longer the slowest of so many GPUs takes than the median one."""
    return 1 + (SLOWEST - 1) * (gpus - 1) / gpus


def memory_bytes_per_second(gpu: Gpu) -> float:
    """Return what kernels that only read and write move."""
    return gpu.bandwidth_share * gpu.bandwidth_gb_s * 1e9


def host_link_gb_s(gpu: Gpu) -> float:
    """Return GB/s between a GPU and its host, one way."""
    return LINK_SHARE * gpu.host_gb_s


def usual_price(gpu: Gpu) -> float | None:
    """Return the middle of what an hour of a GPU was offered at; None for one without offers."""
    return sum(PRICES[gpu.name]) / 2 if gpu.name in PRICES else None

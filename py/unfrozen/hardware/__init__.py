"""GPUs that a model may be trained on: the table in `gpus.json`, and the rates that a step reaches.

Every figure was compared in November 2026 with the sources that its entry names; they repeat the
vendors' own pages. What no source states is called assumed.

A data sheet says what a GPU could do at its highest clock. A training step lasts, so its matmuls
run at the clock that the power limit leaves: on a B200 at half the sheet. Every measured figure is
a published microbenchmark; no training run went into it. GPUs that nobody measured take the share
of the nearest one of their kind, and the estimate says so.

Reading order:

- `flavors` — what they are rented for
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, Final

from unfrozen.data_files import read_json
from unfrozen.errors import PlanError
from unfrozen.units import GB, GIB, MIB

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
CONTEXT_SHARE: Final = 4 * MIB
"""Bytes of the driver's context for each multiprocessor where no process was seen: its memory for
threads grows with them. Those seen have 3.0 to 4.9 MiB (oom-contexts)."""
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


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU. TFLOP/s are dense; links are one direction, where data sheets print both.

    nominal_gb          memory, decimal
    marketed_gb         the size in what it is called, where that is another
    usable_gib          what a program can allocate, the lowest figure reported: the total that
                        PyTorch's out-of-memory messages print; None: nobody reported one
    context_gib         what a process was seen to have beside PyTorch's allocator: the driver's
                        context and kernels; None: `CONTEXT_SHARE`
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
    device              what PyTorch calls it: "mps" of Apple's, which have no FlashAttention, no
                        kernels of CUDA or Triton and no second GPU; else "cuda"
    link_share          of its links, what a collective among the GPUs of a machine reaches
    """

    name: str
    nominal_gb: int
    bandwidth_gb_s: float
    marketed_gb: int | None = None
    usable_gib: float | None = None
    context_gib: float | None = None
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
    device: str = "cuda"
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
    def flash(self) -> bool:
        """Whether FlashAttention runs on it, which begins with Ampere."""
        return self.bf16 and self.device == "cuda"

    @property
    def groups_matmuls(self) -> bool:
        """Whether PyTorch multiplies all experts in one kernel: `grouped_mm` has one for Hopper and
        the Blackwell of data centers, and goes from expert to expert elsewhere
        (aten/src/ATen/native/cuda/GroupedBlas.cpp, `_grouped_mm_fallback`).
        """
        return re.match(r"(?!GB10)G?[HB]\d", self.name) is not None

    @property
    def context_bytes(self) -> int:
        """Bytes of the driver's context, with the kernels of a training step."""
        if self.context_gib is None:
            return CONTEXT_SHARE * self.multiprocessors
        return int(self.context_gib * GIB)

    @property
    def capacity_bytes(self) -> int:
        """Bytes that a program can allocate; the nominal size where nobody reported them."""
        return self.nominal_gb * GB if self.usable_gib is None else int(self.usable_gib * GIB)


_TABLE: Final = read_json("hardware/gpus.json")
SOURCES: Final[dict[str, str]] = _TABLE["sources"]
"""Where figures were read, by the keys that entries name."""
COMPARED: Final[tuple[str, ...]] = tuple(_TABLE["compared"])
"""Keys of the sources with which memory, bandwidth and bf16 rates of all GPUs were compared."""
APPLE: Final[dict[str, dict[str, Any]]] = _TABLE["apple"]
"""Chips of Apple, with the memory of the machines that have them."""
GPUS: Final = tuple(Gpu.read(entry) for entry in _TABLE["gpus"])
"""Every GPU of the table."""


@lru_cache(maxsize=256)
def find(name: str) -> Gpu:
    """Return the GPU that is called so, in any case and punctuation, with its maker or without.

    Only words of its form ("SXM", "PCIe") and, of a card that is sold with one memory, that may be
    left out: an H100 is the SXM version. Raises PlanError for another memory, or for none of two.
    """
    if chip := _CHIP.fullmatch(name.lower()):
        return _of_apple(name, f"M{chip[1]} {(chip[2] or '').title()}".strip(), chip[3])
    found, memory = named(_CALLED.get(name.strip().lower(), (None, name))[1])
    if _LAPTOP.search(name.lower()):
        bound = "GPUs of laptops have less memory and power than cards of the same name"
        raise PlanError("gpu", name, bound, _NUMBERS)
    if not found:
        near = get_close_matches(name.lower(), [gpu.name.lower() for gpu in GPUS], 4, 0.4)
        alike = [gpu.name for gpu in GPUS if gpu.name.lower() in near] or [GPUS[0].name]
        remedy = f"{_NUMBERS}, or name one of the table, such as {', '.join(alike)}"
        if named(counted(name)[1])[0]:
            remedy = f"name a {counted(name)[1]} alone, and how many as cluster.gpus"
        bound = f"this GPU is not in the table, which has {len(GPUS)}"
        if "colab" in name.lower():
            bound, remedy = "Colab lends several GPUs", "name yours alone, for example L4 or H100"
        raise PlanError("gpu", name, bound, remedy)
    names = ", ".join(gpu.name for gpu in found)
    fitting = [gpu for gpu in found if memory in (None, gpu.nominal_gb, gpu.marketed_gb)]
    if not fitting:
        sizes = " or ".join(dict.fromkeys(str(gpu.nominal_gb) for gpu in found))
        bound, words = f"the table has it with {sizes} GB, not {memory}", _SPELT[found[0].name]
        for gpu in GPUS:  # an H100 of 94 GB is the H100 NVL
            if gpu.nominal_gb == memory and _SPELT[gpu.name][: len(words)] == words:
                names += f", {gpu.name}"
        raise PlanError("gpu", name, bound, f"choose {names}, or {_NUMBERS}")
    if len({gpu.nominal_gb for gpu in fitting}) > 1:
        raise PlanError("gpu", name, "it is sold with different memory", f"choose one of {names}")
    return fitting[0]


def named(text: str) -> tuple[list[Gpu], int | None]:
    """Return the GPUs of this name, whatever their memory, and the GB that the text says."""
    words, forms, memory = _words_of(text)
    found = [gpu for gpu in GPUS if words == _SPELT[gpu.name] and forms <= _FORMS_OF[gpu.name]]
    if not found and memory is None and re.search(r"[a-z\d][ -]\d+\s*$", text, re.I):  # "a100-80"
        found, _ = named(" ".join(words[:-1] + tuple(forms))) if len(words) > 1 else ([], None)
        memory = int(words[-1])
    if not found and words and words[-1] == "s":  # "4090s"
        return named(text.strip()[:-1])
    return found, memory


def counted(text: str) -> tuple[int | None, str]:
    """Return how many GPUs a text says, and which: (2, "4090") of "2x4090", (None, "t4") of "t4".

    A number that is a card's name is one: 4090 is no count, 64 is (64, "").
    """
    if place := _CALLED.get(text.strip().lower()):
        return place
    if named(text)[0] or _CHIP.fullmatch(text.lower()):
        return None, text
    said = [
        (found["gpu"] or "", found["count"], each.pattern.startswith(r"\s*(?P<count>"))
        for each in _COUNTS
        if (found := each.fullmatch(text))
    ]
    for gpu, count, first in sorted(said, key=lambda one: not named(one[0])[0])[:1]:
        more, name = _CALLED.get(gpu.lower(), (None, gpu))
        if first or named(name)[0]:  # no "r", 6,800 times
            return (more or 1) * int(count.replace(",", "")), name
    return None, text


_CHIP: Final = re.compile(
    r"(?:apple|imac|mac\w*|studio|mini|air|pro|[\s-])*\bm(\d)[\s-]*(pro|max|ultra)?"
    r"(?:[\s-]*(\d+)(?:\s*g(?:i?b)?)?)?(?:\s*ram)?\s*"
)
_METAL: Final = ((36, 2 / 3), (math.inf, 3 / 4))
"""Up to how many GB a GPU of Apple may use which share of its machine's memory, by Metal."""


def _of_apple(name: str, chip: str, memory: str | None) -> Gpu:
    """Return the GPU of a chip of Apple in a machine of so many GB, or what is missing of them."""
    if chip not in APPLE:
        raise PlanError("gpu", name, "this chip is not in the table", f"choose {', '.join(APPLE)}")
    own = {key: value for key, value in APPLE[chip].items() if key != "memory"}
    sizes = APPLE[chip]["memory"]
    if memory is None or int(memory) not in sizes:
        bound = f"an {chip} has {', '.join(map(str, sizes))} GB, the processor's and its GPU's"
        raise PlanError("gpu", name, bound, f"say which, for example {chip} {sizes[-1]}GB")
    share = next(share for most, share in _METAL if int(memory) <= most)
    rest = {"host_gb_s": own["bandwidth_gb_s"], "node_gpus": 1, "device": "mps"}
    return Gpu.read(
        {
            **{"name": f"Apple {chip} {memory}GB", "nominal_gb": int(memory), **own, **rest},
            **{"usable_gib": share * int(memory), "bf16_tflops": own["fp32_tflops"]},
            **{"context_gib": 1},  # assumed: nobody printed one
            **{"memory_sources": ["metal"], "board_sources": ["apple", "huggingface"]},
        }
    )


OF_APPLE: Final = tuple(
    _of_apple(chip, chip, str(memory)) for chip, one in APPLE.items() for memory in one["memory"]
)
"""Every chip of Apple with every memory."""
_NUMBERS: Final = (
    'give its numbers, as {"nominal_gb": 16, "bandwidth_gb_s": 500, "bf16_tflops": 60}'
)
_CALLED: Final[dict[str, tuple[int | None, str]]] = {
    **{"colab": (1, "T4"), "google colab": (1, "T4"), "kaggle": (2, "T4")},
    **{"kaggle t4 x2": (2, "T4"), "dgx spark": (1, "GB10"), "nvidia h20": (None, "H20 96GB")},
    **{"h20-3e": (None, "H20 141GB"), "nvidia h20-3e": (None, "H20 141GB")},
}
"""Where GPUs are lent or built in, and what drivers print, with how many of which."""
LENT: Final = {
    "colab": "Colab lends one T4 free of charge. Paid plans have others: name yours, as H100.",
    "kaggle": "Kaggle lends two T4 free of charge, or one P100.",
}
"""Sentences about the places that lend GPUs."""
_COUNTS: Final = (
    re.compile(r"\s*(?P<count>\d[\d,]*)\s*[x×*]\s*(?P<gpu>.+?)\s*", re.I),
    re.compile(r"\s*(?P<gpu>.+?)\s*[x×*:]\s*(?P<count>\d[\d,]*)\s*", re.I),
    re.compile(r"\s*(?P<count>\d[\d,]*)(\s+(?P<gpu>.+?))?\s*", re.I),
)
_LAPTOP: Final = re.compile(r"\b(laptop|notebook|mobile|max[- ]?q)\b")
_MAKERS: Final = re.compile(
    r"\b(nvidia|geforce|tesla|quadro|rtx|amd|radeon|rx|instinct|oam|intel|arc|colab|kaggle|graphics"
    r"|generation|workstation|server|edition|gpus?|ac|hbm\w*)\b|\((r|tm)\)|(?<=sxm)\d|\brt?x(?=\d)"
)
_MEMORY: Final = re.compile(r"(\d+)\s*gi?b\b|(?<![a-z\d])(\d+)\s*g\b")
_FORMS: Final = frozenset({"sxm", "pcie", "blackwell"})
"""Words that tell versions of one card apart, and that may be left out."""


@lru_cache(maxsize=1024)
def _words_of(name: str) -> tuple[tuple[str, ...], frozenset[str], int | None]:
    """Return words and numbers of a GPU's name without who makes it, its forms, and its memory."""
    plain = _MAKERS.sub(" ", name.lower().replace("_", " "))
    memory = _MEMORY.search(plain)
    words = re.findall(r"[a-z]+|\d+", _MEMORY.sub(" ", plain))
    said = tuple(word for word in words if word not in _FORMS)
    return said, _FORMS & {*words}, int(memory[1] or memory[2]) if memory else None


def _forms_of(gpu: Gpu) -> frozenset[str]:
    """Return the forms of a GPU: those that its name says, else SXM where links join several."""
    said = _words_of(gpu.name)[1]
    linked = gpu.link_gb_s is not None and gpu.linked_gpus > 2
    return said if said & {"sxm", "pcie"} else said | {"sxm" if linked else "pcie"}


_SPELT: Final = {gpu.name: _words_of(gpu.name)[0] for gpu in GPUS}
_FORMS_OF: Final = {gpu.name: _forms_of(gpu) for gpu in GPUS}


_GIVEN: Final = (
    *("nominal_gb", "usable_gib", "context_gib", "bandwidth_gb_s"),
    *("bf16_tflops", "fp16_tflops", "fp32_tflops"),
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


def gpu_data(gpu: Gpu) -> object:
    """Return the name of a GPU of the table, or the numbers that `gpu_of` makes another of."""
    with suppress(PlanError):
        if find(gpu.name) == gpu:
            return gpu.name
    numbers = {key: getattr(gpu, key) for key in ("name", *_GIVEN)}
    return {key: value for key, value in numbers.items() if value is not None}


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

"""Cards a model may be trained on: what they hold, how fast they are, and who says so.

`usable_gib` is what a program can really allocate, the lowest figure reported: the total that
PyTorch's out-of-memory messages print. Where nobody reported one, it is None and `capacity_bytes`
falls back to the nominal size, in decimal gigabytes. TFLOP/s are dense bf16 with fp32 accumulation.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from unfrozen.errors import PlanError
from unfrozen.units import GB, GIB


@dataclass(frozen=True, slots=True)
class Gpu:
    """One card. Bandwidth in GB/s; `matmul_tflops` is the best matrix product anyone measured."""

    name: str
    nominal_gb: int
    usable_gib: float | None
    bf16_tflops: float | None
    bandwidth_gb_s: float
    matmul_tflops: float | None
    bf16: bool = True
    note: str = ""

    @property
    def capacity_bytes(self) -> int:
        """Bytes that a program can allocate."""
        return self.nominal_gb * GB if self.usable_gib is None else int(self.usable_gib * GIB)


SOURCES: Final = (
    "karpathy/nanochat nanochat/common.py @92d63d4: peak TFLOP/s and bandwidth",
    "stas00/ml-engineering compute/accelerator/README.md @744d01e: TFLOP/s, memory, matmul",
    "cli99/llm-analysis llm_analysis/gpu_configs @d841e40a: TFLOP/s and bandwidth",
    "pytorch/torchtitan torchtitan/tools/utils.py @b5bcd76c: peak TFLOP/s",
    "RahulSChand/gpu_poor src/gpu_config.json @ad2fc0ef: memory and bandwidth",
    "public reports of PyTorch out-of-memory messages: usable GiB",
    "NVIDIA T4 data sheet: 320 GB/s, a bus of 256 bits at 10 Gb/s",
    "NVIDIA A10 data sheet: bf16 125, dense; 600 GB/s",
    "NVIDIA H20: bf16 148, 96 GB, 4.0 TB/s (zangshuxian.com, willitrunai.com/es/gpus/h20-96gb)",
    "AMD at Hot Chips 2025 (wccftech.com): MI350X 1000 W, 2.2 GHz; eight cards fp16 18.5 PFLOP/s",
    "NVIDIA A10G data sheet for AWS: bf16 70, dense; the 125 of the A10 is another card's",
    "verda.com, NVIDIA GB300 NVL72 architecture: GB300 279 GB, B300 270 GB",
)

GPUS: Final = (
    Gpu("RTX 3090", 24, 23.68, 71, 936, None, note="71 = fp16/bf16 with fp32 accumulate"),
    Gpu("RTX 4090", 24, 23.64, 165.2, 1010, None),
    Gpu("RTX 5090", 32, 31.36, 209.5, 1790, None),
    Gpu("RTX A6000", 48, 47.4, 154.85, 768, None, note="Ampere; the 309.7 on the sheet is sparse"),
    Gpu("RTX PRO 6000 Blackwell", 96, None, 503.8, 1792, None, note="third-party sheets only"),
    Gpu("L4", 24, 22.03, 121, 300, None, note="ECC on"),
    Gpu("L40S", 48, 44.3, 362, 864, None),
    Gpu("A10G", 24, None, 70, 600, None, note="made for AWS; the A10 has bf16 125"),
    Gpu("A10", 24, None, 125, 600, None),
    Gpu("T4", 16, 14.56, None, 320, None, bf16=False, note="no bf16 hardware; fp16 65 TFLOP/s"),
    Gpu(
        "V100 SXM 32GB",
        32,
        31.73,
        None,
        900,
        None,
        bf16=False,
        note="no bf16 hardware; fp16 125 (SXM) / 112 (PCIe)",
    ),
    Gpu(
        "V100 SXM 16GB",
        16,
        15.78,
        None,
        900,
        None,
        bf16=False,
        note="no bf16 hardware; fp16 125 (SXM) / 112 (PCIe)",
    ),
    Gpu("A100 40GB", 40, 39.49, 312, 1555, 271.2),
    Gpu("A100 80GB SXM", 80, 79.15, 312, 2039, 271.2),
    Gpu("A100 80GB PCIe", 80, 79.15, 312, 1935, 252.9),
    Gpu("H100 SXM", 80, 79.1, 989, 3350, 794.5),
    Gpu("H100 PCIe", 80, 79.1, 756, 2000, None),
    Gpu("H100 NVL", 94, None, 835, 3900, None),
    Gpu("H200", 141, 139.72, 989, 4800, 794.5, note='"H200 is the same" as H100 in MAMF'),
    Gpu("H20", 96, None, 148, 4000, None, note="made for China; another has 141 GB"),
    Gpu("B200", 180, None, 2250, 8000, 1745, note="192 GB marketed, 180 usable on HGX"),
    Gpu("GB200", 186, 184.3, 2500, 8000, 1822),
    Gpu("B300", 270, None, 2250, 8000, 1769, note="288 GB marketed; HGX lists 2.1 TB for eight"),
    Gpu("GB300", 279, None, 2500, 8000, None, note="of its rack's 20 TB; 288 GB marketed"),
    Gpu(
        "MI300X",
        192,
        191.69,
        1307,
        5300,
        668.4,
        note="AMD sheet 1307.4; torchtitan/stas00 round to 1300",
    ),
    Gpu("MI325X", 256, None, 1307, 6000, 784.9),
    Gpu("MI350X", 288, None, 2300, 8000, None, note="air-cooled: 2.2 GHz where the MI355X has 2.4"),
    Gpu("MI355X", 288, None, 2500, 8000, 1565, note="2300 in the matmul table"),
    Gpu(
        "MI250X",
        64,
        None,
        191.5,
        1640,
        None,
        note="one of its two dies, which is what a process sees",
    ),
)
"""Every card of the table, with `SOURCES` for its figures."""


@lru_cache(maxsize=256)
def find(name: str) -> Gpu:
    """The card of this name; case and punctuation do not matter, and the first match of a prefix
    wins ("A100-80GB" is the SXM card). Raises PlanError naming the cards there are.
    """
    wanted = _plain(name)
    matches = [gpu for gpu in GPUS if _plain(gpu.name) == wanted]
    matches += [gpu for gpu in GPUS if wanted and _plain(gpu.name).startswith(wanted)]
    if not matches:
        names = ", ".join(gpu.name for gpu in GPUS)
        raise PlanError("gpu", name, "this card is not in the table", f"choose one of {names}")
    return matches[0]


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower().removeprefix("nvidia"))

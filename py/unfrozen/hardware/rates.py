"""Rates that a training step reaches on a GPU: matmuls, memory, links.

A data sheet says what a GPU could do at its highest clock. A training step lasts, so its matmuls
run at the clock that the power limit leaves: on a B200 at half the sheet. Every measured figure is
a published microbenchmark; no training run went into it. GPUs that nobody measured take the share
of the nearest one of their kind, and the estimate says so.
"""

from __future__ import annotations

from typing import Final

from unfrozen.hardware.gpus import Gpu

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

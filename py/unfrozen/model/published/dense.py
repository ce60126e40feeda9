"""Llamas, Mistrals, Qwens, Gemmas and their like: dense decoders.

Hub id, what its config.json says, (D, F, L, H, K, V) first, and how many parameters it has.
"""

from __future__ import annotations

from typing import Any, Final

from unfrozen.model.published.written import block

Rows = tuple[tuple[str, dict[str, Any], int], ...]

ROWS: Final[Rows] = (
    (
        "HuggingFaceTB/SmolLM2-135M",
        block("llama", (576, 1536, 30, 9, 3, 49152), True),
        134_515_008,
    ),
    (
        "HuggingFaceTB/SmolLM2-360M",
        block("llama", (960, 2560, 32, 15, 5, 49152), True),
        361_821_120,
    ),
    (
        "HuggingFaceTB/SmolLM2-1.7B",
        block("llama", (2048, 8192, 24, 32, 32, 49152), True),
        1_711_376_384,
    ),
    (
        "TinyLlama/TinyLlama-1.1B-intermediate-step-1431k-3T",
        block("llama", (2048, 5632, 22, 32, 4, 32000), False),
        1_100_048_384,
    ),
    (
        "meta-llama/Llama-2-7b-hf",
        block("llama", (4096, 11008, 32, 32, 32, 32000), False),
        6_738_415_616,
    ),
    (
        "meta-llama/Llama-2-13b-hf",
        block("llama", (5120, 13824, 40, 40, 40, 32000), False),
        13_015_864_320,
    ),
    (
        "meta-llama/Llama-2-70b-hf",
        block("llama", (8192, 28672, 80, 64, 8, 32000), False),
        68_976_648_192,
    ),
    (
        "meta-llama/Llama-3.1-8B",
        block("llama", (4096, 14336, 32, 32, 8, 128256), False),
        8_030_261_248,
    ),
    (
        "meta-llama/Llama-3.1-70B",
        block("llama", (8192, 28672, 80, 64, 8, 128256), False),
        70_553_706_496,
    ),
    (
        "meta-llama/Llama-3.2-1B",
        block("llama", (2048, 8192, 16, 32, 8, 128256), True, head_dim=64),
        1_235_814_400,
    ),
    (
        "meta-llama/Llama-3.2-3B",
        block("llama", (3072, 8192, 28, 24, 8, 128256), True, head_dim=128),
        3_212_749_824,
    ),
    (
        "mistralai/Mistral-7B-v0.1",
        block("mistral", (4096, 14336, 32, 32, 8, 32000), False),
        7_241_732_096,
    ),
    (
        "mistralai/Mistral-7B-v0.3",
        block("mistral", (4096, 14336, 32, 32, 8, 32768), False),
        7_248_023_552,
    ),
    (
        "Qwen/Qwen2.5-0.5B",
        block("qwen2", (896, 4864, 24, 14, 2, 151936), True),
        494_032_768,
    ),
    (
        "Qwen/Qwen2.5-1.5B",
        block("qwen2", (1536, 8960, 28, 12, 2, 151936), True),
        1_543_714_304,
    ),
    (
        "Qwen/Qwen2.5-7B",
        block("qwen2", (3584, 18944, 28, 28, 4, 152064), False),
        7_615_616_512,
    ),
    (
        "Qwen/Qwen3-0.6B",
        block("qwen3", (1024, 3072, 28, 16, 8, 151936), True, head_dim=128),
        596_049_920,
    ),
    (
        "Qwen/Qwen3-4B",
        block("qwen3", (2560, 9728, 36, 32, 8, 151936), True, head_dim=128),
        4_022_468_096,
    ),
    (
        "Qwen/Qwen3-8B",
        block("qwen3", (4096, 12288, 36, 32, 8, 151936), False, head_dim=128),
        8_190_735_360,
    ),
    (
        "Qwen/Qwen3-14B",
        block("qwen3", (5120, 17408, 40, 40, 8, 151936), False, head_dim=128),
        14_768_307_200,
    ),
    (
        "Qwen/Qwen3-32B",
        block("qwen3", (5120, 25600, 64, 64, 8, 151936), False, head_dim=128),
        32_762_123_264,
    ),
    (
        "google/gemma-2b",
        block("gemma", (2048, 16384, 18, 8, 1, 256000), head_dim=256, hidden_act="gelu"),
        2_506_172_416,
    ),
    (
        "google/gemma-7b",
        block("gemma", (3072, 24576, 28, 16, 16, 256000), head_dim=256, hidden_act="gelu"),
        8_537_680_896,
    ),
    (
        "google/gemma-2-2b",
        block("gemma2", (2304, 9216, 26, 8, 4, 256000), head_dim=256),
        2_614_341_888,
    ),
    (
        "google/gemma-3-1b-pt",
        block("gemma3_text", (1152, 6912, 26, 4, 1, 262144), head_dim=256),
        999_885_952,
    ),
)

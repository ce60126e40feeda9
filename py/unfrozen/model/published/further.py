"""Further dense decoders, older ones among them.

Hub id, what its config.json says, (D, F, L, H, K, V) first, and how many parameters it has.
"""

from __future__ import annotations

from typing import Any, Final

from unfrozen.model.published.written import block, falcon, gpt2, neox

Rows = tuple[tuple[str, dict[str, Any], int], ...]

ROWS: Final[Rows] = (
    ("openai-community/gpt2", gpt2(768, 12, 12), 124_439_808),
    ("openai-community/gpt2-xl", gpt2(1600, 48, 25), 1_557_611_200),
    (
        "microsoft/Phi-3-mini-4k-instruct",
        block("phi3", (3072, 8192, 32, 32, 32, 32064), False),
        3_821_079_552,
    ),
    (
        "microsoft/phi-4",
        block("phi3", (5120, 17920, 40, 40, 10, 100352), False),
        14_659_507_200,
    ),
    ("EleutherAI/pythia-160m", neox((768, 3072, 12, 12, 0, 50304)), 162_322_944),
    ("EleutherAI/pythia-6.9b", neox((4096, 16384, 32, 32, 0, 50432)), 6_857_302_016),
    (
        "allenai/OLMo-1B-hf",
        block("olmo", (2048, 8192, 16, 16, 16, 50304), True),
        1_176_764_416,
    ),
    (
        "allenai/OLMo-2-1124-7B",
        block("olmo2", (4096, 11008, 32, 32, 32, 100352), False),
        7_298_617_344,
    ),
    (
        "HuggingFaceTB/SmolLM3-3B",
        block("smollm3", (2048, 11008, 36, 16, 4, 128256), True),
        3_075_098_624,
    ),
    (
        "meta-llama/Llama-3.3-70B-Instruct",
        block("llama", (8192, 28672, 80, 64, 8, 128256), False),
        70_553_706_496,
    ),
    (
        "mistralai/Mistral-Nemo-Base-2407",
        block("mistral", (5120, 14336, 40, 32, 8, 131072), False, head_dim=128),
        12_247_782_400,
    ),
    (
        "mistralai/Mistral-Small-24B-Base-2501",
        block("mistral", (5120, 32768, 40, 32, 8, 131072), False, head_dim=128),
        23_572_403_200,
    ),
    ("Qwen/Qwen2.5-3B", block("qwen2", (2048, 11008, 36, 16, 2, 151936), True), 3_085_938_688),
    ("Qwen/Qwen2.5-14B", block("qwen2", (5120, 13824, 48, 40, 8, 152064), False), 14_770_033_664),
    ("Qwen/Qwen2.5-32B", block("qwen2", (5120, 27648, 64, 40, 8, 152064), False), 32_763_876_352),
    ("Qwen/Qwen2.5-72B", block("qwen2", (8192, 29568, 80, 64, 8, 152064), False), 72_706_203_648),
    (
        "Qwen/Qwen3-1.7B",
        block("qwen3", (2048, 6144, 28, 16, 8, 151936), True, head_dim=128),
        1_720_574_976,
    ),
    (
        "google/gemma-2-9b",
        block("gemma2", (3584, 14336, 42, 16, 8, 256000), head_dim=256),
        9_241_705_984,
    ),
    (
        "google/gemma-2-27b",
        block("gemma2", (4608, 36864, 46, 32, 16, 256000), head_dim=128),
        27_227_128_320,
    ),
    (
        "google/gemma-3-270m",
        block("gemma3_text", (640, 2048, 18, 4, 1, 262144), head_dim=256),
        268_098_176,
    ),
    ("microsoft/phi-2", block("phi", (2560, 10240, 32, 32, 32, 51200), False), 2_779_683_840),
    (
        "microsoft/Phi-4-mini-instruct",
        block("phi3", (3072, 8192, 32, 24, 8, 200064), True),
        3_836_021_760,
    ),
    (
        "allenai/OLMo-2-1124-13B",
        block("olmo2", (5120, 13824, 40, 40, 40, 100352), False),
        13_716_198_400,
    ),
    (
        "allenai/Olmo-3-1025-7B",
        block("olmo3", (4096, 11008, 32, 32, 32, 100278), False),
        7_298_011_136,
    ),
    (
        "allenai/Olmo-3-1125-32B",
        block("olmo3", (5120, 27648, 64, 40, 8, 100278), False),
        32_233_522_176,
    ),
    (
        "ibm-granite/granite-3.3-8b-base",
        block("granite", (4096, 12800, 40, 32, 8, 49152), True),
        8_170_835_968,
    ),
    (
        "CohereLabs/c4ai-command-r-v01",
        block("cohere", (8192, 22528, 40, 64, 64, 256000), True),
        34_980_831_232,
    ),
    (
        "CohereLabs/c4ai-command-r7b-12-2024",
        block("cohere2", (4096, 14336, 32, 32, 8, 256000), True),
        8_028_033_024,
    ),
    (
        "LGAI-EXAONE/EXAONE-4.0-1.2B",
        block("exaone4", (2048, 4096, 30, 32, 8, 102400), True, head_dim=64),
        1_279_391_488,
    ),
    (
        "LGAI-EXAONE/EXAONE-4.0-32B",
        block("exaone4", (5120, 27392, 64, 40, 8, 102400), False, head_dim=128),
        32_003_216_384,
    ),
    (
        "baidu/ERNIE-4.5-0.3B-PT",
        block("ernie4_5", (1024, 3072, 18, 16, 2, 103424), True, head_dim=128),
        360_748_032,
    ),
    (
        "zai-org/GLM-4-9B-0414",
        block("glm4", (4096, 13696, 40, 32, 2, 151552), False, head_dim=128, attention_bias=False),
        9_400_094_720,
    ),
    (
        "bigcode/starcoder2-3b",
        block("starcoder2", (3072, 12288, 30, 24, 2, 49152), True),
        3_030_371_328,
    ),
    (
        "bigcode/starcoder2-7b",
        block("starcoder2", (4608, 18432, 32, 36, 4, 49152), True),
        7_173_923_840,
    ),
    (
        "stabilityai/stablelm-2-1_6b",
        block("stablelm", (2048, 5632, 24, 32, 32, 100352), False, use_qkv_bias=True),
        1_644_515_328,
    ),
    ("tiiuae/falcon-7b", falcon(4544, 32, 71), 6_921_720_704),
    (
        "tiiuae/falcon-40b",
        falcon(8192, 60, 128, num_kv_heads=8, new_decoder_architecture=True),
        41_303_293_952,
    ),
    (
        "ByteDance-Seed/Seed-OSS-36B-Base",
        block(
            "seed_oss", (5120, 27648, 64, 80, 8, 155136), False, head_dim=128, attention_bias=True
        ),
        36_151_104_512,
    ),
)

"""Mixtures of experts.

Hub id, what its config.json says, (D, F, L, H, K, V) first, and how many parameters it has.
"""

from __future__ import annotations

from typing import Any, Final

from unfrozen.model.published.written import (
    DEEPSEEK_V3,
    LATENT,
    QWEN3_MOE,
    QWEN3_NEXT,
    QWEN_MOE,
    block,
)

Rows = tuple[tuple[str, dict[str, Any], int], ...]

ROWS: Final[Rows] = (
    (
        "mistralai/Mixtral-8x7B-v0.1",
        block("mixtral", (4096, 14336, 32, 32, 8, 32000), False, num_local_experts=8),
        46_702_792_704,
    ),
    (
        "Qwen/Qwen1.5-MoE-A2.7B",
        block("qwen2_moe", (2048, 5632, 24, 16, 16, 151936), False, **QWEN_MOE),
        14_315_784_192,
    ),
    (
        "Qwen/Qwen3-30B-A3B",
        block("qwen3_moe", (2048, 6144, 48, 32, 4, 151936), False, **QWEN3_MOE),
        30_532_122_624,
    ),
    (
        "openai/gpt-oss-20b",
        block(
            "gpt_oss",
            (2880, 2880, 24, 64, 8, 201088),
            False,
            head_dim=64,
            num_local_experts=32,
            num_experts_per_tok=4,
        ),
        20_914_757_184,
    ),
    (
        "openai/gpt-oss-120b",
        block(
            "gpt_oss",
            (2880, 2880, 36, 64, 8, 201088),
            False,
            head_dim=64,
            num_local_experts=128,
            num_experts_per_tok=4,
        ),
        116_829_156_672,
    ),
    (
        "mistralai/Mixtral-8x22B-v0.1",
        block("mixtral", (6144, 16384, 56, 48, 8, 32000), False, num_local_experts=8),
        140_620_634_112,
    ),
    (
        "Qwen/Qwen3-235B-A22B",
        block(
            "qwen3_moe",
            (4096, 12288, 94, 64, 4, 151936),
            False,
            **(QWEN3_MOE | {"moe_intermediate_size": 1536}),
        ),
        235_093_634_560,
    ),
    (
        "Qwen/Qwen3-Next-80B-A3B-Instruct",
        block("qwen3_next", (2048, 5632, 48, 16, 2, 151936), False, **QWEN3_NEXT),
        79_674_391_296,
    ),
    (
        "deepseek-ai/DeepSeek-V2-Lite",
        block(
            "deepseek_v2",
            (2048, 10944, 27, 16, 16, 102400),
            False,
            **(
                LATENT
                | {
                    "moe_intermediate_size": 1408,
                    "n_routed_experts": 64,
                    "n_shared_experts": 2,
                    "num_experts_per_tok": 6,
                    "first_k_dense_replace": 1,
                    "q_lora_rank": None,
                }
            ),
        ),
        15_706_484_224,
    ),
    (
        "deepseek-ai/DeepSeek-V3",
        block("deepseek_v3", (7168, 18432, 61, 128, 128, 129280), False, **(LATENT | DEEPSEEK_V3)),
        671_026_404_352,
    ),
    (
        "moonshotai/Kimi-K2-Base",
        block(
            "kimi_k2",
            (7168, 18432, 61, 64, 64, 163840),
            False,
            **(
                LATENT
                | DEEPSEEK_V3
                | {
                    "n_routed_experts": 384,
                    "first_k_dense_replace": 1,
                    "n_group": 1,
                    "topk_group": 1,
                }
            ),
        ),
        1_026_408_209_408,
    ),
    (
        "zai-org/GLM-4.5-Air-Base",
        block(
            "glm4_moe",
            (4096, 10944, 46, 96, 8, 151552),
            False,
            head_dim=128,
            attention_bias=True,
            moe_intermediate_size=1408,
            n_routed_experts=128,
            n_shared_experts=1,
            num_experts_per_tok=8,
            first_k_dense_replace=1,
        ),
        106_852_245_504,
    ),
    (
        "zai-org/GLM-4.5-Base",
        block(
            "glm4_moe",
            (5120, 12288, 92, 96, 8, 151552),
            False,
            head_dim=128,
            attention_bias=True,
            use_qk_norm=True,
            moe_intermediate_size=1536,
            n_routed_experts=160,
            n_shared_experts=1,
            num_experts_per_tok=8,
            first_k_dense_replace=3,
        ),
        352_797_814_784,
    ),
    (
        "baidu/ERNIE-4.5-21B-A3B-PT",
        block(
            "ernie4_5_moe",
            (2560, 12288, 28, 20, 4, 103424),
            True,
            moe_intermediate_size=1536,
            moe_num_experts=64,
            moe_k=6,
            moe_num_shared_experts=2,
        ),
        21_825_437_888,
    ),
    (
        "microsoft/Phi-3.5-MoE-instruct",
        block(
            "phimoe",
            (4096, 6400, 32, 32, 8, 32064),
            False,
            num_local_experts=16,
            attention_bias=True,
            lm_head_bias=True,
        ),
        41_873_153_344,
    ),
    (
        "allenai/OLMoE-1B-7B-0924",
        block(
            "olmoe", (2048, 1024, 16, 16, 16, 50304), False, num_experts=64, num_experts_per_tok=8
        ),
        6_919_161_856,
    ),
    (
        "MiniMaxAI/MiniMax-M2",
        block(
            "minimax_m2",
            (3072, 1536, 62, 48, 8, 200064),
            False,
            head_dim=128,
            num_local_experts=256,
            num_experts_per_tok=8,
        ),
        228_689_748_992,
    ),
)

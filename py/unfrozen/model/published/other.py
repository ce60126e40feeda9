"""State spaces, hybrids, encoders, and models that see pictures.

Hub id, what its config.json says, (D, F, L, H, K, V) first, and how many parameters it has.
"""

from __future__ import annotations

from typing import Any, Final

from unfrozen.model.published.written import CLIP_L, SO400M, block, gemma3, mllama, qwen_vl, scout

Rows = tuple[tuple[str, dict[str, Any], int], ...]

ROWS: Final[Rows] = (
    (
        "state-spaces/mamba-130m-hf",
        {"model_type": "mamba", "hidden_size": 768, "num_hidden_layers": 24, "vocab_size": 50280},
        129_135_360,
    ),
    (
        "state-spaces/mamba-2.8b-hf",
        {"model_type": "mamba", "hidden_size": 2560, "num_hidden_layers": 64, "vocab_size": 50280},
        2_768_345_600,
    ),
    (
        "tiiuae/falcon-mamba-7b",
        {
            "model_type": "falcon_mamba",
            "hidden_size": 4096,
            "num_hidden_layers": 64,
            "vocab_size": 65024,
            "tie_word_embeddings": False,
        },
        7_272_665_088,
    ),
    (
        "mistralai/Mamba-Codestral-7B-v0.1",
        {
            "model_type": "mamba2",
            "hidden_size": 4096,
            "num_hidden_layers": 64,
            "vocab_size": 32768,
            "num_heads": 128,
            "head_dim": 64,
            "tie_word_embeddings": False,
        },
        7_285_403_648,
    ),
    ("ai21labs/Jamba-v0.1", block("jamba", (4096, 14336, 32, 32, 8, 65536), False), 51_570_323_328),
    (
        "LiquidAI/LFM2-1.2B",
        block("lfm2", (2048, 12288, 16, 32, 8, 65536), True, full_attn_idxs=[2, 5, 8, 10, 12, 14]),
        1_170_340_608,
    ),
    (
        "google-bert/bert-base-uncased",
        {"model_type": "bert", "architectures": ["BertForMaskedLM"], "vocab_size": 30522},
        109_514_298,
    ),
    (
        "FacebookAI/roberta-base",
        {
            "model_type": "roberta",
            "hidden_size": 768,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "intermediate_size": 3072,
            "vocab_size": 50265,
            "max_position_embeddings": 514,
            "type_vocab_size": 1,
        },
        124_697_433,
    ),
    (
        "answerdotai/ModernBERT-base",
        {
            "model_type": "modernbert",
            "hidden_size": 768,
            "num_hidden_layers": 22,
            "vocab_size": 50368,
        },
        149_655_232,
    ),
    (
        "google-t5/t5-base",
        {
            "model_type": "t5",
            "d_model": 768,
            "d_ff": 3072,
            "num_layers": 12,
            "num_heads": 12,
            "vocab_size": 32128,
        },
        222_903_552,
    ),
    (
        "llava-hf/llava-1.5-7b-hf",
        {
            "model_type": "llava",
            "tie_word_embeddings": False,
            "text_config": block("llama", (4096, 11008, 32, 32, 32, 32064)),
            "vision_config": {**CLIP_L, "model_type": "clip_vision_model"},
        },
        7_063_427_072,
    ),
    ("meta-llama/Llama-3.2-11B-Vision", mllama(), 10_670_220_835),
    ("meta-llama/Llama-4-Scout-17B-16E", scout(), 108_641_793_536),
    ("google/gemma-3-4b-pt", gemma3((2560, 10240, 34, 8, 4, 262208), 256), 4_300_079_472),
    ("google/gemma-3-12b-pt", gemma3((3840, 15360, 48, 16, 8, 262208), 256), 12_187_325_040),
    ("google/gemma-3-27b-pt", gemma3((5376, 21504, 62, 32, 16, 262208), 128), 27_432_406_640),
    (
        "google/paligemma-3b-pt-224",
        {
            "model_type": "paligemma",
            "projection_dim": 2048,
            "text_config": block("gemma", (2048, 16384, 18, 8, 1, 257216), head_dim=256),
            "vision_config": {**SO400M, "image_size": 224, "model_type": "siglip_vision_model"},
        },
        2_923_466_480,
    ),
    (
        "Qwen/Qwen2.5-VL-3B-Instruct",
        qwen_vl("qwen2_5_vl", (2048, 11008, 36, 16, 2, 151936), True),
        3_754_622_976,
    ),
    (
        "Qwen/Qwen2.5-VL-7B-Instruct",
        qwen_vl("qwen2_5_vl", (3584, 18944, 28, 28, 4, 152064), False),
        8_292_166_656,
    ),
    (
        "Qwen/Qwen3-VL-8B-Instruct",
        qwen_vl("qwen3_vl", (4096, 12288, 36, 32, 8, 151936), False),
        8_767_123_696,
    ),
    (
        "mistralai/Mistral-Small-3.1-24B-Base-2503",
        {
            "model_type": "mistral3",
            "tie_word_embeddings": False,
            "text_config": block("mistral", (5120, 32768, 40, 32, 8, 131072), head_dim=128),
            "vision_config": {**CLIP_L, "image_size": 1540, "model_type": "pixtral"},
        },
        24_011_361_280,
    ),
    (
        "HuggingFaceTB/SmolVLM-Instruct",
        {
            "model_type": "idefics3",
            "scale_factor": 3,
            "text_config": block("llama", (2048, 8192, 24, 32, 32, 49155)),
            "vision_config": {**SO400M, "image_size": 384},
        },
        2_246_272_880,
    ),
)

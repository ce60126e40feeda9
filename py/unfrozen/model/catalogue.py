"""Published models: the keys of their config.json that decide their tensors, and their size.

The values are those of the config.json each owner publishes on huggingface.co; the tests build
every one with transformers and compare names, shapes and counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

from unfrozen.errors import PlanError
from unfrozen.model.config import ModelConfig


@dataclass(frozen=True)
class PublishedModel:
    """A published model: its hub id, its config and the number of parameters it really has."""

    hub_id: str
    config: dict[str, Any]
    num_parameters: int

    @property
    def model(self) -> ModelConfig:
        """The model this config names."""
        return ModelConfig.from_hf(self.config)


_KEYS: Final = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "vocab_size",
)


def _block(
    model_type: str, sizes: tuple[int, ...], tied: bool | None = None, **more: object
) -> dict[str, Any]:
    config: dict[str, Any] = {"model_type": model_type, **dict(zip(_KEYS, sizes, strict=True))}
    if tied is not None:
        config["tie_word_embeddings"] = tied
    return config | more


def _gpt2(width: int, layers: int, heads: int) -> dict[str, Any]:
    sizes = {"n_embd": width, "n_layer": layers, "n_head": heads}
    return {"model_type": "gpt2", **sizes, "n_positions": 1024, "vocab_size": 50257}


def _neox(sizes: tuple[int, ...]) -> dict[str, Any]:
    config = _block("gpt_neox", sizes, tied=False, hidden_act="gelu")
    del config["num_key_value_heads"]
    return config


_QWEN_MOE: Final = {
    "num_experts": 60,
    "num_experts_per_tok": 4,
    "moe_intermediate_size": 1408,
    "shared_expert_intermediate_size": 5632,
    "decoder_sparse_step": 1,
}
_QWEN3_MOE: Final = {
    "head_dim": 128,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "moe_intermediate_size": 768,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
}

# hub id, (D, F, L, H, K, V) and what else the file says, parameters
CATALOGUE: Final = {
    hub_id: PublishedModel(hub_id, config, count)
    for hub_id, config, count in (
        (
            "HuggingFaceTB/SmolLM2-135M",
            _block("llama", (576, 1536, 30, 9, 3, 49152), True),
            134_515_008,
        ),
        (
            "HuggingFaceTB/SmolLM2-360M",
            _block("llama", (960, 2560, 32, 15, 5, 49152), True),
            361_821_120,
        ),
        (
            "HuggingFaceTB/SmolLM2-1.7B",
            _block("llama", (2048, 8192, 24, 32, 32, 49152), True),
            1_711_376_384,
        ),
        (
            "TinyLlama/TinyLlama_v1.1",
            _block("llama", (2048, 5632, 22, 32, 4, 32000), False),
            1_100_048_384,
        ),
        (
            "meta-llama/Llama-2-7b-hf",
            _block("llama", (4096, 11008, 32, 32, 32, 32000), False),
            6_738_415_616,
        ),
        (
            "meta-llama/Llama-2-13b-hf",
            _block("llama", (5120, 13824, 40, 40, 40, 32000), False),
            13_015_864_320,
        ),
        (
            "meta-llama/Llama-2-70b-hf",
            _block("llama", (8192, 28672, 80, 64, 8, 32000), False),
            68_976_648_192,
        ),
        (
            "meta-llama/Llama-3.1-8B",
            _block("llama", (4096, 14336, 32, 32, 8, 128256), False),
            8_030_261_248,
        ),
        (
            "meta-llama/Llama-3.1-70B",
            _block("llama", (8192, 28672, 80, 64, 8, 128256), False),
            70_553_706_496,
        ),
        (
            "meta-llama/Llama-3.2-1B",
            _block("llama", (2048, 8192, 16, 32, 8, 128256), True, head_dim=64),
            1_235_814_400,
        ),
        (
            "meta-llama/Llama-3.2-3B",
            _block("llama", (3072, 8192, 28, 24, 8, 128256), True, head_dim=128),
            3_212_749_824,
        ),
        (
            "mistralai/Mistral-7B-v0.1",
            _block("mistral", (4096, 14336, 32, 32, 8, 32000), False),
            7_241_732_096,
        ),
        (
            "mistralai/Mistral-7B-v0.3",
            _block("mistral", (4096, 14336, 32, 32, 8, 32768), False),
            7_248_023_552,
        ),
        (
            "Qwen/Qwen2.5-0.5B",
            _block("qwen2", (896, 4864, 24, 14, 2, 151936), True),
            494_032_768,
        ),
        (
            "Qwen/Qwen2.5-1.5B",
            _block("qwen2", (1536, 8960, 28, 12, 2, 151936), True),
            1_543_714_304,
        ),
        (
            "Qwen/Qwen2.5-7B",
            _block("qwen2", (3584, 18944, 28, 28, 4, 152064), False),
            7_615_616_512,
        ),
        (
            "Qwen/Qwen3-0.6B",
            _block("qwen3", (1024, 3072, 28, 16, 8, 151936), True, head_dim=128),
            596_049_920,
        ),
        (
            "Qwen/Qwen3-4B",
            _block("qwen3", (2560, 9728, 36, 32, 8, 151936), True, head_dim=128),
            4_022_468_096,
        ),
        (
            "Qwen/Qwen3-8B",
            _block("qwen3", (4096, 12288, 36, 32, 8, 151936), False, head_dim=128),
            8_190_735_360,
        ),
        (
            "Qwen/Qwen3-14B",
            _block("qwen3", (5120, 17408, 40, 40, 8, 151936), False, head_dim=128),
            14_768_307_200,
        ),
        (
            "Qwen/Qwen3-32B",
            _block("qwen3", (5120, 25600, 64, 64, 8, 151936), False, head_dim=128),
            32_762_123_264,
        ),
        (
            "google/gemma-2b",
            _block("gemma", (2048, 16384, 18, 8, 1, 256000), head_dim=256, hidden_act="gelu"),
            2_506_172_416,
        ),
        (
            "google/gemma-7b",
            _block("gemma", (3072, 24576, 28, 16, 16, 256000), head_dim=256, hidden_act="gelu"),
            8_537_680_896,
        ),
        (
            "google/gemma-2-2b",
            _block("gemma2", (2304, 9216, 26, 8, 4, 256000), head_dim=256),
            2_614_341_888,
        ),
        (
            "google/gemma-3-1b-pt",
            _block("gemma3_text", (1152, 6912, 26, 4, 1, 262144), head_dim=256),
            999_885_952,
        ),
        ("openai-community/gpt2", _gpt2(768, 12, 12), 124_439_808),
        ("openai-community/gpt2-xl", _gpt2(1600, 48, 25), 1_557_611_200),
        (
            "microsoft/Phi-3-mini-4k-instruct",
            _block("phi3", (3072, 8192, 32, 32, 32, 32064), False),
            3_821_079_552,
        ),
        (
            "microsoft/phi-4",
            _block("phi3", (5120, 17920, 40, 40, 10, 100352), False),
            14_659_507_200,
        ),
        ("EleutherAI/pythia-160m", _neox((768, 3072, 12, 12, 0, 50304)), 162_322_944),
        ("EleutherAI/pythia-6.9b", _neox((4096, 16384, 32, 32, 0, 50432)), 6_857_302_016),
        (
            "allenai/OLMo-1B-hf",
            _block("olmo", (2048, 8192, 16, 16, 16, 50304), True),
            1_176_764_416,
        ),
        (
            "allenai/OLMo-2-1124-7B",
            _block("olmo2", (4096, 11008, 32, 32, 32, 100352), False),
            7_298_617_344,
        ),
        (
            "mistralai/Mixtral-8x7B-v0.1",
            _block("mixtral", (4096, 14336, 32, 32, 8, 32000), False, num_local_experts=8),
            46_702_792_704,
        ),
        (
            "Qwen/Qwen1.5-MoE-A2.7B",
            _block("qwen2_moe", (2048, 5632, 24, 16, 16, 151936), False, **_QWEN_MOE),
            14_315_784_192,
        ),
        (
            "Qwen/Qwen3-30B-A3B",
            _block("qwen3_moe", (2048, 6144, 48, 32, 4, 151936), False, **_QWEN3_MOE),
            30_532_122_624,
        ),
    )
}
"""Every published model of this table by its hub id."""


def find(name: str) -> PublishedModel:
    """The model of this hub id, owner and case optional; PlanError naming those that are near."""
    wanted = name.lower()
    for hub_id, published in CATALOGUE.items():
        if wanted in (hub_id.lower(), hub_id.lower().partition("/")[2]):
            return published
    names = {hub_id.partition("/")[2].lower(): hub_id for hub_id in CATALOGUE}
    near = get_close_matches(wanted.rpartition("/")[2], names, n=3, cutoff=0.4)
    shown = ", ".join(names[key] for key in near) or ", ".join(CATALOGUE)
    raise PlanError("model", name, "this model is not in the catalogue", f"did you mean {shown}")

"""What people ask for that no plan counts, and what to plan instead: one row for each word."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from unfrozen.errors import PlanError

_SAME: Final = "plan lora: its tensors are the same"
_FEWER: Final = "plan lora with a small rank: it trains no fewer weights"
_FOUR_BITS: Final = "plan qlora with base nf4: it has as many bits a weight"
_EIGHT_BIT: Final = "set optimizer to adamw and moments to int8"

INSTEAD: Final = {
    **dict.fromkeys(("gptq", "awq", "aqlm", "hqq", "exl2", "gguf"), _FOUR_BITS),
    "eetq": "plan qlora with base int8",
    "dora": "plan lora: it adds a vector for each layer, and takes longer",
    **dict.fromkeys(("rslora", "loraplus", "pissa", "loftq", "olora", "corda"), _SAME),
    **dict.fromkeys(("adalora", "vera", "ia3", "oft", "loha", "lokr", "prefix", "prompt"), _FEWER),
    **dict.fromkeys(
        ("modules_to_save", "lora_modules_to_save", "additional_target"),
        "name embedding and head among the targets of lora",
    ),
    **dict.fromkeys(
        ("lora_target_parameters", "target_parameters"), "name experts among the targets of lora"
    ),
    **dict.fromkeys(
        ("lisa", "badam", "freeze"), "plan lora or full: layers that train in turn are not counted"
    ),
    "device_map": "set sharding to zero3, or pipeline_parallel: one GPU at a time would work",
    **dict.fromkeys(
        ("gpipe", "zero_bubble", "zb_h2", "zb_v", "zbv", "dualpipe", "dualpipe_v"),
        "set pipeline_schedule to interleaved, whose bubbles are small, or to 1f1b",
    ),
    **dict.fromkeys(("tiled_mlp", "alst"), "set checkpointing to full, or context_parallel"),
    "recompute_modules": "set checkpointing to selective",
    **dict.fromkeys(("dpo", "ipo", "kto"), "set objective to dpo"),
    **dict.fromkeys(("orpo", "simpo", "cpo"), "set objective to dpo, and reference to false"),
    **dict.fromkeys(("grpo", "dapo", "vllm"), "set objective to grpo"),
    **dict.fromkeys(
        ("ppo", "rloo"), "set objective to grpo: a model of values adds its own memory"
    ),
    **dict.fromkeys(("image_size", "pixels", "max_pixels"), "give seq_len with the images' tokens"),
    **dict.fromkeys(("adamw_8bit", "adamw_bnb_8bit", "adamw8bit"), _EIGHT_BIT),
    **dict.fromkeys(("adamw4bit", "adamw_4bit"), _EIGHT_BIT),
    **dict.fromkeys(("paged_adamw_8bit", "paged_adamw8bit"), f"{_EIGHT_BIT}, and paged to true"),
    **dict.fromkeys(("fsdp", "fsdp2"), "set sharding to zero3, or to zero2"),
    "ddp": "set sharding to none",
    **dict.fromkeys(
        ("apple", "mps", "mlx", "mac", "macbook", "imac"),
        "name the chip and its memory, for example M4 Max 64GB",
    ),
    **dict.fromkeys(("tpu", "gaudi", "trainium"), "plan a GPU: the memory of XLA is not counted"),
}
"""By word, in lower case with underscores."""


def instead_of(word: object) -> str:
    """Return what to plan instead of a word that people type; "" for one that nobody does."""
    if not isinstance(word, str):
        return ""
    name = re.sub(r"[\s-]+", "_", word.strip().lower()).removeprefix("use_")
    return INSTEAD.get(name) or INSTEAD.get(name.partition("_")[0], "")


def refuse_key(path: str, key: str, value: object, known: Iterable[str]) -> PlanError:
    """Return the refusal of a key that a part of a job does not have."""
    told = instead_of(key)
    bound = "no setting has this name" if told else f"known keys are {', '.join(known)}"
    return PlanError(f"{path}{key}", value, bound, told or "drop it")

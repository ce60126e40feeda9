"""The commonest plans, computed with the site: the planner draws them before Python is there."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from unfrozen.errors import InputError
from unfrozen.planner import outline
from unfrozen.planner.presets import PRESETS

COMMON_PLANS: Final = "common-plans.json"
_DEFAULT: Final = {"model": "meta-llama/Llama-3.1-8B", "gpu": "A100 80GB SXM"}
"""The planner takes these where a state names none."""
_MODELS: Final = (
    _DEFAULT["model"],
    "meta-llama/Llama-3.2-1B",
    "meta-llama/Llama-3.2-3B",
    "meta-llama/Llama-3.1-70B",
    "mistralai/Mistral-7B-v0.3",
    "Qwen/Qwen2.5-0.5B",
    "Qwen/Qwen2.5-7B",
    "Qwen/Qwen3-0.6B",
    "Qwen/Qwen3-1.7B",
    "Qwen/Qwen3-4B",
    "Qwen/Qwen3-8B",
    "Qwen/Qwen3-14B",
    "Qwen/Qwen3-32B",
    "Qwen/Qwen3-30B-A3B",
    "Qwen/Qwen3.5-4B",
    "Qwen/Qwen3.5-9B",
    "google/gemma-3-1b-pt",
    "google/gemma-3-4b-pt",
    "openai/gpt-oss-20b",
    "HuggingFaceTB/SmolLM2-135M",
)
_GPUS: Final = (
    _DEFAULT["gpu"],
    "RTX 3090",
    "RTX 4090",
    "RTX 5090",
    "T4",
    "L40S",
    "H100 SXM",
    "H200",
    "B200",
)


def common_plans() -> dict[str, Any]:
    """Return what a state of both defaults is, and the outline of each plan by its state.

    The key of a state is JSON of its sorted pairs, without those that are a default's.
    """
    plans = {}
    for model in _MODELS:
        for gpu in _GPUS:
            asked = {"model": model, "gpu": gpu}
            for preset in PRESETS:
                state = preset.apply({k: v for k, v in asked.items() if v != _DEFAULT[k]})
                key = json.dumps(sorted(state.items()), separators=(",", ":"))
                with suppress(InputError):  # a T4 has no bf16
                    plans[key] = outline(state)
    return {"default": _DEFAULT, "plans": plans}


def write_common_plans(out: Path) -> None:
    """Write them into the folder of the site."""
    text = json.dumps(common_plans(), ensure_ascii=False, separators=(",", ":"))
    (out / COMMON_PLANS).write_text(text, encoding="utf-8")

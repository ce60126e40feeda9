"""What a training step takes when experts take part in autocast, and when they do not."""

import time
from collections.abc import Callable
from typing import Any, Final

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from gpu_runner.model.blocks import GROUPED_MM, autocast_experts
from tests.bench import Ratio, show

SIZES: Final[dict[str, tuple[str, int, dict[str, Any]]]] = {
    "Mixtral, 8 x 1024 of width 512, 1024 tokens": (
        "mixtral",
        1024,
        {"hidden_size": 512, "intermediate_size": 1024, "num_local_experts": 8},
    ),
    "Qwen3, 32 x 384 of width 768, 2048 tokens": (
        "qwen3_moe",
        2048,
        {
            "hidden_size": 768,
            "moe_intermediate_size": 384,
            "num_experts": 32,
            "num_experts_per_tok": 4,
            "head_dim": 64,
        },
    ),
}
ROUNDS: Final = 5


def seconds(step: Callable[[], None]) -> float:
    """The fastest of some."""
    step()
    found = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        step()
        found.append(time.perf_counter() - start)
    return min(found)


def main() -> None:
    """Forward and backward passes with fp32 weights under bf16 autocast, side by side."""
    rows = []
    for name, (family, tokens, sizes) in SIZES.items():
        config = AutoConfig.for_model(
            family,
            **sizes,
            vocab_size=512,
            num_hidden_layers=2,
            num_attention_heads=8,
            num_key_value_heads=4,
        )
        model = AutoModelForCausalLM.from_config(config)
        ids = torch.randint(0, 512, (1, tokens))

        def step(model: Any = model, ids: torch.Tensor = ids) -> None:
            model.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                loss = model(ids, labels=ids).loss
            loss.backward()

        model.set_experts_implementation(GROUPED_MM)
        before = seconds(step)
        autocast_experts(model)
        rows.append(Ratio(name, seconds(step), before, "s"))
    show("Steps of experts with fp32 weights under bf16 autocast", "transformers' experts", rows)


if __name__ == "__main__":
    main()

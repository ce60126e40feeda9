"""Replay traced steps through a model of PyTorch's allocator, beside what the planner derives.

    .venv/bin/python docs/allocator_replays.py            every job
    .venv/bin/python docs/allocator_replays.py lora       those with this in their name

Three steps of each job are traced; `allocated`, `reserved` and `needed` are those of the replay,
the last the least capacity in which it does not run out of memory. Of each the planner's number
stands behind, and how far `reserved` and `needed` are off.
"""

from __future__ import annotations

import sys
from typing import Any, Final

from caching_allocator import least_capacity, record_allocations, replay

from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan import plan
from unfrozen.units import gib

LLAMA: Final = "meta-llama/Llama-3.1-8B"
SMALL: Final = "meta-llama/Llama-3.2-1B"
QWEN: Final = "Qwen/Qwen2.5-1.5B"
PURE: Final = {"params": "bf16", "master": None, "moments": "bf16", "attention": "flash"}
LORA: Final = {
    "method": "lora",
    "params": "bf16",
    "attention": "flash",
    "lora": {"library": "peft", "dtype": "fp32", "autocast": True, "targets": ["q_proj", "v_proj"]},
}
AGAIN: Final = {"checkpointing": "full"}
JOBS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "lora, 1 × 4096": (LLAMA, LORA | {"seq_len": 4096}),
    "lora recomputed, 4 × 4096": (LLAMA, LORA | AGAIN | {"seq_len": 4096, "micro_batch": 4}),
    "lora recomputed, 8 × 4096": (LLAMA, LORA | AGAIN | {"seq_len": 4096, "micro_batch": 8}),
    "full recomputed, 2 × 4096": (LLAMA, PURE | AGAIN | {"seq_len": 4096, "micro_batch": 2}),
    "full recomputed, 4 × 4096, foreach": (
        LLAMA,
        PURE | AGAIN | {"seq_len": 4096, "micro_batch": 4, "step": "foreach"},
    ),
    "1B, 4 × 2048": (SMALL, PURE | {"micro_batch": 4}),
    "1B autocast, 4 × 2048": (
        SMALL,
        {"params": "fp32", "compute": "bf16", "attention": "flash", "micro_batch": 4},
    ),
    "1B recomputed, 16 × 2048": (SMALL, PURE | AGAIN | {"micro_batch": 16}),
    "Qwen 1.5B, 4 × 2048": (QWEN, PURE | {"micro_batch": 4}),
    "Qwen 1.5B recomputed, 2 · 8 × 2048": (
        QWEN,
        PURE | AGAIN | {"micro_batch": 8, "grad_accum": 2},
    ),
}


def main() -> None:
    """Print a line for each job."""
    print(f"{'':36}{'allocated':>16}{'reserved':>24}{'needed':>24}")
    for name, (model, recipe) in JOBS.items():
        if not sys.argv[1:] or any(word in name for word in sys.argv[1:]):
            given = {"model": CATALOGUE[model].config, "recipe": recipe}
            requests = record_allocations(given)
            found, planned = replay(requests), plan(given)
            pairs = (
                (found.most_allocated, planned.allocated_bytes),
                (found.most_reserved, planned.reserved_bytes),
                (least_capacity(requests), planned.needed_bytes),
            )
            cells = [f"{gib(is_so):8.2f} {gib(said):7.2f}" for is_so, said in pairs]
            off = [f"{said / is_so - 1:+7.1%}" for is_so, said in pairs]
            print(f"{name:36}{cells[0]}{cells[1]}{off[1]}{cells[2]}{off[2]}", flush=True)


if __name__ == "__main__":
    main()

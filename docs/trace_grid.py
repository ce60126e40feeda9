"""Trace a grid of training steps into web/measurements/steps.json, to test the memory model on.

    .venv/bin/python docs/trace_grid.py           the rows that are missing
    .venv/bin/python docs/trace_grid.py --anew    all of them: after an update of torch
    .venv/bin/python docs/trace_grid.py --list    their names

Every model is a published one of `unfrozen.model.catalogue`, whole or with its first layers only:
widths, heads and vocabulary, on which memory depends, are always real. A row says which versions
made it, and its job is traced to the same bytes again.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

if __name__ == "__main__":
    from traced_job import trace, trace_id
else:
    from docs.traced_job import trace, trace_id

STEPS: Final = Path(__file__).parents[1] / "web" / "measurements" / "steps.json"

TINY = "TinyLlama/TinyLlama-1.1B-intermediate-step-1431k-3T"
BF16: Final = {"params": "bf16", "compute": "bf16", "grads": "bf16", "moments": "bf16"}
FP32: Final = {"params": "fp32", "compute": "fp32", "grads": "fp32", "moments": "fp32"}
AUTOCAST: Final = FP32 | {"compute": "bf16"}
FP16: Final = {"params": "fp16", "compute": "fp16", "grads": "fp16"}
CHECKPOINTED: Final = {"checkpointing": "full"}
FLASH: Final = {"attention": "flash"}
EAGER: Final = {"attention": "eager"}
EXACT: Final = {"grads": "fp32", "moments": "fp32"}
NARROW: Final = {"rank": 16, "dtype": "bf16", "targets": ["all-linear"], "library": "peft"}
LORA: Final = BF16 | {"method": "lora", "lora": NARROW}
WIDE: Final = LORA | {"lora": NARROW | {"dtype": "fp32"}, **EXACT}
CAST: Final = LORA | {"lora": NARROW | {"dtype": "fp32", "autocast": True}, **EXACT}
RECIPE: Final[dict[str, Any]] = {
    "method": "full",
    "master": None,
    "optimizer": "adamw",
    "step": "fused",
    "grad_accum": 1,
    "attention": "sdpa",
    "kernels": "eager",
    "checkpointing": "none",
    "dropout": 0.0,
    "loss": "logits_fp32",
}

LLAMA: Final = "meta-llama/Llama-3.2-3B"
GPT2: Final = "openai-community/gpt2-xl"
SHALLOW: Final = (  # four layers of each family, under every kind of recipe
    LLAMA,
    "HuggingFaceTB/SmolLM2-1.7B",
    "mistralai/Mistral-7B-v0.3",
    "Qwen/Qwen2.5-1.5B",
    "Qwen/Qwen3-4B",
    "google/gemma-2b",
    "google/gemma-2-2b",
    "google/gemma-3-1b-pt",
    "openai-community/gpt2-xl",
    "microsoft/Phi-3-mini-4k-instruct",
    "EleutherAI/pythia-6.9b",
    "allenai/OLMo-1B-hf",
    "allenai/OLMo-2-1124-7B",
    "mistralai/Mixtral-8x7B-v0.1",
    "Qwen/Qwen1.5-MoE-A2.7B",
    "Qwen/Qwen3-30B-A3B",
)
ONLY_EAGER: Final = {"gemma2"}  # transformers has no other attention for it
ONLY_BF16: Final = {"mixtral", "qwen2_moe", "qwen3_moe"}  # PyTorch's shapes of grouped products

WHOLE: Final[tuple[tuple[str, int, int, dict[str, Any]], ...]] = (
    ("HuggingFaceTB/SmolLM2-135M", 8, 512, BF16),
    ("HuggingFaceTB/SmolLM2-360M", 4, 1024, BF16 | CHECKPOINTED),
    ("HuggingFaceTB/SmolLM2-1.7B", 1, 2048, BF16),
    ("Qwen/Qwen2.5-0.5B", 2, 1024, BF16),
    ("Qwen/Qwen2.5-1.5B", 2, 2048, BF16 | CHECKPOINTED),
    ("Qwen/Qwen2.5-7B", 1, 4096, BF16 | CHECKPOINTED),
    ("Qwen/Qwen3-0.6B", 4, 1024, BF16),
    ("Qwen/Qwen3-0.6B", 2, 1024, AUTOCAST),
    ("Qwen/Qwen3-8B", 1, 2048, BF16),
    ("meta-llama/Llama-3.2-1B", 2, 1024, AUTOCAST | CHECKPOINTED),
    ("meta-llama/Llama-3.2-3B", 2, 4096, BF16),
    ("meta-llama/Llama-3.1-8B", 1, 8192, BF16 | CHECKPOINTED),
    ("mistralai/Mistral-7B-v0.1", 1, 2048, BF16),
    ("google/gemma-3-1b-pt", 2, 1024, BF16),
    ("openai-community/gpt2", 8, 1024, AUTOCAST),
    ("openai-community/gpt2-xl", 1, 1024, FP32),
    ("EleutherAI/pythia-160m", 8, 2048, BF16),
    ("microsoft/Phi-3-mini-4k-instruct", 1, 4096, BF16 | CHECKPOINTED),
    ("allenai/OLMo-1B-hf", 2, 2048, BF16),
    ("mistralai/Mixtral-8x7B-v0.1", 1, 2048, BF16 | CHECKPOINTED),
    ("Qwen/Qwen3-30B-A3B", 1, 2048, BF16),
    ("Qwen/Qwen1.5-MoE-A2.7B", 1, 1024, BF16 | CHECKPOINTED),
    (TINY, 4, 2048, BF16),
    (TINY, 2, 1024, BF16 | EAGER | CHECKPOINTED),
    (
        TINY,
        2,
        1024,
        AUTOCAST | CHECKPOINTED | {"grad_accum": 2},
    ),
    ("meta-llama/Llama-2-7b-hf", 1, 1024, BF16 | {"step": "foreach"}),
    ("google/gemma-2-2b", 1, 2048, BF16 | EAGER | CHECKPOINTED),
    ("google/gemma-7b", 1, 1024, BF16 | CHECKPOINTED),
    ("allenai/OLMo-2-1124-7B", 1, 1024, BF16 | CHECKPOINTED),
    ("Qwen/Qwen2.5-0.5B", 1, 512, FP32),
    ("HuggingFaceTB/SmolLM2-135M", 4, 1024, BF16 | EAGER),
    ("EleutherAI/pythia-160m", 4, 1024, AUTOCAST | EAGER),
    ("HuggingFaceTB/SmolLM2-135M", 2, 512, AUTOCAST | FLASH),
    ("meta-llama/Llama-3.2-3B", 2, 4096, BF16 | FLASH),
    ("meta-llama/Llama-3.1-8B", 1, 8192, BF16 | FLASH | CHECKPOINTED),
    ("Qwen/Qwen3-4B", 1, 4096, AUTOCAST | FLASH | CHECKPOINTED),
    ("Qwen/Qwen2.5-7B", 1, 2048, LORA | FLASH),
    ("mistralai/Mixtral-8x7B-v0.1", 1, 4096, BF16 | FLASH),
)
TURNS: Final[tuple[tuple[str, int, int, dict[str, Any]], ...]] = (  # one thing changed at a time
    (LLAMA, 1, 64, BF16),
    (LLAMA, 1, 64, BF16 | {"step": "foreach"}),
    (LLAMA, 1, 64, BF16 | {"step": "for_loop"}),
    (LLAMA, 1, 64, AUTOCAST | {"step": "foreach"}),
    (LLAMA, 4, 1024, BF16 | {"grad_accum": 4}),
    (LLAMA, 4, 1024, BF16 | CHECKPOINTED | {"grad_accum": 4}),
    (LLAMA, 2, 512, AUTOCAST | {"grad_accum": 2}),
    (LLAMA, 2, 512, FP16 | {"optimizer": "sgd", "moments": None}),
    (LLAMA, 2, 512, BF16 | {"optimizer": "sgd", "moments": None}),
    (LLAMA, 2, 512, BF16 | {"optimizer": "sgd_momentum"}),
    (LLAMA, 16, 2048, BF16),
    (LLAMA, 1, 16384, BF16),
    (LLAMA, 1, 16384, BF16 | CHECKPOINTED),
    ("mistralai/Mistral-7B-v0.3", 1, 64, BF16 | {"step": "foreach"}),
    ("mistralai/Mistral-7B-v0.3", 1, 8192, BF16),
    ("mistralai/Mixtral-8x7B-v0.1", 4, 4096, BF16),
    ("mistralai/Mixtral-8x7B-v0.1", 1, 128, BF16 | {"step": "foreach"}),
    ("Qwen/Qwen3-30B-A3B", 4, 4096, BF16 | CHECKPOINTED),
    ("openai-community/gpt2-xl", 4, 1024, BF16 | {"grad_accum": 2}),
    ("google/gemma-2b", 1, 64, BF16),
    (GPT2, 2, 512, BF16 | {"dropout": 0.1}),
    (GPT2, 2, 512, BF16 | EAGER | {"dropout": 0.1}),
    (GPT2, 2, 512, AUTOCAST | EAGER | {"dropout": 0.1}),
    (GPT2, 4, 1024, BF16 | CHECKPOINTED | {"dropout": 0.1}),
    (GPT2, 2, 512, LORA),
    (LLAMA, 2, 512, LORA),
    (LLAMA, 4, 2048, LORA),
    (LLAMA, 4, 1024, LORA | CHECKPOINTED),
    (LLAMA, 2, 1024, LORA | {"lora": NARROW | {"targets": ["q_proj", "v_proj"]}}),
    (LLAMA, 2, 1024, WIDE),
    (LLAMA, 4, 1024, WIDE | CHECKPOINTED),
    (LLAMA, 2, 1024, CAST),
    (LLAMA, 4, 1024, CAST | CHECKPOINTED),
    (LLAMA, 2, 512, WIDE | AUTOCAST),
    (LLAMA, 2, 512, WIDE | AUTOCAST | CHECKPOINTED),
    (LLAMA, 2, 512, WIDE | {"lora": NARROW | {"targets": ["up_proj", "down_proj"]}, **BF16}),
    (GPT2, 2, 512, WIDE),
    (GPT2, 4, 1024, CAST | CHECKPOINTED),
    ("microsoft/Phi-3-mini-4k-instruct", 4, 1024, WIDE | CHECKPOINTED),
    ("Qwen/Qwen3-4B", 4, 1024, CAST | FLASH | CHECKPOINTED),
    ("google/gemma-2b", 2, 1024, CAST | EAGER),
    ("mistralai/Mistral-7B-v0.3", 4, 2048, LORA),
    ("mistralai/Mistral-7B-v0.3", 2, 1024, LORA | EAGER),
    ("Qwen/Qwen3-4B", 4, 1024, LORA | {"grad_accum": 2}),
    ("google/gemma-2b", 2, 1024, LORA),
)


def grid() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every row's name and job, the cheap ones first."""
    from unfrozen.model.catalogue import CATALOGUE

    for hub_id in SHALLOW:
        family = CATALOGUE[hub_id].config["model_type"]
        attention = EAGER if family in ONLY_EAGER else {}
        yield _row(hub_id, 2, 512, BF16 | attention, layers=4)
        yield _row(hub_id, 4, 1024, BF16 | CHECKPOINTED | attention, layers=4)
        yield _row(hub_id, 1, 1024, BF16 | CHECKPOINTED | EAGER, layers=4)
        if family not in ONLY_EAGER:
            yield _row(hub_id, 2, 512, BF16 | EAGER, layers=4)
            yield _row(hub_id, 4, 1024, BF16 | FLASH, layers=4)
        if family not in ONLY_BF16:
            yield _row(hub_id, 2, 512, AUTOCAST | attention, layers=4)
            yield _row(hub_id, 2, 512, AUTOCAST | CHECKPOINTED | attention, layers=4)
            yield _row(hub_id, 1, 512, FP32 | attention, layers=4)
    for turn in TURNS:
        yield _row(*turn, layers=6)
    for model in WHOLE:
        yield _row(*model)


def _row(
    hub_id: str, micro_batch: int, seq_len: int, changes: dict[str, Any], layers: int = 0
) -> tuple[str, dict[str, Any]]:
    """One configuration; `layers` keeps that many, 0 all."""
    from unfrozen.model.catalogue import CATALOGUE

    model = dict(CATALOGUE[hub_id].config)
    if layers:
        model["n_layer" if "n_layer" in model else "num_hidden_layers"] = layers
    recipe = RECIPE | {"micro_batch": micro_batch, "seq_len": seq_len} | changes
    job = {"model": model, "recipe": recipe, "cluster": {"gpus": 1, "sharding": "none"}}
    name = hub_id.partition("/")[2] + (f"-{layers}-layers" if layers else "")
    return trace_id(job, name), job


def main() -> None:
    """Trace what is missing and write the file after every row."""
    parser = argparse.ArgumentParser(description=__doc__)
    one = parser.add_mutually_exclusive_group()
    one.add_argument("--list", action="store_true", help="print the names of the rows")
    one.add_argument("--anew", action="store_true", help="trace what is there, too")
    given = parser.parse_args()
    wanted = dict(grid())
    if given.list:
        print("\n".join(wanted))
        return
    done = {} if given.anew or not STEPS.exists() else _read()
    rows = {name: row for name, row in done.items() if row["job"] == wanted.get(name)}
    for name, job in wanted.items():
        if name not in rows:
            started = time.monotonic()
            rows[name] = trace(job).row(name)
            _write([rows[known] for known in wanted if known in rows])
            print(f"{time.monotonic() - started:6.1f} s  {name}", flush=True)


def _read() -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in json.loads(STEPS.read_text())}


def _write(rows: list[dict[str, Any]]) -> None:
    """The file, one row a line; whole or as before."""
    STEPS.parent.mkdir(exist_ok=True)
    beside = STEPS.with_suffix(".tmp")
    lines = [json.dumps(row, allow_nan=False, separators=(",", ":")) for row in rows]
    beside.write_text("[\n" + ",\n".join(lines) + "\n]\n")
    beside.replace(STEPS)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import transformers

    transformers.utils.logging.set_verbosity_error()
    main()

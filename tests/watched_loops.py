"""Training loops as people write them, small, and models of several families for them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
import transformers
from accelerate.state import AcceleratorState, GradientState
from torch import nn

import unfrozen

SIZES: dict[str, Any] = {
    "vocab_size": 264,
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen3": {"head_dim": 16},
    "gemma": {"head_dim": 16, "num_key_value_heads": 1},
    "mistral": {},
    "olmo2": {"num_key_value_heads": 4},
    "gpt2": {},
    "smollm3": {"num_key_value_heads": 2},
    "qwen2": {},
    "gemma2": {"head_dim": 16, "sliding_window": 32, "num_hidden_layers": 2},  # one of each kind
    "gpt_neox": {},
    "phi": {"num_key_value_heads": 4},
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
}


SIX: tuple[str, ...] = ("llama", "qwen2", "gemma2", "gpt2", "gpt_neox", "phi")
"""Families that every kind of trainer is tested with."""


def model_of(family: str = "llama", seed: int = 0, **more: Any) -> Any:
    """A model of random weights, in training mode."""
    torch.manual_seed(seed)
    sizes = {**SIZES, **FAMILIES[family], **more}
    if family == "gpt2":
        sizes = {
            "vocab_size": 264,
            "n_embd": 64,
            "n_layer": 1,
            "n_head": 4,
            "n_positions": 128,
            **more,
        }
    config: Any = transformers.AutoConfig.for_model(family, **sizes)
    return transformers.AutoModelForCausalLM.from_config(config).train()


def forget_accelerator() -> None:
    """Let the next `Accelerator` of this process begin anew: a loop that was cut short leaves it
    a data loader at its end, and so an update after the first micro-batch.
    """
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


def batches(count: int, rows: int = 4, length: int = 32, seed: int = 1) -> Iterator[dict[str, Any]]:
    """Batches of random tokens with labels, the first quarter of each row not trained."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        ids = torch.randint(3, 128, (rows, length), generator=generator)
        labels = ids.clone()
        labels[:, : length // 4] = -100
        yield {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}


def train(
    model: Any,
    optimizer: torch.optim.Optimizer,
    steps: int = 4,
    micro_batches: int = 1,
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
    **sizes: int,
) -> list[float]:
    """Train with a custom loop and return the losses of its micro-batches."""
    losses = []
    given = batches(steps * micro_batches, **sizes)
    for number, batch in enumerate(given, 1):
        with autocast():
            output = model(**batch)
        (output.loss / micro_batches).backward()
        losses.append(output.loss.item())
        if number % micro_batches == 0:
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
    return losses


def train_until_stopped(runs: str) -> None:
    """A loop that goes on, a step at a time, until the page asks it to stop."""
    torch.set_num_threads(1)
    model = model_of()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    with unfrozen.watch(model, optimizer, runs=runs, name="loop") as run:
        while not run.should_stop:
            train(model, optimizer, 1)
            run.log({"reward": 0.5})
            time.sleep(0.1)


def events(run: Any, kind: str | None = None) -> list[dict[str, Any]]:
    """The events of a watched run, or of a folder of one."""
    place = run if isinstance(run, Path) else run.place
    found = [json.loads(line) for line in (place / "events.jsonl").read_text().splitlines()]
    return [event for event in found if kind in (None, event["kind"])]


def series(run: Any, name: str) -> list[float]:
    """The values of one metric."""
    return [event["m"][name] for event in events(run, "metrics") if name in event["m"]]


def alerts(run: Any) -> str:
    """Return the alerts of a run as one text."""
    return "\n".join(event["text"] for event in events(run, "alert"))


def rows(count: int = 6) -> list[dict[str, str]]:
    """Return held-out examples."""
    return [{"prompt": f"add {n} and {n}", "completion": f"{2 * n}"} for n in range(count)]


def small() -> tuple[Any, torch.optim.Optimizer]:
    """A linear layer and its optimizer."""
    torch.manual_seed(0)
    model = nn.Linear(4, 4)
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


def steps(model: Any, optimizer: torch.optim.Optimizer, count: int = 2) -> None:
    """Train it for so many steps."""
    for _ in range(count):
        model(torch.ones(2, 4)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

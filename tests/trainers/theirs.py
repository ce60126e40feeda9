"""Hugging Face's Trainer and TRL's SFTTrainer on the same work, as their manuals set them up.

Both get what a user would give them: a collator that pads to the longest row of the batch, labels
of −100 on prompts, fp32 weights, fused AdamW, a constant rate, clipping at 1. Both divide by the
number of trained tokens. SFTTrainer's default of recomputing activations is turned off, as for all.
"""

from __future__ import annotations

from tempfile import TemporaryDirectory
from typing import Any

import torch

from tests.trainers import Outcome, Work, on_card


def run(work: Work, contender: str) -> Outcome:
    """Train with `Trainer` or `SFTTrainer`. Raises ImportError where it is not installed."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(work.model)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    outcome = Outcome()
    shared: dict[str, Any] = {
        "model": AutoModelForCausalLM.from_pretrained(work.model, dtype=torch.float32),
        "train_dataset": Dataset.from_dict(_columns(work)),
        "callbacks": [_watch(outcome)],
    }
    with TemporaryDirectory() as folder:
        make = _sft_trainer if contender == "SFTTrainer" else _trainer
        make(work, _settings(work, folder), tokenizer, shared).train()
    return outcome


def _columns(work: Work) -> dict[str, list[list[int]]]:
    return {
        "input_ids": [ids for ids, _ in work.rows],
        "labels": [
            [token if trained else -100 for token, trained in zip(ids, mask, strict=True)]
            for ids, mask in work.rows
        ],
    }


def _settings(work: Work, folder: str) -> dict[str, Any]:
    return {
        "output_dir": folder,
        "per_device_train_batch_size": work.rows_per_step,
        "gradient_accumulation_steps": 1,
        "max_steps": work.steps,
        "learning_rate": work.lr,
        "lr_scheduler_type": "constant",
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "train_sampling_strategy": "sequential",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": not on_card(),
        "bf16": on_card(),
        "gradient_checkpointing": False,
        "disable_tqdm": True,
        "seed": 0,
    }


def _trainer(work: Work, settings: dict[str, Any], tokenizer: Any, shared: dict[str, Any]) -> Any:
    from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

    del work
    collator = DataCollatorForSeq2Seq(tokenizer, padding=True)
    return Trainer(args=TrainingArguments(**settings), data_collator=collator, **shared)


def _sft_trainer(
    work: Work, settings: dict[str, Any], tokenizer: Any, shared: dict[str, Any]
) -> Any:
    from trl import SFTConfig, SFTTrainer

    longest = max(len(ids) for ids, _ in work.rows)
    ready = {"skip_prepare_dataset": True}  # ids and labels are there
    arguments: Any = SFTConfig(**settings, max_length=longest, dataset_kwargs=ready)
    return SFTTrainer(args=arguments, processing_class=tokenizer, **shared)


def _watch(outcome: Outcome) -> Any:
    """A callback that times each step and keeps the losses that the trainer itself reports."""
    from transformers import TrainerCallback

    class Watch(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.timing = outcome.timed()
            self.timing.__enter__()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.timing.__exit__(None, None, None)

        def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
            if "loss" in logs:
                outcome.losses.append(logs["loss"])

        def on_train_end(self, *_: Any, **__: Any) -> None:
            outcome.finished()

    return Watch()

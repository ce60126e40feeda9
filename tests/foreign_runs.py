"""Runs of other tools, written by those tools, and what their own readers find in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def trained(folder: Path, model: Any, *, steps: int = 12, **settings: Any) -> Path:
    """A run of the real Trainer, with two evaluation sets and a checkpoint half-way."""
    from transformers import Trainer, TrainingArguments

    rows = [[(7 * row + place) % 200 + 1 for place in range(16)] for row in range(24)]
    data = [{"input_ids": row, "labels": row} for row in rows]
    chosen = {
        "output_dir": str(folder),
        "max_steps": steps,
        "per_device_train_batch_size": 2,
        "logging_steps": 2,
        "eval_strategy": "steps",
        "eval_steps": 4,
        "eval_on_start": True,
        "save_steps": steps // 2,
        "learning_rate": 1e-2,
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
        "seed": 0,
    }
    arguments = TrainingArguments(**{**chosen, **settings})
    sets = {"task": data[:4], "general": data[4:9]}
    trainer = Trainer(model=model, args=arguments, train_dataset=data, eval_dataset=sets)
    trainer.train()
    trainer.save_state()
    return folder


def event_file(folder: Path, rows: list[dict[str, float]], **settings: Any) -> Path:
    """An event file of torch's SummaryWriter, a row a step from 1 on; returns the folder."""
    from torch.utils.tensorboard import SummaryWriter

    first, new_style = settings.pop("first", 1), settings.pop("new_style", False)
    with SummaryWriter(folder, **settings) as writer:
        for step, row in enumerate(rows, first):
            for name, value in row.items():
                writer.add_scalar(name, value, step, new_style=new_style)
    return folder


def read_back(folder: Path) -> dict[str, list[tuple[int, float, float]]]:
    """What TensorBoard itself reads: name → (step, value, Unix seconds)."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    found.Reload()
    tags = found.Tags()
    read = {
        name: [(e.step, e.value, e.wall_time) for e in found.Scalars(name)]
        for name in tags["scalars"]
    }
    for name in tags["tensors"]:
        if found.SummaryMetadata(name).plugin_data.plugin_name == "scalars":
            events = found.Tensors(name)
            numbers = [(e.tensor_proto.float_val or e.tensor_proto.double_val)[0] for e in events]
            read[name] = [(e.step, n, e.wall_time) for e, n in zip(events, numbers, strict=True)]
    return read

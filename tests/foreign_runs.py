"""Runs of other tools, written by those tools, and what their own readers find in them.

`python foreign_runs.py offline FOLDER` logs to W&B, and `history FILE` prints what it reads back:
in processes of their own, because W&B starts one and leaves what it has changed.
"""

from __future__ import annotations

import json
import math
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROWS = [
    {"train/loss": 2.5 / step, "train/grad_norm": 0.1 + step, "train/learning_rate": 1e-4 / step}
    for step in range(1, 41)
]


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


def offline_run(folder: Path, kind: str = "whole") -> Path:
    """The file of a run that the real W&B has logged offline."""
    _in_a_process("offline", str(folder), kind)
    (file,) = folder.rglob("*.wandb")
    return file


def history(file: Path) -> list[dict[str, Any]]:
    """What W&B's own protobuf finds in the file of a run: its rows, name → value."""
    return [json.loads(line) for line in _in_a_process("history", str(file)).splitlines()]


def _in_a_process(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, __file__, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _log_offline(folder: Path, kind: str) -> None:
    import wandb

    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "learning_rate": 1e-4,
        "max_steps": 40,
        "optim": {"name": "adamw", "betas": [0.9, 0.95]},
    }
    run = wandb.init(project="p", name="a run", mode="offline", dir=str(folder), config=config)
    if kind == "failed":
        run.define_metric("epoch")
        run.define_metric("val/*", step_metric="epoch")
        run.define_metric("half", step_metric="share")
        for epoch in (3, 5, 9):
            run.log({"epoch": epoch, "val/accuracy": epoch / 10, "share": epoch / 2, "half": 1.0})
    for step, row in enumerate(ROWS, 1):
        row = {**row, "train/global_step": 10 * step, "reward": {"mean": step / 7, "std": 0.5}}
        if step % 10 == 0:
            row["eval/loss"] = math.nan if step == 40 else 3.0 / step
        if step == 20:
            row["long"] = wandb.Html("<p>" + "x" * 10)
            row["note"] = "y" * 100_000  # a record of several blocks
        run.log(row)
    run.summary["best"] = 0.25
    run.finish(exit_code=3 if kind == "failed" else 0)


def _print_history(file: Path) -> None:
    from wandb.proto.wandb_internal_pb2 import Record

    for data in _records(file.read_bytes()):
        record = Record()
        record.ParseFromString(data)
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            row = {".".join(i.nested_key) or i.key: json.loads(i.value_json) for i in items}
            print(json.dumps({"_step": record.history.step.num, **row}))


def _records(data: bytes) -> Iterator[bytes]:
    """The payloads of a log; W&B's own reader of its frames is a program, and no library."""
    at, record = 7, b""
    while at < len(data):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        size, kind = struct.unpack_from("<HB", data, at + 4)
        record += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):
            yield record
            record = b""


if __name__ == "__main__":
    if sys.argv[1] == "offline":
        _log_offline(Path(sys.argv[2]), sys.argv[3])
    else:
        _print_history(Path(sys.argv[2]))

"""A run before it costs anything: data read, steps counted, memory predicted; no weight loaded.

`train` starts from the same `Plan` that `plan` prints, so what was announced is what runs.
"""

from __future__ import annotations

import shutil
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import torch

from gpu_runner import data
from gpu_runner.config import DEMO, INSTRUCT, TrainConfig
from gpu_runner.data import RowSet
from gpu_runner.encode import Encoder
from gpu_runner.errors import UsageError
from gpu_runner.evaluate import GENERAL, TASK, pad_token
from gpu_runner.feed import Feed, Shape, steps_in
from gpu_runner.model import Source, find, load_tokenizer, read_config
from gpu_runner.predict import Prediction, heaviest, predict
from unfrozen.model import ModelConfig
from unfrozen.schedules import Schedule

WARMUP_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Plan:
    """What a configuration means for this model and these rows."""

    config: TrainConfig
    source: Source
    shape: ModelConfig | None
    tokenizer: Any
    encoder: Encoder
    train: RowSet
    suites: dict[str, RowSet]
    feed: Feed
    schedule: Schedule
    device: torch.device
    compute: str
    heaviest_step: int
    heaviest: Shape
    prediction: Prediction | None

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self.schedule.total_steps

    def autocast(self) -> AbstractContextManager[Any]:
        """The context of every forward pass: fp32 weights compute in bf16 only inside one."""
        if self.compute == self.config.params:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    @property
    def trainable_tokens(self) -> int:
        """Trainable tokens of all steps together, estimated from the mean row."""
        rows = self.steps * self.feed.rows_per_step
        return round(rows * self.train.trainable_tokens / len(self.train.examples))

    @property
    def available_bytes(self) -> int:
        """Memory that is free on the device now."""
        if self.device.type == "cuda":
            return int(torch.cuda.mem_get_info(self.device)[0])
        return int(psutil.virtual_memory().available)

    @property
    def disk_bytes(self) -> int:
        """Largest need on disk: the model, and two checkpoints while one replaces the other."""
        if self.shape is None:
            return 0
        width = 4 if self.config.params == "fp32" else 2
        weights = self.shape.num_parameters * width
        initial = weights if self.source.kind in ("gguf", "hub") else 0
        checkpoints = 0 if self.save_every == 0 else 2 * 3 * weights
        return weights + initial + checkpoints

    @property
    def save_every(self) -> int:
        """Steps between checkpoints; 0 is never."""
        every = self.config.save_every
        return self.config.eval_every if every is None else every

    def remarks(self) -> list[str]:
        """Everything about data, memory and disk that the user should hear before the start."""
        found = [text for rows in (self.train, *self.suites.values()) for text in rows.remarks()]
        if self.prediction is None:
            found.append(f"{self.source.name}: its memory cannot be predicted for this model type.")
        elif self.prediction.peak_bytes > self.available_bytes:
            found.append(
                f"predicted {self.prediction.peak_bytes / 2**30:.1f} GiB, but"
                f" {self.available_bytes / 2**30:.1f} GiB are free. {self.advice()}"
            )
        place = existing(Path(self.config.runs))
        free = shutil.disk_usage(place).free
        if self.disk_bytes > free:
            found.append(
                f"the run may need {self.disk_bytes / 2**30:.1f} GiB of disk, {place} has"
                f" {free / 2**30:.1f} GiB: give --save-every 0 or another --runs."
            )
        if self.config.params == "bf16":
            found.append(
                "bf16 weights: an update smaller than about 1/256 of a weight is rounded away, so"
                " small learning rates stall. --params fp32 has no such limit."
            )
        return found

    def advice(self) -> str:
        """The cheapest change that lowers the memory, with its predicted peak."""
        config = self.config
        if self.prediction is None or self.shape is None:
            return "Lower --micro-batch or --seq-len."
        rows, length, loss_tokens = self.heaviest
        if rows > 1:
            fewer, more = rows // 2, config.grad_accum * 2
            smaller = Shape(fewer, length, max(1, loss_tokens // 2))
            change, accumulation = f"--micro-batch {fewer} --grad-accum {more}", more
        else:
            smaller = Shape(1, max(2, length // 2), max(1, loss_tokens // 2))
            change, accumulation = f"--seq-len {smaller.length}", config.grad_accum
        changed = replace(config, grad_accum=accumulation)
        less = predict(self.shape, changed, self.compute, smaller).peak_bytes
        return f"Give {change}: predicted {less / 2**30:.2f} GiB."


def make(config: TrainConfig) -> Plan:
    """Read configuration, tokenizer and data; raises a `RunnerError` for what cannot be used."""
    device = choose_device(config.device)
    source = find(config.model)
    _, shape = read_config(source)
    tokenizer = load_tokenizer(source)
    encoder = Encoder(tokenizer, config.seq_len)
    train, suites = _sets(config, encoder)
    feed = Feed(
        train.examples, config.seed, config.micro_batch, config.grad_accum, pad_token(tokenizer)
    )
    schedule = _schedule(config, feed)
    compute = _compute(config, device)
    step, largest = heaviest(feed, schedule.total_steps, shape, config, compute)
    return Plan(
        config=config,
        source=source,
        shape=shape,
        tokenizer=tokenizer,
        encoder=encoder,
        train=train,
        suites=suites,
        feed=feed,
        schedule=schedule,
        device=device,
        compute=compute,
        heaviest_step=step,
        heaviest=largest,
        prediction=None if shape is None else predict(shape, config, compute, largest),
    )


def _compute(config: TrainConfig, device: torch.device) -> str:
    """Precision of the matrix products: `bf16` or `fp32`."""
    if config.compute != "auto":
        return config.compute
    return "bf16" if device.type == "cuda" or config.params == "bf16" else "fp32"


def choose_device(wanted: str) -> torch.device:
    """CUDA when there is one and it is not refused; raises `UsageError` for one that is absent."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            "--device cuda: this PyTorch sees no CUDA device. Give --device cpu, or install a CUDA"
            " build of PyTorch and check nvidia-smi."
        )
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def _sets(config: TrainConfig, encoder: Encoder) -> tuple[RowSet, dict[str, RowSet]]:
    train_source, eval_source = _task_files(config)
    rows = data.read_rows(train_source)
    held: list[Any] = []
    if eval_source is None:
        rows, held = data.hold_out(rows, config.seed)
    else:
        held = data.read_rows(eval_source)
    train = data.load_set("training", rows, encoder)
    suites = {TASK: data.load_set("held-out", held[: config.eval_rows], encoder)}
    for skill, path in _general_files(config):
        sources = data.read_rows(path)[: config.eval_rows]
        suites[f"{GENERAL}/{skill}"] = data.load_set(f"general {skill}", sources, encoder)
    return train, suites


def _task_files(config: TrainConfig) -> tuple[str, str | None]:
    from gpu_runner import demo

    if config.data == DEMO:
        return str(demo.task_train()), config.eval_data or str(demo.task_eval())
    if config.data == INSTRUCT:
        return str(demo.instruct_train()), config.eval_data or str(demo.instruct_eval())
    return config.data, config.eval_data


def _general_files(config: TrainConfig) -> tuple[tuple[str, str], ...]:
    from gpu_runner import demo

    if config.general is not None:
        return config.general
    if config.model == DEMO:
        return tuple((skill, str(path)) for skill, path in demo.general_eval().items())
    return (("english", str(demo.general_english())),)


def _schedule(config: TrainConfig, feed: Feed) -> Schedule:
    steps = config.steps
    if steps is None:
        epochs = config.epochs or 1.0
        steps = steps_in(epochs, len(feed.examples), feed.rows_per_step)
    warmup = round(WARMUP_SHARE * steps) if config.warmup is None else min(config.warmup, steps)
    floor = config.lr * config.floor_ratio if config.schedule == "cosine" else 0.0
    return Schedule(config.schedule, steps, config.lr, warmup, floor)


def existing(path: Path) -> Path:
    """The nearest directory that exists on the way up from `path`."""
    path = path.absolute()
    while not path.is_dir():
        path = path.parent
    return path

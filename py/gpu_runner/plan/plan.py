"""The plan of a run: data read, steps counted, memory predicted; no weights loaded.

`train` runs the same `RunPlan` that `train --dry-run` prints.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final

import torch

from gpu_runner.config.schema import TrainConfig
from gpu_runner.data import run_data
from gpu_runner.data.dataset import EncodedDataset
from gpu_runner.data.encode import Encoder, pad_token
from gpu_runner.data.feed import BatchShape, Feed
from gpu_runner.data.rows import ReportProgress, no_progress
from gpu_runner.errors import ModelLoadError, UsageError
from gpu_runner.memory.advice import format_advice, suggest_settings
from gpu_runner.memory.formula import build_recipe, heaviest_micro_batch, predict
from gpu_runner.memory.prediction import MARGIN, NotPredictable, Prediction, Suggestion
from gpu_runner.model.added_tokens import Vocabulary, add_tokens
from gpu_runner.model.blocks import check_compiler, positions_of
from gpu_runner.model.load import (
    DTYPES,
    Source,
    describe_custom_code,
    find,
    is_packed,
    load_tokenizer,
    read_config,
    vocabulary_of,
)
from gpu_runner.model.loss import LIKELIEST
from gpu_runner.model.routers import no_routers
from gpu_runner.optim.optimizer import betas, factors
from gpu_runner.plan.machine import choose_device, choose_precision, free_bytes, suggest_16_bits
from gpu_runner.system import limits
from gpu_runner.system.price import Price
from unfrozen.errors import InputError
from unfrozen.job import Job
from unfrozen.job.cluster import Cluster
from unfrozen.memory.states import moment_bytes, state_bytes
from unfrozen.model import ModelConfig
from unfrozen.plan.step_time import step_time, step_tokens
from unfrozen.runner import packs
from unfrozen.schedules import Schedule
from unfrozen.training_data import steps_in
from unfrozen.units import gib

WARMUP_SHARE: Final = 0.05
HELD_OUT_TOKENS: Final = 1 << 14  # of a set, at most, whose likeliest tokens of θ₀ are kept
DECAY_SHARE: Final = 0.2  # of the steps, for the decay of WSD


def schedule_for(config: TrainConfig, feed: Feed) -> Schedule:
    """Return the learning rate at every step of a run with these settings."""
    steps = config.steps
    if steps is None:
        epochs = config.epochs or 1.0
        steps = steps_in(epochs, len(feed.examples), feed.sequences_per_step)
    warmup = round(WARMUP_SHARE * steps) if config.warmup is None else min(config.warmup, steps)
    floor = 0.0 if config.schedule == "constant" else config.lr * config.floor_ratio
    decay = 0
    if config.schedule == "wsd":
        wanted = config.decay_steps
        decay = min(round(DECAY_SHARE * steps) if wanted is None else wanted, steps - warmup)
    return Schedule(config.schedule, steps, config.lr, warmup, floor, decay)


TraceStep = Callable[[Source, TrainConfig, str, BatchShape, int], Prediction]
"""`gpu_runner.memory.tracing.predict_by_tracing`, or a stand-in for it."""


@dataclass(frozen=True, slots=True)
class Predictor:
    """Predicts the memory of a run's steps: what it follows from, apart from the config."""

    source: Source
    shape: ModelConfig | None
    train: EncodedDataset
    pad: int
    compute: str
    device: torch.device
    ranks: int = 1
    vocab_rows: int = 0
    """The new size of the embedding, 0 where the run does not change it."""
    trace: TraceStep | None = None

    def feed(self, config: TrainConfig) -> Feed:
        """Return the batches, packed where attention keeps the model's documents apart."""
        return Feed(
            self.train.examples,
            config.seed,
            config.micro_batch,
            config.grad_accum,
            self.pad,
            ranks=self.ranks,
            packed=config.packing and self.shape is not None and packs(self.shape.architecture),
            fixed=config.compile,
        )

    def heaviest(self, config: TrainConfig) -> tuple[int, BatchShape]:
        """Return the step and the shape of the micro-batch that needs most memory."""
        feed = self.feed(config)
        steps = schedule_for(config, feed).total_steps
        return heaviest_micro_batch(feed, steps, self.shape, config, self.compute)

    def predict(self, config: TrainConfig, shape: BatchShape) -> Prediction:
        """Return the memory of a step with that micro-batch. Raises `NotPredictable`."""
        if self.shape is not None:
            return predict(self.shape, config, self.compute, shape, self.ranks)
        if self.trace is None or self.ranks > 1:
            raise NotPredictable("an unknown model type is traced on one process only")
        return self.trace(self.source, config, self.compute, shape, self.vocab_rows)

    def try_to_predict(
        self, config: TrainConfig, shape: BatchShape
    ) -> tuple[Prediction | None, str]:
        """Return the memory of such a step, or None and the reason why there is no prediction."""
        try:
            return self.predict(config, shape), ""
        except NotPredictable as why:
            return None, str(why)

    def with_micro_batch(self, config: TrainConfig) -> TrainConfig:
        """Return the config with the micro-batch that `auto_micro_batch` asks for, if it does.

        That is the largest one whose peak fits, or the smallest one where none does; the sequences
        per step stay the same. Raises `UsageError` where the memory cannot be predicted.
        """
        if not config.auto_micro_batch:
            return config
        budget = MARGIN * free_bytes(self.device, self.ranks)
        total, choice = config.micro_batch * config.grad_accum, config
        for size in (n for n in range(total, 0, -1) if total % (n * self.ranks) == 0):
            choice = replace(
                config, micro_batch=size, grad_accum=total // size, auto_micro_batch=False
            )
            try:
                found = self.predict(choice, self.heaviest(choice)[1])
            except NotPredictable as why:
                raise UsageError(
                    f"auto_micro_batch: the planner does not know the type of model {config.model},"
                    f" and its step cannot be traced ({why}). Give --micro-batch."
                ) from None
            if found.peak_bytes <= budget:
                break
        return choice

    def suggest(self, now: TrainConfig, heaviest: BatchShape, budget: int) -> list[Suggestion]:
        """Return settings with a peak within `budget` bytes; none for an unknown model type.

        `heaviest` is the micro-batch of the run `now` that needs most memory.
        """
        model = self.shape
        if model is None:
            return []
        spread = partial(cluster_of, ranks=self.ranks)

        @lru_cache(maxsize=64)
        def worst(micro_batch: int, grad_accum: int) -> BatchShape:
            if (micro_batch, grad_accum) == (now.micro_batch, now.grad_accum):
                return heaviest
            return self.heaviest(replace(now, micro_batch=micro_batch, grad_accum=grad_accum))[1]

        def cost(choice: TrainConfig) -> tuple[int, float]:
            shape = worst(choice.micro_batch, choice.grad_accum)
            if choice.seq_len != now.seq_len:
                shape = _cut(shape, min(1.0, choice.seq_len / self.train.longest_tokens))
            compute = "bf16" if choice.params == "bf16" else self.compute
            compute = "fp16" if choice.compute == "fp16" else compute
            job = Job(model, build_recipe(choice, compute, shape, model), spread(choice))
            seconds = step_time(job).seconds / step_tokens(job)
            return predict(model, choice, compute, shape, self.ranks).peak_bytes, seconds

        offloads = self.device.type == "cuda" and self.ranks == 1
        longest = self.train.longest_tokens
        lacks_bf16 = self.device.type == "cuda" and (now.compute, self.compute) == ("auto", "fp32")
        return suggest_settings(
            now,
            budget,
            cost,
            longest=longest,
            offloads=offloads,
            ranks=self.ranks,
            bf16=not lacks_bf16,
        )


def cluster_of(config: TrainConfig, ranks: int) -> Cluster:
    """Return the GPUs of a run, as the planner estimates the time of its steps."""
    offload = "optimizer" if config.optimizer_offload else "none"
    return Cluster(ranks, "zero3" if ranks > 1 else "none", offload=offload)


def _cut(shape: BatchShape, share: float) -> BatchShape:
    """Return a micro-batch whose sequences are cut to this share of their length."""
    length, trained = (max(1, round(share * n)) for n in (shape.length, shape.loss_tokens))
    return shape._replace(length=length, loss_tokens=trained)


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What the settings mean for this model and this data."""

    config: TrainConfig
    source: Source
    shape: ModelConfig | None
    tokenizer: Any
    encoder: Encoder
    train: EncodedDataset
    suites: dict[str, EncodedDataset]
    feed: Feed
    schedule: Schedule
    device: torch.device
    compute: str
    heaviest_step: int
    heaviest: BatchShape
    predictor: Predictor
    prediction: Prediction | None
    not_predicted: str = ""
    """Why there is no prediction."""
    positions: int = 0
    """Tokens that the model was trained for; 0 if its configuration does not say."""
    unpacks: bool = False
    """Whether the published weights are in MXFP4."""
    code: str = ""
    """A remark about code that the model brings and that is not run."""
    vocabulary: Vocabulary | None = None
    """Tokens that the run adds, if any."""
    available_bytes: int = 0
    """Memory that was free on the device before anything was loaded."""
    price: Price | None = None

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self.schedule.total_steps

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context of every forward pass, in which fp32 weights compute in 16 bits."""
        if self.compute == self.config.params:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=DTYPES[self.compute])

    @property
    def trainable_tokens(self) -> int:
        """Trainable tokens of all steps together, estimated from the mean example."""
        rows = self.steps * self.feed.sequences_per_step
        return round(rows * self.train.trainable_tokens / len(self.train.examples))

    @property
    def betas(self) -> tuple[float, float]:
        """β₁ and β₂ of AdamW; with --beta2-tokens, β₂ follows from the tokens of a step."""
        return betas(self.config, self.trainable_tokens / self.steps)

    @property
    def disk_bytes(self) -> int:
        """Most bytes on disk at once: the model, θ₀, the checkpoints and one being written.

        They are the newest ones, the best and the last healthy one.
        """
        changed = self.unpacks or self.source.kind == "gguf" or self.vocabulary is not None
        initial = self.weight_bytes if changed else 0
        kept = 0 if self.config.save_every == 0 else self.config.keep_last + 3
        checkpoints = kept * self.checkpoint_bytes
        return self.weight_bytes + initial + checkpoints + self.held_out_bytes

    @property
    def held_out_bytes(self) -> int:
        """Bytes on disk of what θ₀ holds likeliest in held-out sets; 0 for an unknown model."""
        sets = (rows.trainable_tokens for rows in self.suites.values() if self.weight_bytes)
        return 8 * LIKELIEST * sum(min(HELD_OUT_TOKENS, own) for own in sets)

    @property
    def checkpoint_bytes(self) -> int:
        """Bytes of a checkpoint: weights and the states of this optimizer; 0 if unknown."""
        if self.shape is None:
            return 0
        return self.weight_bytes + self._optimizer_bytes

    @property
    def _optimizer_bytes(self) -> int:
        """Bytes of the states of the optimizer; 0 if unknown."""
        if self.shape is None:
            return 0
        recipe = build_recipe(self.config, self.compute, self.heaviest, self.shape)
        return moment_bytes(self.shape, recipe) + state_bytes(self.shape, recipe)["master"]

    @property
    def offloaded_bytes(self) -> int:
        """Bytes that AdamW takes in the CPU memory of this machine beside its GPUs; 0 if unknown.

        Its states, the fp32 weights, and gradients unless it steps in backward.
        """
        if not self.config.optimizer_offload or self.device.type == "cpu" or self.shape is None:
            return 0
        copies = (self.config.params == "fp32") + (not self.config.optimizer_in_backward)
        whole = self._optimizer_bytes + 4 * copies * self.shape.num_parameters
        return whole * self.local_ranks // self.feed.ranks

    @property
    def local_ranks(self) -> int:
        """Processes of the run on this machine."""
        return int(os.environ.get("LOCAL_WORLD_SIZE", self.feed.ranks))

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights; 0 if unknown."""
        width = 4 if self.config.params == "fp32" else 2
        return (self.shape.num_parameters + self.shape.frozen) * width if self.shape else 0

    def remarks(self) -> list[str]:
        """Return what the user should know about data, memory and disk before the launch."""
        found = [text for rows in (self.train, *self.suites.values()) for text in rows.remarks()]
        found += [self.code] if self.code else []
        if self.vocabulary is not None:
            found.append(f"{self.vocabulary}.")
            found += self.vocabulary.find_unused(self.train.examples)
        found += self._changed()
        found += suggest_16_bits(self.config, self.shape, self.compute, self.device.type)
        if 0 < self.positions < self.train.longest_tokens:
            found.append(
                f"{self.source.name} was trained for {self.positions:,} tokens, and the longest"
                f" example has {self.train.longest_tokens:,}. Give --seq-len {self.positions} to"
                " stay within its context length."
            )
        found += self._padded()
        if self.prediction and self.prediction.peak_bytes > self.available_bytes:
            found.append(
                f"predicted {gib(self.prediction.peak_bytes):.1f} GiB, but"
                f" {gib(self.available_bytes):.1f} GiB are free. {self.advice()}"
            )
        if self.offloaded_bytes > (left := limits.memory().left_bytes):
            found.append(
                f"AdamW needs {gib(self.offloaded_bytes):.1f} GiB of CPU memory, but"
                f" {gib(left):.1f} GiB are free. Give --params bf16 or --optimizer-in-backward, or"
                " --no-optimizer-offload."
            )
        place = existing(Path(self.config.runs).expanduser())
        free = shutil.disk_usage(place).free
        if self.disk_bytes > free:
            found.append(
                f"the run may need {gib(self.disk_bytes):.1f} GiB of disk, but {place} has only"
                f" {gib(free):.1f} GiB free. Give --save-every 0 or another --runs."
            )
        loses_updates = self.config.rounding == "nearest" and not self.config.optimizer_offload
        if self.config.params == "bf16" and loses_updates:
            found.append(
                "bf16 weights: an update smaller than about 1/256 of a weight is rounded away, so"
                " training stalls at small learning rates. Give --rounding stochastic, or --params"
                " fp32."
            )
        return found

    def _changed(self) -> list[str]:
        """Return in what the trained weights are not those that are published."""
        name, found = self.source.name, []
        if self.unpacks:
            found.append(
                f"{name} is published in MXFP4: it is unpacked to {self.config.params} as it loads,"
                " and trained and saved so."
            )
        if self.shape is not None and self.shape.frozen:
            found.append(
                f"{name} reads text alone here: the {self.shape.frozen:,} parameters of its vision"
                " encoder get no gradient and stay as they are."
            )
        return found

    def _padded(self) -> list[str]:
        """Return why examples are padded and not packed, where that is not the user's choice."""
        if self.shape is None:
            why = "its memory was traced, because the planner does not know this model type"
            if self.prediction is None:
                why = f"its memory cannot be predicted ({self.not_predicted})"
            why += "; its examples are padded, not packed"
        elif self.config.packing and not packs(self.shape.architecture):
            why = "examples are padded, because this model type cannot pack them"
        else:
            return []
        return [f"{self.source.name}: {why}."]

    def advice(self) -> str:
        """Return the settings that fit, those that cost least time first, as one sentence."""
        budget = round(MARGIN * self.available_bytes)
        return format_advice(self.predictor.suggest(self.config, self.heaviest, budget))


def check_new(out: str | None) -> None:
    """Refuse an output directory that exists. Raises `UsageError`."""
    if out and Path(out).expanduser().exists():
        raise UsageError(f"--out {out} exists already: give another directory, or remove it.")


def make_plan(
    config: TrainConfig,
    rank: int = 0,
    ranks: int = 1,
    trace: TraceStep | None = None,
    progress: ReportProgress = no_progress,
) -> RunPlan:
    """Read configuration, tokenizer and data; return the plan of process `rank` of `ranks`.

    `trace` predicts the memory of model types that have no formula; `progress` is
    called while the data is read. Raises a `RunnerError` for what cannot be used.
    """
    try:
        planned = _made(config, rank, ranks, trace, progress)
        price = Price.of(config.price, config.currency, planned.device.type, ranks)
        return replace(planned, price=price)
    except InputError as error:  # transformers may accept it, but our memory model does not
        raise ModelLoadError(f"model {config.model!r} cannot be planned: {error}.") from None


def _made(
    config: TrainConfig, rank: int, ranks: int, trace: TraceStep | None, progress: ReportProgress
) -> RunPlan:
    device = _device(config)
    source = find(config.model, trusted=config.trust_remote_code)
    architecture, shape = read_config(source)
    unpacks, tokenizer = is_packed(source, architecture), load_tokenizer(source)
    vocabulary = _added(config, tokenizer, architecture)
    rows = 0 if vocabulary is None else vocabulary.rows
    shape = shape.with_vocabulary(rows) if shape and rows else shape
    _check_parts(config, shape)
    encoder = run_data.make_encoder(config, tokenizer)
    train, suites = run_data.load_datasets(config, encoder, progress)
    positions = _positions(source, architecture, shape, (train, *suites.values()))
    compute, pad = choose_precision(config, device), pad_token(tokenizer)
    predictor = Predictor(source, shape, train, pad, compute, device, ranks, rows, trace)
    config = predictor.with_micro_batch(config)
    feed = replace(predictor.feed(config), rank=rank)
    step, heaviest = predictor.heaviest(config)
    prediction, not_predicted = predictor.try_to_predict(config, heaviest)
    return RunPlan(
        config=config,
        source=source,
        shape=shape,
        tokenizer=tokenizer,
        encoder=encoder,
        train=train,
        suites=suites,
        feed=feed,
        schedule=schedule_for(config, feed),
        device=device,
        compute=compute,
        heaviest_step=step,
        heaviest=heaviest,
        positions=positions,
        unpacks=unpacks,
        code="" if source.trusted else describe_custom_code(source.name, vars(architecture)),
        predictor=predictor,
        prediction=prediction,
        not_predicted=not_predicted,
        vocabulary=vocabulary,
        available_bytes=free_bytes(device, ranks),
    )


def _device(config: TrainConfig) -> torch.device:
    """Return the device of the run. Raises `UsageError` for settings that it does not support."""
    device = choose_device(config.device)
    if config.activation_offload and device.type == "cpu":
        raise UsageError(
            "--activation-offload on a CPU: activations are in CPU memory already. Drop it, or give"
            " --checkpointing full to save fewer of them."
        )
    if config.compile:
        check_compiler(device)
    return device


def _added(config: TrainConfig, tokenizer: Any, architecture: Any) -> Vocabulary | None:
    """Add the run's tokens to the tokenizer and return them; None where it adds none."""
    if not config.add_tokens:
        return None
    rows = vocabulary_of(architecture)
    return add_tokens(tokenizer, config.add_tokens, rows)


def _check_parts(config: TrainConfig, shape: ModelConfig | None) -> None:
    """Refuse patterns that match no part of this model, before it loads. Raises `UsageError`."""
    if shape is None:
        return  # the optimizer checks them later, and what looks for routers
    if config.router_balance and not shape.sparse_layers:
        raise UsageError(no_routers(config.router_balance))
    tensors = shape.tensors
    factors("rates", config.rates, [tensor.name for tensor in tensors])
    factors("decays", config.decays, [t.name for t in tensors if len(t.shape) > 1])


def _positions(
    source: Source, architecture: Any, shape: ModelConfig | None, sets: Iterable[EncodedDataset]
) -> int:
    """Return the tokens the model was trained for. Raises `UsageError` beyond its embeddings."""
    positions = positions_of(architecture) or 0
    learned = shape is not None and shape.architecture.positions
    longest = max(rows.longest_tokens for rows in sets)
    if learned and longest > learned:
        raise UsageError(
            f"the longest example has {longest:,} tokens, but {source.name} has embeddings for"
            f" {learned:,} positions only: give --seq-len {learned}."
        )
    return positions


def writes_shards(config: TrainConfig, processes: int) -> bool:
    """Return whether each of so many processes writes shards, or one of them whole files."""
    if config.checkpoint_files == "auto":
        return processes > 1
    return config.checkpoint_files == "shards"


def writes_beside_steps(plan: RunPlan) -> bool:
    """Return whether this process can write checkpoints from a copy while steps go on.

    As the settings say; else on a GPU whose machine has twice the memory of all its copies left.
    """
    config, processes = plan.config, plan.feed.ranks
    if config.async_checkpoints is not None:
        return config.async_checkpoints
    if plan.device.type != "cuda" or (processes > 1 and not writes_shards(config, processes)):
        return False
    copies = plan.checkpoint_bytes * plan.local_ranks / processes
    return 0 < 2 * copies <= limits.memory().left_bytes - plan.offloaded_bytes


def existing(path: Path) -> Path:
    """Return the nearest directory that exists on the way up from `path`."""
    path = path.absolute()
    while not path.is_dir():
        path = path.parent
    return path

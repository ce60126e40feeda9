"""Every setting of a run in one frozen record: validated before anything is loaded.

The command line leaves out what was not given (`None`); `resolve` fills the gaps. The record is
written to the run's directory, so that `resume` needs nothing else.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from gpu_runner.config import bounds, source
from gpu_runner.config.bounds import (
    MOST_STEPS,
    TABLES,
    CheckpointFiles,
    Checkpointing,
    Device,
    Loss,
    Optimizer,
    Pairs,
    Precision,
    Rounding,
    Schedule,
    SettingSpec,
    TrainOn,
)
from gpu_runner.installed import RUNS_ENV, runs_folder, short
from unfrozen.runner import LENGTHS, MOST_AT_ONCE, MOST_MICRO_BATCHES

DATA: Final = "Model and data"
LENGTH: Final = "Length, learning rate and batch"
OPTIMIZER: Final = "Optimizer"
FORGETTING: Final = "Staying near the pre-trained weights"
PRECISION: Final = "Precision and device"
MEMORY: Final = "Memory and speed"
EVALUATION: Final = "Evaluation"
OUTPUT: Final = "Output and checkpoints"
DEMO: Final = "demo"  # the model, and the task it is fine-tuned on
INSTRUCT: Final = "instruct"  # the instruction examples shipped for a real language model


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """One full fine-tune: of every setting its type, default, bounds and help.

    Options of the command line have these names with hyphens, keys of a run.toml with underscores.
    To a help without a full stop at its end, the default is appended.
    """

    model: Annotated[
        str, SettingSpec("demo, a directory, a Hugging Face id, or a .gguf file.", DATA)
    ]
    data: Annotated[
        str, SettingSpec("demo, instruct, a file (JSON, CSV, Parquet) or a data set's id.", DATA)
    ]
    eval_data: Annotated[
        str | None, SettingSpec("Held-out examples of the task; else some of --data.", DATA)
    ] = None
    mix: Annotated[
        tuple[str, ...] | None, SettingSpec("More data, as FILE:weight=2; repeatable.", DATA)
    ] = None
    general: Annotated[
        tuple[tuple[str, str], ...] | None,  # (skill, file) pairs; None takes the shipped ones
        SettingSpec("NAME=FILE: held-out examples of a skill to keep; repeatable; or none.", DATA),
    ] = None
    replay: Annotated[str | None, SettingSpec("Old examples mixed into training.", DATA)] = None
    replay_share: Annotated[float, SettingSpec("Share of replayed tokens", DATA, 0.001, 0.9)] = 0.1
    chat_template: Annotated[
        str | None, SettingSpec("A .jinja file to replace the model's; none: no template.", DATA)
    ] = None
    today: Annotated[
        str | None, SettingSpec("Date that chat templates insert; else the day of launch.", DATA)
    ] = None
    add_tokens: Annotated[
        tuple[str, ...] | None,
        SettingSpec("Special tokens to add, as '<a>,<b>'; repeatable.", DATA),
    ] = None
    train_on: Annotated[
        TrainOn, SettingSpec("assistant, last (assistant message) or all tokens", DATA)
    ] = "assistant"
    seq_len: Annotated[
        int, SettingSpec("Longest sequence in tokens; longer ones are truncated", DATA, *LENGTHS)
    ] = 1024
    packing: Annotated[
        bool, SettingSpec("Pack examples into sequences; each attends to itself only", DATA)
    ] = True
    skip_bad_rows: Annotated[
        bool, SettingSpec("Skip and count examples that cannot be read", DATA)
    ] = False
    trust_remote_code: Annotated[
        bool, SettingSpec("Run Python files that the model brings; read them first", DATA)
    ] = False
    seed: Annotated[
        int, SettingSpec("Seed of the data order and every random draw", DATA, 0, 2**63 - 1)
    ] = 0

    steps: Annotated[int | None, SettingSpec("Optimizer steps.", LENGTH, 1, MOST_STEPS)] = None
    epochs: Annotated[
        float | None,
        SettingSpec("Passes over the data in place of --steps; else 1.", LENGTH, 1e-6, 10_000),
    ] = None
    lr: Annotated[float, SettingSpec("Peak learning rate", LENGTH, 1e-12, 1.0)] = 2e-5
    schedule: Annotated[
        Schedule, SettingSpec("cosine, linear, wsd or constant, after warm-up", LENGTH)
    ] = "cosine"
    warmup: Annotated[
        int | None,
        SettingSpec("Steps of linear warm-up; else 5% of the steps.", LENGTH, 0, MOST_STEPS),
    ] = None
    floor_ratio: Annotated[
        float, SettingSpec("Last learning rate over the peak; not for constant", LENGTH, 0.0, 1.0)
    ] = 0.1
    decay_steps: Annotated[
        int | None,
        SettingSpec("Steps of the decay of wsd; else 20% of the steps.", LENGTH, 0, MOST_STEPS),
    ] = None
    micro_batch: Annotated[
        int, SettingSpec("Sequences per micro-batch on each device", LENGTH, 1, MOST_AT_ONCE)
    ] = 4
    grad_accum: Annotated[
        int, SettingSpec("Micro-batches in one optimizer step", LENGTH, 1, MOST_MICRO_BATCHES)
    ] = 2
    auto_micro_batch: Annotated[
        bool, SettingSpec("Largest micro-batch that fits, at the same batch size", LENGTH)
    ] = False

    optimizer: Annotated[
        Optimizer, SettingSpec("adamw, adamw8bit, adafactor, sgd or muon", OPTIMIZER)
    ] = "adamw"
    weight_decay: Annotated[
        float, SettingSpec("Decoupled weight decay of matrices", OPTIMIZER, 0.0, 1.0)
    ] = 0.01
    clip: Annotated[float, SettingSpec("Maximum gradient norm; 0: off", OPTIMIZER, 0.0, 1e6)] = 1.0
    beta1: Annotated[float, SettingSpec("β₁ of AdamW", OPTIMIZER, 0.0, 0.9999)] = 0.9
    beta2: Annotated[float, SettingSpec("β₂ of AdamW", OPTIMIZER, 0.0, 0.999999)] = 0.999
    beta2_tokens: Annotated[
        float | None,
        SettingSpec("β₂ from a half-life in tokens, in place of --beta2.", OPTIMIZER, 1.0, 1e15),
    ] = None
    epsilon: Annotated[float, SettingSpec("ε of AdamW", OPTIMIZER, 1e-30, 1.0)] = 1e-8
    momentum: Annotated[float, SettingSpec("Momentum of sgd; 0: none", OPTIMIZER, 0.0, 0.9999)] = (
        0.0
    )
    rounding: Annotated[
        Rounding, SettingSpec("Rounding of bf16 updates: nearest, stochastic, kahan", OPTIMIZER)
    ] = "nearest"
    rates: Annotated[
        Pairs | None, SettingSpec("PART=FACTOR: times --lr for a part or pattern.", OPTIMIZER)
    ] = None
    decays: Annotated[
        Pairs | None, SettingSpec("PART=FACTOR: times --weight-decay, likewise.", OPTIMIZER)
    ] = None
    allow_untrained: Annotated[
        tuple[str, ...] | None,
        SettingSpec("A part or pattern that may get no gradient; repeatable.", OPTIMIZER),
    ] = None
    router_balance: Annotated[
        float, SettingSpec("Router auxiliary loss coefficient; Switch: 0.01", OPTIMIZER, 0.0, 10.0)
    ] = 0.0

    l2sp: Annotated[
        float, SettingSpec("λ of L2-SP in the loss: λ/2 ‖θ−θ₀‖²", FORGETTING, 0.0, 1e6)
    ] = 0.0
    l2sp_pull: Annotated[
        float, SettingSpec("λ of decoupled L2-SP: θ moves back by lr · λ · (θ−θ₀)", FORGETTING,
                       0.0, 1e6)
    ] = 0.0  # fmt: skip
    ewc: Annotated[
        float, SettingSpec("λ of EWC: L2-SP weighted by the Fisher (mean 1)", FORGETTING, 0.0, 1e6)
    ] = 0.0
    fisher_data: Annotated[
        str | None,
        SettingSpec("Examples for the Fisher; else --replay, else --general.", FORGETTING),
    ] = None
    fisher_rows: Annotated[
        int, SettingSpec("Examples for the Fisher, before the first step", FORGETTING, 1, 1_000_000)
    ] = 128
    ema: Annotated[
        float | None,
        SettingSpec("Decay of a moving average of the weights, per step; usual: 0.999.", FORGETTING,
                    0.5, 0.999999),
    ] = None  # fmt: skip
    anchor_in_memory: Annotated[
        bool, SettingSpec("Hold θ₀ (and the Fisher) in memory, not on disk", FORGETTING)
    ] = False

    params: Annotated[
        Precision, SettingSpec("Weight dtype: fp32 (16 bytes a parameter) or bf16 (8)", PRECISION)
    ] = "fp32"
    compute: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"],
        SettingSpec(
            "Compute dtype of matmuls: auto, fp32, bf16 or fp16 (scales the loss)", PRECISION
        ),
    ] = "auto"
    device: Annotated[Device, SettingSpec("auto, cpu or cuda", PRECISION)] = "auto"
    tf32: Annotated[
        bool, SettingSpec("TF32 for fp32 matmuls on a GPU (10-bit mantissa)", PRECISION)
    ] = False
    deterministic: Annotated[
        bool, SettingSpec("Bitwise reproducible kernels on a GPU", PRECISION)
    ] = False
    compile: Annotated[
        bool, SettingSpec("torch.compile each block; packed sequences get one length", PRECISION)
    ] = False
    fused: Annotated[
        bool, SettingSpec("Fused Llama-like blocks, which save less; not with compile", PRECISION)
    ] = True

    loss: Annotated[
        Loss, SettingSpec("Cross-entropy: full, chunked (upcast), linear (fused head)", MEMORY)
    ] = "linear"
    checkpointing: Annotated[
        Checkpointing, SettingSpec("Activation checkpointing: none, selective or full", MEMORY)
    ] = "none"
    activation_offload: Annotated[
        bool, SettingSpec("Offload activations to CPU (CUDA only)", MEMORY)
    ] = False
    optimizer_in_backward: Annotated[
        bool, SettingSpec("Optimizer step in backward: no accumulation, no --clip", MEMORY)
    ] = False
    optimizer_offload: Annotated[
        bool, SettingSpec("AdamW and fp32 weights in CPU memory, stepped there", MEMORY)
    ] = False
    shard_size: Annotated[
        int | None,
        SettingSpec("Processes in a shard group (HSDP); else all.", MEMORY, 2, 1_000_000),
    ] = None

    eval_every: Annotated[
        int | None,
        SettingSpec(
            "Steps between evaluations; else as 5% of the time allows.", EVALUATION, 1, MOST_STEPS
        ),
    ] = None
    eval_rows: Annotated[
        int, SettingSpec("Most examples scored of a held-out set", EVALUATION, 1, 1_000_000)
    ] = 128
    early_stop: Annotated[
        int | None,
        SettingSpec(
            "Evaluations without a lower task loss until it stops.", EVALUATION, 1, 1_000_000
        ),
    ] = None
    sample_tokens: Annotated[
        int, SettingSpec("Tokens of a sample; 0: no samples", EVALUATION, 0, 4096)
    ] = 32
    sample_prompts: Annotated[
        tuple[str, ...] | None,
        SettingSpec("A prompt to sample from; repeatable; else held-out ones.", EVALUATION),
    ] = None

    runs: Annotated[
        str,
        SettingSpec(
            f"Directory of the runs; else {RUNS_ENV}, else {short(runs_folder())}.", OUTPUT
        ),
    ] = "runs"
    out: Annotated[
        str | None, SettingSpec("Directory for the trained model; else in the run.", OUTPUT)
    ] = None
    save_every: Annotated[
        int | None,
        SettingSpec(
            "Steps between checkpoints; 0: none; else as 5% of the time allows.",
            OUTPUT,
            0,
            MOST_STEPS,
        ),
    ] = None
    save_minutes: Annotated[
        float,
        SettingSpec(
            "Minutes after which a checkpoint is written whatever its step; 0: by steps alone",
            OUTPUT,
            0,
            1e6,
        ),
    ] = 15.0
    checkpoint_files: Annotated[
        CheckpointFiles,
        SettingSpec("whole (one process writes), shards (each) or auto", OUTPUT),
    ] = "auto"
    async_checkpoints: Annotated[
        bool | None,
        SettingSpec(
            "Train on while a checkpoint is written, from a copy in CPU memory; else on a GPU whose"
            " host has twice the room for it.",
            OUTPUT,
        ),
    ] = None
    keep_last: Annotated[
        int,
        SettingSpec(
            "Newest checkpoints that stay, for the mean of `blend --last`", OUTPUT, 1, 1000
        ),
    ] = 1
    keep_state: Annotated[
        bool, SettingSpec("Keep what `resume --steps` needs of a finished run", OUTPUT)
    ] = True
    price: Annotated[
        float | None, SettingSpec("Price of an hour of one GPU or CPU machine.", OUTPUT, 0, 1e6)
    ] = None
    currency: Annotated[str, SettingSpec("Currency of --price, a label", OUTPUT)] = "USD"

    def as_json(self) -> dict[str, Any]:
        """Return plain data for `config.json` and the `run.start` event."""
        return dataclasses.asdict(self)

    def anchored(self) -> TrainConfig:
        """Return the settings with every path absolute, to be resumed from any directory."""

        def absolute(name: str | None) -> str | None:
            exists = name is not None and Path(name).expanduser().exists()
            return str(Path(str(name)).expanduser().absolute()) if exists else name

        general = self.general and tuple(
            (skill, str(source.anchored(file))) for skill, file in self.general
        )
        return dataclasses.replace(
            self,
            model=self.model if self.model == DEMO else str(absolute(self.model)),
            data=self.data if self.data in (DEMO, INSTRUCT) else str(source.anchored(self.data)),
            mix=self.mix and tuple(str(source.anchored(more)) for more in self.mix),
            eval_data=source.anchored(self.eval_data),
            replay=source.anchored(self.replay),
            fisher_data=source.anchored(self.fisher_data),
            chat_template=absolute(self.chat_template),
            general=general,
            runs=str(Path(self.runs).expanduser().absolute()),
            out=None if self.out is None else str(Path(self.out).expanduser().absolute()),
        )

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> TrainConfig:
        """Return the settings of `as_json`. Raises ValueError for a key that is not a setting."""
        values = dict(data)
        fields = {field.name for field in dataclasses.fields(TrainConfig)}
        if unknown := sorted(values.keys() - fields):
            raise ValueError(f"{', '.join(unknown[:3])} is not a setting of a run")
        if values.get("general") is not None:
            values["general"] = tuple((str(name), str(path)) for name, path in values["general"])
        for name in ("sample_prompts", "mix", "add_tokens", "allow_untrained"):
            if values.get(name) is not None:
                values[name] = tuple(values[name])
        for name in TABLES:
            if values.get(name) is not None:
                values[name] = tuple((str(part), float(times)) for part, times in values[name])
        return TrainConfig(**values)


RANGES: Final = bounds.ranges(TrainConfig)
ALLOWED: Final = bounds.allowed_values(TrainConfig)

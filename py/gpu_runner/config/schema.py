"""Every choice of a run in one frozen record: validated before anything is loaded.

The command line leaves out what it does not know (`None`); `resolve` fills the gaps. The record is
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
    About,
    CheckpointFiles,
    Checkpointing,
    Device,
    Loss,
    Optimizer,
    Precision,
    Rounding,
    Schedule,
    TrainOn,
)
from gpu_runner.config.tables import TABLES, Pairs
from gpu_runner.installed import RUNS_ENV, runs_folder, short
from unfrozen.runner import LENGTHS, MOST_AT_ONCE, MOST_MICRO_BATCHES

DATA: Final = "Model and data"
LENGTH: Final = "Length and rate"
PRECISION: Final = "Precision and device"
OUTPUT: Final = "Evaluation and output"
YES_OR_NO: Final = "Yes or no"
RARER: Final = ""
DEMO: Final = "demo"  # the model, and the task it is fine-tuned on
INSTRUCT: Final = "instruct"  # the instruction rows shipped for a real language model


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """One full fine-tune: of every choice its type, default, bounds, and what is said of it.

    Options of the command line have these names, and so have the keys of a run.toml. A help without
    a full stop at its end is told with the default.
    """

    model: Annotated[str, About("demo, a directory, a Hugging Face id, or a .gguf file.", DATA)]
    data: Annotated[
        str, About("demo, instruct, a file (JSON, CSV, Parquet) or a data set's id.", DATA)
    ]
    eval_data: Annotated[
        str | None, About("Held-out rows of the task (.jsonl); else some are held out.", DATA)
    ] = None
    mix: Annotated[
        tuple[str, ...] | None, About("More rows, as FILE:weight=2; repeatable.", DATA)
    ] = None
    general: Annotated[
        tuple[tuple[str, str], ...] | None,  # (skill, file) pairs; None takes the shipped ones
        About("NAME=FILE: a skill not to forget; repeatable; none measures none.", DATA),
    ] = None
    replay: Annotated[
        str | None, About("Rows of what not to forget (.jsonl), mixed into training.", DATA)
    ] = None
    replay_share: Annotated[float, About("Their share of the tokens", DATA, 0.001, 0.9)] = 0.1
    chat_template: Annotated[
        str | None, About("A .jinja file in place of the model's; none for no template.", DATA)
    ] = None
    add_tokens: Annotated[
        tuple[str, ...] | None,
        About("Special tokens to add, as '<a>,<b>'; repeatable.", DATA),
    ] = None
    train_on: Annotated[TrainOn, About("assistant, last (answer) or all", DATA)] = "assistant"
    seq_len: Annotated[int, About("Longest row in tokens; longer are cut", DATA, *LENGTHS)] = 512
    seed: Annotated[int, About("Order of the data and every random draw", DATA, 0, 2**63 - 1)] = 0

    steps: Annotated[int | None, About("Optimizer steps.", LENGTH, 1, MOST_STEPS)] = None
    epochs: Annotated[
        float | None,
        About("Passes over the data, instead of --steps; 1 without either.", LENGTH, 1e-6, 10_000),
    ] = None
    lr: Annotated[float, About("Peak learning rate", LENGTH, 1e-12, 1.0)] = 2e-5
    schedule: Annotated[
        Schedule, About("cosine, linear, wsd or constant, after warm-up", LENGTH)
    ] = "cosine"
    warmup: Annotated[
        int | None,
        About("Steps of linear warm-up; else 5% of the steps.", LENGTH, 0, MOST_STEPS),
    ] = None
    micro_batch: Annotated[int, About("Rows computed at once", LENGTH, 1, MOST_AT_ONCE)] = 4
    grad_accum: Annotated[
        int, About("Micro-batches in one optimizer step", LENGTH, 1, MOST_MICRO_BATCHES)
    ] = 2
    weight_decay: Annotated[float, About("Decoupled decay of matrices", LENGTH, 0.0, 1.0)] = 0.01
    clip: Annotated[float, About("Largest gradient norm; 0 never clips", LENGTH, 0.0, 1e6)] = 1.0

    params: Annotated[Precision, About("fp32 (16 bytes a parameter) or bf16 (8)", PRECISION)] = (
        "fp32"
    )
    compute: Annotated[
        Literal["auto", "fp32", "bf16"], About("auto, fp32 or bf16 matrix products", PRECISION)
    ] = "auto"
    device: Annotated[Device, About("auto, cpu or cuda", PRECISION)] = "auto"

    eval_every: Annotated[int, About("Steps between two evaluations", OUTPUT, 1, MOST_STEPS)] = 10
    eval_rows: Annotated[int, About("Most rows scored in a held-out set", OUTPUT, 1, 1_000_000)] = (
        128
    )
    save_every: Annotated[
        int | None,
        About("Steps between checkpoints; 0 never; else at evaluations.", OUTPUT, 0, MOST_STEPS),
    ] = None
    sample_tokens: Annotated[int, About("Length of samples; 0 for none", OUTPUT, 0, 4096)] = 32
    out: Annotated[
        str | None, About("Where the trained model goes; else into the run.", OUTPUT)
    ] = None
    runs: Annotated[
        str,
        About(f"Directory of the runs; else {RUNS_ENV}, else {short(runs_folder())}.", OUTPUT),
    ] = "runs"
    price: Annotated[float | None, About("Per hour of a card or CPU host.", OUTPUT, 0, 1e6)] = None
    currency: Annotated[str, About("Of --price; only a label", OUTPUT)] = "USD"

    skip_bad_rows: Annotated[
        bool, About("Leave out and count rows that cannot be read.", YES_OR_NO)
    ] = False
    trust_remote_code: Annotated[
        bool, About("Run Python files that the model brings; read them before.", YES_OR_NO)
    ] = False
    auto_micro_batch: Annotated[
        bool, About("The largest micro-batch that fits, rows a step kept.", YES_OR_NO)
    ] = False

    # rarer ones, without an option of their own: for --set and --config
    floor_ratio: Annotated[
        float,
        About("Last learning rate as a share of the peak; constant has none", RARER, 0.0, 1.0),
    ] = 0.1
    decay_steps: Annotated[
        int | None,
        About("Last leg of wsd, down to the floor; else 20% of the steps.", RARER, 0, MOST_STEPS),
    ] = None
    layer_decay: Annotated[
        float,
        About("ξ: a layer learns at the rate of that above divided by ξ; ULMFiT took 2.6", RARER,
              1.0, 100.0),
    ] = 1.0  # fmt: skip
    rates: Annotated[
        Pairs | None, About("[rates] embedding = 0.1: times --lr for a part, or a pattern.", RARER)
    ] = None
    decays: Annotated[
        Pairs | None, About("[decays] embedding = 0: times --weight-decay, likewise.", RARER)
    ] = None
    optimizer: Annotated[
        Optimizer, About("What moves the weights; muon those of the blocks, AdamW the rest", RARER)
    ] = "adamw"
    beta1: Annotated[float, About("Of AdamW: memory of gradients", RARER, 0.0, 0.9999)] = 0.9
    beta2: Annotated[float, About("Of AdamW: of their squares", RARER, 0.0, 0.999999)] = 0.999
    beta2_tokens: Annotated[
        float | None,
        About("β₂ by the tokens in which half is forgotten; plan tells it.", RARER, 1.0, 1e15),
    ] = None
    epsilon: Annotated[float, About("Of AdamW: least divisor", RARER, 1e-30, 1.0)] = 1e-8
    momentum: Annotated[float, About("Of sgd; 0 keeps no state", RARER, 0.0, 0.9999)] = 0.0
    neftune_alpha: Annotated[
        float, About("Noise on embeddings while training; NEFTune took 5 to 15", RARER, 0.0, 1000.0)
    ] = 0.0
    router_balance: Annotated[
        float,
        About("Strength of what spreads tokens over experts; Switch took 0.01", RARER, 0.0, 10.0),
    ] = 0.0
    rounding: Annotated[
        Rounding, About("How bf16 weights are rounded; nearest loses small updates", RARER)
    ] = "nearest"
    l2sp: Annotated[float, About("λ of L2-SP in the loss: λ/2 ‖θ−θ₀‖²", RARER, 0.0, 1e6)] = 0.0
    l2sp_pull: Annotated[
        float, About("λ of decoupled L2-SP: θ moves by rate · λ back to θ₀", RARER, 0.0, 1e6)
    ] = 0.0
    ewc: Annotated[
        float, About("λ of EWC: L2-SP weighted by Fisher information (mean 1)", RARER, 0.0, 1e6)
    ] = 0.0
    fisher_data: Annotated[
        str | None, About("Rows for the Fisher; else the replayed, else the general ones.", RARER)
    ] = None
    fisher_rows: Annotated[
        int, About("How many of them, each once, before the first step", RARER, 1, 1_000_000)
    ] = 128
    anchor_in_memory: Annotated[
        bool, About("Hold θ₀ (and the Fisher) in memory instead of reading them", RARER)
    ] = False
    packing: Annotated[
        bool, About("Rows of a step share sequences, each attended to alone", RARER)
    ] = True
    early_stop: Annotated[
        int | None,
        About("Stop after so many looks without a lower task loss; the best model stays.", RARER,
              1, 1_000_000),
    ] = None  # fmt: skip
    loss: Annotated[
        Loss, About("Logits at once: full, chunked (upcast in parts), linear (in chunks)", RARER)
    ] = "linear"
    checkpointing: Annotated[
        Checkpointing, About("What is computed again in the backward pass", RARER)
    ] = "none"
    activation_offload: Annotated[
        bool, About("What layers keep waits in the memory of the host (CUDA)", RARER)
    ] = False
    optimizer_in_backward: Annotated[
        bool, About("A weight moves when its gradient is there: no accumulation, no clip", RARER)
    ] = False
    compile: Annotated[
        bool, About("torch.compile for each block; packed sequences then have one length", RARER)
    ] = False
    fused: Annotated[
        bool, About("Llama-like blocks keep less, at no cost; not beside compile", RARER)
    ] = True
    checkpoint_files: Annotated[
        CheckpointFiles,
        About("whole by one process, shards by each; auto: shards of several", RARER),
    ] = "auto"
    async_checkpoints: Annotated[
        bool, About("Steps go on while shards are written, from a copy in host memory", RARER)
    ] = False
    shard_size: Annotated[
        int | None, About("Processes that hold one copy together; else all.", RARER, 2, 1_000_000)
    ] = None
    keep_state: Annotated[bool, About("Whether a finished run can go on, by --steps", RARER)] = True
    tf32: Annotated[bool, About("fp32 products of a card in TF32: 10 bits of 23", RARER)] = False
    deterministic: Annotated[bool, About("Bitwise repeatable kernels on a card", RARER)] = False
    today: Annotated[
        str | None, About("The date that chat templates tell; else that of the start.", RARER)
    ] = None
    sample_prompts: Annotated[
        tuple[str, ...] | None, About("Continued before and after; else held-out rows.", RARER)
    ] = None

    def as_json(self) -> dict[str, Any]:
        """Plain data for `config.json` and the `run.start` event."""
        return dataclasses.asdict(self)

    def anchored(self) -> TrainConfig:
        """The same choices with every path made absolute, so that any directory can resume them."""

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
        """The inverse of `as_json`. Raises ValueError for what is no choice of a run."""
        values = dict(data)
        fields = {field.name for field in dataclasses.fields(TrainConfig)}
        if unknown := sorted(values.keys() - fields):
            raise ValueError(f"{', '.join(unknown[:3])} is no choice of a run")
        if values.get("general") is not None:
            values["general"] = tuple((str(name), str(path)) for name, path in values["general"])
        for name in ("sample_prompts", "mix", "add_tokens"):
            if values.get(name) is not None:
                values[name] = tuple(values[name])
        for name in TABLES:
            if values.get(name) is not None:
                values[name] = tuple((str(part), float(times)) for part, times in values[name])
        return TrainConfig(**values)


RANGES: Final = bounds.ranges(TrainConfig)
WORDS: Final = bounds.words(TrainConfig)

"""Every choice of a run in one frozen record: validated before anything is loaded.

The command line leaves out what it does not know (`None`); `resolve` fills the gaps, from the
demo's recipe when the demo model is trained on its own task, from the defaults below otherwise. The
record is written to the run's directory, so that `resume` needs nothing else.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from gpu_runner import bounds
from gpu_runner.bounds import (
    Checkpointing,
    Device,
    Loss,
    Optimizer,
    Precision,
    Rounding,
    Schedule,
)
from gpu_runner.errors import UsageError
from gpu_runner.installed import runs_folder

DEMO: Final = "demo"  # the model, and the task it is fine-tuned on
INSTRUCT: Final = "instruct"  # the instruction rows shipped for a real language model


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """One full fine-tune. Names are those of the command-line options."""

    model: str
    """`demo`, a directory, a Hugging Face id, or a `.gguf` file."""
    data: str
    """`demo`, `instruct`, a `.jsonl` file, or a Hugging Face data set id."""
    eval_data: str | None = None
    """Held-out rows of the task; without it some training rows are held out."""
    general: tuple[tuple[str, str], ...] | None = None
    """(skill, file) pairs on which forgetting is measured; None takes the shipped ones."""
    skip_bad_rows: bool = False
    """Leave out, count and show bad rows instead of refusing the file."""
    replay: str | None = None
    """Rows of what the model should not forget (.jsonl), mixed into training; `demo` has some."""
    replay_share: float = 0.1
    """Their share of the training tokens."""
    steps: int | None = None
    """Optimizer steps; exclusive with `epochs`."""
    epochs: float | None = None
    """Passes over the training rows; exclusive with `steps`."""
    lr: float = 2e-5
    """Peak learning rate."""
    schedule: Schedule = "cosine"
    """Shape of the learning rate after warm-up."""
    warmup: int | None = None
    """Steps of linear warm-up; None means 5% of the steps."""
    floor_ratio: float = 0.1
    """Last learning rate as a share of the peak; `constant` has none."""
    decay_steps: int | None = None
    """Length of the last leg of `wsd`, a line down to the floor; None means 20% of the steps."""
    layer_decay: float = 1.0
    """ξ: each layer learns at the rate of the layer above divided by ξ; ULMFiT took 2.6."""
    optimizer: Optimizer = "adamw"
    """What moves the weights; muon moves matrices of the blocks and leaves the rest to AdamW."""
    momentum: float = 0.0
    """Of sgd; 0 keeps no state."""
    rounding: Rounding = "nearest"
    """How updates of bf16 weights are rounded; nearest loses the small ones."""
    l2sp: float = 0.0
    """λ of L2-SP in the loss: λ/2 ‖θ−θ₀‖², rescaled by the optimizer like any gradient."""
    l2sp_pull: float = 0.0
    """λ of decoupled L2-SP: after each step θ moves by rate · λ of its distance back to θ₀."""
    ewc: float = 0.0
    """λ of EWC: as l2sp, each weight's distance counted by its Fisher information (mean 1)."""
    fisher_data: str | None = None
    """Rows the Fisher is estimated on; None takes the replay rows, else the general ones."""
    fisher_rows: int = 128
    """How many of them: one forward and backward each, once, before the first step."""
    anchor_in_memory: bool = False
    """Hold θ₀ (and the Fisher) in memory instead of reading them at every step."""
    micro_batch: int = 4
    """Rows that go through the model at once."""
    grad_accum: int = 2
    """Micro-batches that add up to one optimizer step."""
    auto_micro_batch: bool = False
    """Take the largest micro-batch that fits the free memory, with as many rows a step."""
    packing: bool = True
    """Rows of a step share sequences without padding, each attended to alone."""
    seq_len: int = 512
    """Longest row in tokens; longer ones are cut and counted."""
    weight_decay: float = 0.01
    """Decay of matrices, decoupled (sgd's goes through its momentum); vectors never decay."""
    clip: float = 1.0
    """Largest global gradient norm; 0 never clips."""
    seed: int = 0
    """Fixes the order of the data and every random draw."""
    eval_every: int = 10
    """Steps between two evaluations; also at step 0 and at the end."""
    eval_rows: int = 128
    """At most so many rows of each held-out set are scored."""
    early_stop: int | None = None
    """Stop after so many evaluations without a lower task loss; the model is that of the best."""
    save_every: int | None = None
    """Steps between two checkpoints; None means at every evaluation, 0 never."""
    params: Precision = "fp32"
    """Precision of weights, gradients and moments: 16 bytes a parameter, or 8."""
    compute: Literal["auto", "fp32", "bf16"] = "auto"
    """Precision of the matrix products; auto is bf16 on CUDA and that of the weights on CPU."""
    loss: Loss = "linear"
    """How many logits exist at once: all, a part upcast at a time, or a chunk of them."""
    checkpointing: Checkpointing = "none"
    """What is computed again in the backward pass instead of kept: nothing, half, or each layer."""
    activation_offload: bool = False
    """What layers keep waits in the memory of the host (CUDA)."""
    optimizer_in_backward: bool = False
    """Each weight moves as soon as its gradient is there: no accumulation, no clipping."""
    compile: bool = False
    """torch.compile for each block; packed sequences then have one fixed length."""
    fused: bool = True
    """Blocks of Llama-like models keep less and make it again, at no cost; not beside compile."""
    device: Device = "auto"
    """auto takes CUDA when there is one."""
    sample_prompts: tuple[str, ...] | None = None
    """Prompts continued before and after training; None takes the first held-out rows."""
    sample_tokens: int = 32
    """Greedy tokens for each of them; 0 leaves samples out."""
    out: str | None = None
    """Directory for the trained model; None means `model/` in the run's directory."""
    runs: str = "runs"
    """Directory that holds the runs."""

    def as_json(self) -> dict[str, Any]:
        """Plain data for `config.json` and the `run.start` event."""
        return dataclasses.asdict(self)

    def anchored(self) -> TrainConfig:
        """The same choices with every path made absolute, so that any directory can resume them."""

        def absolute(name: str | None) -> str | None:
            exists = name is not None and Path(name).expanduser().exists()
            return str(Path(str(name)).expanduser().absolute()) if exists else name

        general = self.general and tuple((skill, str(absolute(f))) for skill, f in self.general)
        return dataclasses.replace(
            self,
            model=self.model if self.model == DEMO else str(absolute(self.model)),
            data=self.data if self.data in (DEMO, INSTRUCT) else str(absolute(self.data)),
            eval_data=absolute(self.eval_data),
            replay=absolute(self.replay),
            fisher_data=absolute(self.fisher_data),
            general=general,
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
        if values.get("sample_prompts") is not None:
            values["sample_prompts"] = tuple(values["sample_prompts"])
        return TrainConfig(**values)


def resolve(options: Mapping[str, Any]) -> TrainConfig:
    """Fill in what `options` leaves out (absent or None) and check every bound.

    Raises `UsageError` with the option, its value, the bound and the remedy.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if "model" not in given:
        raise UsageError(
            f"--model is missing: give {DEMO}, a directory, a Hugging Face id, or a .gguf file."
        )
    if "data" not in given and given.get("model") != DEMO:
        raise UsageError(
            f"--data is missing: model {given.get('model')!r} has no task of its own. Give a JSONL"
            f" file, or --data {INSTRUCT} for the instruction rows that ship with the runner."
        )
    given.setdefault("data", DEMO)
    if DEMO in (given.get("replay"), given.get("fisher_data")):
        from gpu_runner.demo import earlier

        given |= {k: str(earlier()) for k in ("replay", "fisher_data") if given.get(k) == DEMO}
    if given["model"] == DEMO and given["data"] == DEMO:
        given = _demo_recipe() | given
        if options.get("warmup") is None:
            given["warmup"] = min(given["warmup"], given["steps"])
    if {"steps", "epochs"} <= given.keys():
        if options.get("steps") is not None and options.get("epochs") is not None:
            raise UsageError(
                f"--steps {given['steps']} and --epochs {given['epochs']} both set the length of"
                " the run: give one of them."
            )
        del given["steps"]  # the demo's default yields to the user's --epochs
    if not {"steps", "epochs"} & given.keys():
        given["epochs"] = 1.0
    given.setdefault("runs", str(runs_folder()))
    config = TrainConfig(**given)
    bounds.check(config)
    bounds.check_used(options, config)
    return config


def _demo_recipe() -> dict[str, Any]:
    """The demo's own defaults, under our option names."""
    from gpu_runner.demo import RECIPE

    return {
        "steps": RECIPE.steps,
        "lr": RECIPE.lr,
        "warmup": RECIPE.warmup_steps,
        "floor_ratio": RECIPE.floor_ratio,
        "micro_batch": RECIPE.micro_batch,
        "grad_accum": 1,
        "seq_len": RECIPE.seq_len,
        "eval_every": RECIPE.eval_every,
        "seed": RECIPE.seed,
        "sample_prompts": RECIPE.sample_prompts,
        "sample_tokens": RECIPE.sample_tokens,
        "eval_rows": 1_000_000,
    }


def parse_general(pairs: list[str] | None) -> tuple[tuple[str, str], ...] | None:
    """`["math=a.jsonl", …]` from repeated `--general NAME=FILE`; `["none"]` gives no suite at all.

    Raises `UsageError` for anything else, and for a name that occurs twice.
    """
    if not pairs:
        return None
    if pairs == ["none"]:
        return ()
    suites: dict[str, str] = {}
    if "none" in pairs:
        raise UsageError(
            "--general none measures no forgetting, and others are given beside it: drop one."
        )
    for pair in pairs:
        name, equals, path = pair.partition("=")
        if not equals or not name or not path or "/" in name:
            raise UsageError(
                f"--general {pair!r} is not NAME=FILE: for example --general math=math.jsonl,"
                " or --general none to measure no forgetting."
            )
        if name in suites:
            raise UsageError(f"--general {name}=… occurs twice: give each suite its own name.")
        suites[name] = path
    return tuple(suites.items())

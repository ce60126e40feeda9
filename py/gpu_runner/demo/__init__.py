"""The embedded demo: a small pre-trained model, what it knows, and a task it has never seen.

`unfrozen train --model demo` starts here. The model was pre-trained on four skills by
`python -m gpu_runner.demo.pretrain`; the demo task is a fifth. Everything is generated from the
grammars in `skills.py` or written by hand in `instruct/`, and shipped beside this file:

```
model/  config.json model.safetensors tokenizer.json …    θ₀, loads in transformers unchanged
data/   task_train.jsonl task_eval.jsonl                  the new skill: Roman numerals
        general_<skill>.jsonl                             what θ₀ already knew, held out
        instruct.jsonl instruct_eval.jsonl                instruction data for a real LLM
        general_english.jsonl                             what a real LLM should not lose
card.json                                                 seed, sizes, losses, accuracies, hashes
```

Reading order: `words` · `skills` · `tokenizer` · `network` · `task_files` · `provenance` ·
`pretrain`, which makes it all, and `record`, which makes the recordings of the page.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

#: The skills θ₀ was pre-trained on, in the order in which they are reported.
EARLIER_SKILLS: Final = ("addition", "reversal", "capitals", "tenses")


@dataclass(frozen=True, slots=True)
class DemoRecipe:
    """Defaults of the demo run: short enough for two CPU cores, long enough to forget."""

    #: Optimizer steps.
    steps: int = 200
    #: Peak learning rate: near the pre-training one, far above what one would use with care.
    lr: float = 1e-3
    #: Learning rate that learns the same task more slowly and keeps much more of the old skills.
    careful_lr: float = 1e-4
    #: Steps of linear warm-up; cosine to `lr × floor_ratio` after that.
    warmup_steps: int = 10
    #: Final learning rate as a share of the peak.
    floor_ratio: float = 0.1
    #: Documents (rows of the JSONL file) in one micro-batch; one micro-batch a step.
    micro_batch: int = 32
    #: Longest document in tokens, end token included; every row of every demo file fits.
    seq_len: int = 64
    #: Evaluate task and earlier skills at step 0, every so many steps, and at the end.
    eval_every: int = 20
    #: Seed of the data order.
    seed: int = 7
    #: Prompts whose greedy continuation is logged before and after training, all of them held out.
    #: Both sums, Sofia and the verb are right before and were wrong after each of eight runs (four
    #: seeds, blocks fused or not); the numeral was right after all of them.
    sample_prompts: tuple[str, ...] = (
        "Write 826 in Roman numerals:",
        "71 + 65 =",
        "55 + 97 =",
        "People who live in Sofia live in",
        "Often Omar pays. Yesterday Omar",
        "Spell backwards: p l a n e t =",
    )
    #: Greedy tokens generated for each sample prompt.
    sample_tokens: int = 16


RECIPE: Final = DemoRecipe()


def _shipped(*parts: str) -> Path:
    """Path of a file shipped in this package (the package must be unpacked, not zipped).

    Raises:
        FileNotFoundError: the file is missing; names it and the command that makes it.
    """
    path = Path(str(files(__package__))).joinpath(*parts)
    if not path.exists():
        raise FileNotFoundError(
            f"{path} is not there; it ships with gpu_runner: install the package again, "
            "or make it with `python -m gpu_runner.demo.pretrain`"
        )
    return path


def model_dir() -> Path:
    """Directory of θ₀: `LlamaForCausalLM` weights, config and tokenizer."""
    return _shipped("model")


def card() -> Path:
    """The JSON card: seed, recipe, parameter count, losses, accuracies and file hashes."""
    return _shipped("card.json")


def task_train() -> Path:
    """Training rows of the demo task, `{"prompt", "completion"}`."""
    return _shipped("data", "task_train.jsonl")


def task_eval() -> Path:
    """Held-out rows of the demo task; no number occurs in `task_train()`."""
    return _shipped("data", "task_eval.jsonl")


def general_eval() -> dict[str, Path]:
    """One held-out file for each earlier skill, never seen in pre-training."""
    return {skill: _shipped("data", f"general_{skill}.jsonl") for skill in EARLIER_SKILLS}


def earlier() -> Path:
    """Rows like those of pre-training, none held out: for replay, and for EWC's Fisher."""
    return _shipped("data", "earlier.jsonl")


def instruct_train() -> Path:
    """Instruction rows for a real LLM, `{"messages": [user, assistant]}`."""
    return _shipped("data", "instruct.jsonl")


def instruct_eval() -> Path:
    """Held-out instruction rows in the same style."""
    return _shipped("data", "instruct_eval.jsonl")


def general_english() -> Path:
    """General knowledge, reasoning and code in plain words, `{"text"}`: what must not be lost."""
    return _shipped("data", "general_english.jsonl")


def choices() -> dict[str, Any]:
    """The recipe under the names of a run's choices."""
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

"""What a log of another tool means where it differs from ours, and what it lacks, in words.

Trainer's `loss` is the mean over the steps since its last one (`logging_steps`), and its evaluation
averages what each batch gave (transformers, `Trainer._maybe_log_save_evaluate` and
`Trainer.evaluation_loop`). Ours is that of one step, and a mean by token. So they are told apart
wherever a reader could lay them on one another.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_WINDOW: Final = "the mean over the steps since the point before (logging_steps), not of one step"
_BATCHES: Final = "a mean of what each batch gave, not by token: long rows weigh less"
_UNKNOWN: Final = (
    "as it was logged; the file does not say over how many steps, nor whether by token"
    " (Hugging Face Trainer: the mean over logging_steps)"
)
_UNKNOWN_EVAL: Final = (
    "averaged in a way that the file does not say (Hugging Face Trainer: a mean of what each batch"
    " gave, not by token)"
)


EXPECTED: Final = (
    "expected is a trainer_state.json of Hugging Face Trainer, an event file of TensorBoard"
    " (events.out.tfevents.…) or an offline run of W&B (run-….wandb)"
)
"""What can be read, for whoever brought another file."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool in words: what it is called, what its log is, and how its losses were taken."""

    label: str
    log: str
    loss: str
    eval_loss: str


TOOLS: Final = {
    "trainer": Tool("Hugging Face Trainer", "trainer_state.json", _WINDOW, _BATCHES),
    "tensorboard": Tool("TensorBoard", "event files", _UNKNOWN, _UNKNOWN_EVAL),
    "wandb": Tool("Weights & Biases", "an offline run", _UNKNOWN, _UNKNOWN_EVAL),
}
"""By the word that its runs' ids begin with."""

_LACKS: Final = {
    "times": "when each step was taken",
    "train/loss": "the training loss",
    "eval/task": "a held-out loss on the task",
    "eval/general": "a loss on what the model knew before: whether it forgets",
    "memory": "memory by component, predicted and measured",
    "drift": "how far the weights moved",
    "samples": "answers before and after training",
    "speed": "trained tokens a second",
    "schedule": "the planned learning rates",
}


def meanings(tool: str, has: Iterable[str]) -> dict[str, str]:
    """How the losses that a run of `tool` has were taken, by name."""
    told, there = TOOLS[tool], set(has)
    found = {"train/loss": told.loss} if "train/loss" in there else {}
    return found | ({"eval": told.eval_loss} if any(n[:5] == "eval/" for n in there) else {})


def lacks(has: Iterable[str], *, timed: bool) -> list[str]:
    """What a run of ours has and this one has not. `has`: its metrics, and `eval/` its suites."""
    there = set(has) | ({"times"} if timed else set())
    there |= {"speed"} if "perf/tokens_per_second" in there else set()
    return [words for name, words in _LACKS.items() if name not in there]

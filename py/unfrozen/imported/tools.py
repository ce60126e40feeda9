"""Other tools: their names of our metrics, how they average losses, and what their logs lack.

A number keeps its meaning or its name: `num_tokens` of TRL counts all tokens, our `train/tokens`
the trained ones, so the one does not become the other. What has no counterpart is logged as
`other/` and its own name. Counters of an axis and timings of an evaluation are no curves of a run:
they are left out, and the run reports it.

Trainer's `loss` is the mean over the steps since its previous point (`logging_steps`), and its
evaluation averages over batches (transformers, `Trainer._maybe_log_save_evaluate` and
`Trainer.evaluation_loop`). Ours is the loss of one step, and a mean over tokens. The page keeps
them apart wherever a reader could overlay them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from unfrozen.events import METRIC_NAMES, OTHER
from unfrozen.imported.sanitize import NAME_MOST, text

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
    "expected is a trainer_state.json of Hugging Face Trainer or a table of metrics (CSV), as every"
    " other tool can write it; `unfrozen import` reads TensorBoard's event files as well"
)
"""What can be read, for whoever brought another file."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool: its name, the name of its log, and how it averages losses."""

    label: str
    log: str
    loss: str
    eval_loss: str


TOOLS: Final = {
    "trainer": Tool("Hugging Face Trainer", "trainer_state.json", _WINDOW, _BATCHES),
    "tensorboard": Tool("TensorBoard", "event files", _UNKNOWN, _UNKNOWN_EVAL),
    "csv": Tool("CSV", "a table of metrics", _UNKNOWN, _UNKNOWN_EVAL),
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


def describe_losses(tool: str, has: Iterable[str]) -> dict[str, str]:
    """Return how the losses of a run of `tool` were averaged, by name."""
    averages, there = TOOLS[tool], set(has)
    found = {"train/loss": averages.loss} if "train/loss" in there else {}
    return found | ({"eval": averages.eval_loss} if any(n[:5] == "eval/" for n in there) else {})


def list_missing(has: Iterable[str], *, timed: bool) -> list[str]:
    """Return what a run of ours has and one with these metrics and `eval/` suites lacks."""
    there = set(has) | ({"times"} if timed else set())
    there |= {"speed"} if "perf/tokens_per_second" in there else set()
    return [words for name, words in _LACKS.items() if name not in there]


_ALSO: Final = {
    "train/loss": (
        *("loss", "train_loss", "training_loss", "loss/train"),
        *("train_loss_step", "train/loss_step", "loss_step"),  # Lightning, with on_step and …
        *("train_loss_epoch", "train/loss_epoch", "loss_epoch"),  # … with on_epoch
    ),
    "train/grad_norm": ("grad_norm", "gradient_norm", "train/gradient_norm"),
    "opt/lr": ("train/learning_rate", "learning_rate", "lr", "train/lr"),
}
_TASK: Final = (
    *("eval/loss", "eval_loss", "eval/task", "eval/task_loss", "val/loss", "val_loss", "loss/val"),
    *("valid/loss", "valid_loss", "validation/loss", "validation_loss", "loss/eval"),
)
_SUITE: Final = re.compile(r"eval[_/](?P<suite>.+)_loss|eval/(?P<ours>general(?:/.+)?)")
_NO_CURVE: Final = re.compile(
    r"(?:train[_/]|eval[_/]|trainer/)?(?:epoch|global_step|step|total_flos)|_(?:step|runtime|timestamp)"
    r"|(?:train|eval|test)[_/](?:.*[_/])?(?:runtime|(?:samples|steps|tokens)_per_second)"
    r"|train/train_\w+"
)
"""Counters, timings, and what Trainer says once at its end, `train/train_loss` first of all."""

Kind = Literal["metric", "eval", "left"]


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a number of another tool stands in our log: a metric, a suite of `eval`, or nowhere."""

    kind: Kind
    name: str


def _exact() -> dict[str, tuple[Placement, int]]:
    """Return name → (our series, rank of the spelling; 0 is our own)."""
    metrics = (name for name in METRIC_NAMES if not _SUITE.fullmatch(name))
    places = {name: (Placement("metric", name), 0) for name in metrics}
    for name, others in _ALSO.items():
        places |= {other: (Placement("metric", name), n) for n, other in enumerate(others, 1)}
    places |= {name: (Placement("eval", "task"), n) for n, name in enumerate(_TASK)}
    return places


_EXACT: Final = _exact()
_LAST: Final = 100  # of a spelling that is no exact one


def find_series(name: str) -> tuple[Placement, int]:
    """Return our series for a name, and the rank of its spelling; 0 is the best."""
    key = name.lower()
    if key in _EXACT:
        return _EXACT[key]
    if _NO_CURVE.fullmatch(key):
        return Placement("left", name), _LAST
    if found := _SUITE.fullmatch(name):
        return Placement("eval", text(found["suite"] or found["ours"], NAME_MOST)), _LAST - 1
    return Placement("metric", OTHER + text(name, NAME_MOST)), _LAST


def has_place(name: str) -> bool:
    """Return whether a name is a spelling of one of our series."""
    return name.lower() in _EXACT


def assign_series(names: Iterable[str]) -> dict[str, Placement]:
    """Return our series for every name of one run; of two for one series the better spelling has
    it.

    The other is kept under its own name.
    """
    taken: dict[Placement, str] = {}
    found: dict[str, Placement] = {}
    for name in sorted(names, key=lambda name: (find_series(name)[1], name)):
        place, _ = find_series(name)
        if place.kind != "left" and place in taken:
            place = Placement("metric", OTHER + text(name, NAME_MOST))
            if place in taken:
                place = Placement("left", name)
        taken[place] = name
        found[name] = place
    return found

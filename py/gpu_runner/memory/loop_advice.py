"""Settings of any training loop that fit: smaller micro-batches, checkpointing, shorter sequences.

Each is predicted as the loop's own step is: traced without memory. Smaller micro-batches with more
of them a step cost no more FLOPs; checkpointing computes each layer's forward pass once more, a
third of a step's FLOPs (Chen et al. 2016, arXiv:1604.06174, section 3: one more forward pass; the
backward pass is two); shorter sequences train on less. They are suggested in this order.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from gpu_runner.memory.loop import LoopStep, predict_loop_step
from gpu_runner.memory.prediction import MOST_SUGGESTIONS, SHORTEST, Prediction, Suggestion

MOST_SECONDS: Final = 20.0
"""After this time no other setting is tried: an error waits for the suggestions."""
CHECKPOINTING_RATIO: Final = 4 / 3


@dataclass(frozen=True, slots=True)
class LoopOptions:
    """How the options of a loop are typed, with fields for `sequences`, `parts` and `length`."""

    micro_batch: str = "{sequences} sequences per micro-batch, {parts} micro-batches per step"
    checkpointing: str = "model.activation_checkpointing_enable()"
    length: str = "sequences cut to {length} tokens"


@dataclass(frozen=True, slots=True)
class _LoopSettings:
    sequences: int
    length: int
    checkpointing: bool

    def cost(self, now: _LoopSettings) -> tuple[bool, bool, int]:
        """Return the order of suggestions: cut sequences, time, how far the micro-batch shrinks."""
        return self.length < now.length, self.checkpointing, now.sequences - self.sequences


def suggest_for_loop(
    step: LoopStep, now: Prediction, budget_bytes: int, options: LoopOptions
) -> tuple[Suggestion, ...]:
    """Return at most MOST_SUGGESTIONS settings with a peak within `budget_bytes`, cheapest first.

    `now` is the prediction of the step as it is. Where nothing fits, the result is the settings
    that need least, with `fits` False; it is empty where no setting can be traced.
    """
    fitting: list[tuple[_LoopSettings, int]] = []
    others: list[tuple[_LoopSettings, int]] = []
    deadline = time.monotonic() + MOST_SECONDS
    for choice, peak in _predict_choices(step, now, budget_bytes):
        (fitting if peak <= budget_bytes else others).append((choice, peak))
        if len(fitting) == MOST_SUGGESTIONS or time.monotonic() > deadline:
            break
    current = _current(step)
    fitting.sort(key=lambda one: one[0].cost(current))
    others.sort(key=lambda one: one[1])
    chosen = [(*one, True) for one in fitting] or [(*one, False) for one in others]
    return tuple(_suggest(step, options, *one) for one in chosen[:MOST_SUGGESTIONS])


def _current(step: LoopStep) -> _LoopSettings:
    return _LoopSettings(*step.inputs.shape, step.checkpoints)


def _predict_choices(
    step: LoopStep, now: Prediction, budget_bytes: int
) -> Iterator[tuple[_LoopSettings, int]]:
    """Yield choices and their peaks, each with as many sequences per micro-batch as fit.

    A choice that gives up more is tried only with more sequences than the cheaper ones allowed.
    """
    current, most = _current(step), 0
    for base in _bases(step, current):
        found = now if base == current else _predict(step, base)
        if found is None:
            continue
        if base != current:
            yield base, found.peak_bytes
            if found.peak_bytes <= budget_bytes:
                continue
        total = base.sequences * step.behavior.micro_batches
        fewer = [n for n in range(base.sequences - 1, most, -1) if total % n == 0]
        likely = [n for n in fewer if found.scaled(n / base.sequences).peak_bytes <= budget_bytes]
        for sequences in (likely or fewer[-1:])[:2]:
            choice = replace(base, sequences=sequences)
            if (traced := _predict(step, choice)) is not None:
                yield choice, traced.peak_bytes
                if traced.peak_bytes <= budget_bytes:
                    most = max(most, sequences) if base.length == current.length else most
                    break


def _bases(step: LoopStep, current: _LoopSettings) -> Iterator[_LoopSettings]:
    """Yield the step as it is, then with checkpointing, then with shorter sequences."""
    supported = getattr(step.model, "supports_gradient_checkpointing", False)
    checkpointing = [True] if supported and not current.checkpointing else []
    yield current
    yield from (replace(current, checkpointing=on) for on in checkpointing)
    for length in (current.length // 2, current.length // 4):
        if length >= SHORTEST:
            yield replace(current, length=length)
            yield from (replace(current, length=length, checkpointing=on) for on in checkpointing)


def _predict(step: LoopStep, choice: _LoopSettings) -> Prediction | None:
    """Return the prediction for this choice; None where it cannot be traced."""
    current, behavior = _current(step), step.behavior
    parts = current.sequences * behavior.micro_batches // choice.sequences
    behavior = replace(
        behavior,
        micro_batches=max(behavior.micro_batches, parts),
        checkpointing=choice.checkpointing and not current.checkpointing,
    )
    inputs = step.inputs.resized(choice.sequences, choice.length)
    try:
        return predict_loop_step(replace(step, inputs=inputs, behavior=behavior))
    except Exception:  # a model's own code may raise anything under fake tensors
        return None


def _suggest(
    step: LoopStep, options: LoopOptions, choice: _LoopSettings, peak_bytes: int, fits: bool
) -> Suggestion:
    current, typed = _current(step), []
    if choice.sequences != current.sequences:
        parts = current.sequences * step.behavior.micro_batches // choice.sequences
        typed.append(options.micro_batch.format(sequences=choice.sequences, parts=parts))
    checkpoints = choice.checkpointing and not current.checkpointing
    if checkpoints:
        typed.append(options.checkpointing)
    cut = choice.length != current.length
    if cut:
        typed.append(options.length.format(length=choice.length))
    ratio = CHECKPOINTING_RATIO if checkpoints else 1.0
    return Suggestion(
        "; ".join(typed), peak_bytes, ratio, fits, "longer sequences are cut" if cut else ""
    )

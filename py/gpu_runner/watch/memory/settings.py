"""What would fit: fewer rows at once, layers that are computed twice, shorter rows.

Each is weighed as the loop itself is: by a step of it on tensors that hold nothing. Fewer rows with
as many of them a step cost no more FLOPs; checkpointing computes each layer's forward pass once
more, a third of what a step computes (Chen et al. 2016, arXiv:1604.06174, section 3: one more
forward pass; its backward pass is two); cut rows train less. They are told in this order.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from gpu_runner.oom.scene import Proposal
from gpu_runner.watch.memory.foretelling import Autocast, Given, Habits, foretell
from gpu_runner.watch.memory.metering import States

MOST: Final = 3
MOST_SECONDS: Final = 20.0
"""After so long no other setting is tried: an error waits for them."""
AGAIN: Final = 4 / 3
SHORTEST: Final = 16  # tokens of a row that is still worth training
_FIXED: Final = ("params", "grads", "moments")  # whatever the batch is

Instants = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class Words:
    """How a loop is told to do otherwise, with places for `rows`, `parts` and `length`."""

    rows: str = "{rows} rows at once, gradients of {parts} micro-batches added up before a step"
    checkpointing: str = "model.activation_checkpointing_enable()"
    length: str = "rows cut to {length} tokens"


@dataclass(frozen=True, slots=True)
class LoopStep:
    """A loop's step, as far as its memory follows from it."""

    model: Any
    states: States
    given: Given
    habits: Habits
    autocast: Autocast
    parts: int = 1
    """Micro-batches of a step, as they are now."""

    def of(self, given: Given) -> LoopStep:
        """The same for another batch."""
        return replace(self, given=given)


@dataclass(frozen=True, slots=True)
class _Turned:
    rows: int
    length: int
    checkpointing: bool

    def cost(self, now: _Turned) -> tuple[bool, bool, int]:
        """The order of telling: rows that are cut, time, how much else is turned."""
        return self.length < now.length, self.checkpointing, now.rows - self.rows


def scaled(instants: Instants, share: float) -> dict[str, dict[str, int]]:
    """A prediction for a batch of so much of the tokens: weights and their states stay."""
    return {
        at: {n: size if n in _FIXED else round(share * size) for n, size in parts.items()}
        for at, parts in instants.items()
    }


def settings_for(
    step: LoopStep, now: Instants, budget_bytes: int, words: Words
) -> tuple[Proposal, ...]:
    """At most MOST settings whose peak is within `budget_bytes`, the cheapest first.

    now   the prediction of the step as it is

    Where nothing fits, those that need least, with `fits` False. None where none can be weighed.
    """
    fitting: list[tuple[_Turned, int]] = []
    others: list[tuple[_Turned, int]] = []
    until = time.monotonic() + MOST_SECONDS
    for choice, peak in _weighed(step, now, budget_bytes):
        (fitting if peak <= budget_bytes else others).append((choice, peak))
        if len(fitting) == MOST or time.monotonic() > until:
            break
    as_is = _as_is(step)
    fitting.sort(key=lambda one: one[0].cost(as_is))
    others.sort(key=lambda one: one[1])
    chosen = [(*one, True) for one in fitting] or [(*one, False) for one in others]
    return tuple(_proposal(step, words, *one) for one in chosen[:MOST])


def _as_is(step: LoopStep) -> _Turned:
    rows, length = step.given.shape
    again = step.habits.checkpointing or any(
        getattr(module, "gradient_checkpointing", False) for module in step.model.modules()
    )
    return _Turned(rows, length, again)


def _weighed(step: LoopStep, now: Instants, budget_bytes: int) -> Iterator[tuple[_Turned, int]]:
    """Choices and their peaks: what the step may be turned to, each with as many rows as fit.

    A dial that is turned further must let more rows in than those before it did.
    """
    as_is, most = _as_is(step), 0
    for base in _dials(step, as_is):
        instants = now if base == as_is else _foretold(step, base)
        if instants is None:
            continue
        if base != as_is:
            yield base, _peak(instants)
        if base != as_is and _peak(instants) <= budget_bytes:
            continue
        fewer = [n for n in range(base.rows - 1, most, -1) if base.rows * step.parts % n == 0]
        likely = [n for n in fewer if _peak(scaled(instants, n / base.rows)) <= budget_bytes]
        for rows in (likely or fewer[-1:])[:2]:
            found = _foretold(step, replace(base, rows=rows))
            if found is not None:
                yield replace(base, rows=rows), _peak(found)
                if _peak(found) <= budget_bytes:
                    most = max(most, rows) if base.length == as_is.length else most
                    break


def _dials(step: LoopStep, as_is: _Turned) -> Iterator[_Turned]:
    """The step as it is, and with layers computed twice, and with shorter rows."""
    able = getattr(step.model, "supports_gradient_checkpointing", False)
    twice = [True] if able and not as_is.checkpointing else []
    yield as_is
    yield from (replace(as_is, checkpointing=again) for again in twice)
    for length in (as_is.length // 2, as_is.length // 4):
        if length >= SHORTEST:
            yield replace(as_is, length=length)
            yield from (replace(as_is, length=length, checkpointing=again) for again in twice)


def _foretold(step: LoopStep, choice: _Turned) -> Instants | None:
    """A step with this choice; None where it cannot be followed."""
    parts = max(step.habits.micro_batches, step.given.shape[0] * step.parts // choice.rows)
    again = choice.checkpointing and not _as_is(step).checkpointing
    habits = replace(step.habits, micro_batches=parts, checkpointing=again)
    given = step.given.cut(choice.rows, choice.length)
    try:
        found = foretell(step.model, step.states, given, habits, step.autocast)
    except Exception:  # what a model's own code does with tensors that hold nothing
        return None
    return None if found is None else found.instants


def _proposal(
    step: LoopStep, words: Words, choice: _Turned, peak_bytes: int, fits: bool
) -> Proposal:
    as_is, options = _as_is(step), []
    if choice.rows != as_is.rows:
        parts = as_is.rows * step.parts // choice.rows
        options.append(words.rows.format(rows=choice.rows, parts=parts))
    if choice.checkpointing != as_is.checkpointing:
        options.append(words.checkpointing)
    cut = choice.length != as_is.length
    if cut:
        options.append(words.length.format(length=choice.length))
    ratio = AGAIN if choice.checkpointing and not as_is.checkpointing else 1.0
    note = "longer rows are cut" if cut else ""
    return Proposal("; ".join(options), peak_bytes, ratio, fits, note)


def _peak(instants: Instants) -> int:
    return max((sum(parts.values()) for parts in instants.values()), default=0)

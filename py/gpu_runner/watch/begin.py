"""Where watching begins: `unfrozen.watch`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gpu_runner.watch.looking import Rows
from gpu_runner.watch.memory.foretelling import Habits
from gpu_runner.watch.memory.holding import Known
from gpu_runner.watch.memory.metering import States
from gpu_runner.watch.taps import doubles_gradients, unwrapped
from gpu_runner.watch.told.described import Wishes
from gpu_runner.watch.watching import WatchedRun


def watch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer | Sequence[torch.optim.Optimizer] | None = None,
    *,
    task: Rows | None = None,
    general: Mapping[str, Rows] | None = None,
    tokenizer: Any = None,
    runs: str | Path = "runs",
    name: str | None = None,
    steps: int | None = None,
    eval_every: int | None = None,
    prompts: Sequence[str] = (),
    new_tokens: int = 48,
    measure: bool = True,
    config: Mapping[str, Any] | None = None,
    trainer: str = "a loop of its own",
    lengths: Sequence[int] = (),
    price: float | None = None,
    currency: str = "USD",
) -> WatchedRun:
    """Follow the training of `model` from now on, into `runs/<name>/events.jsonl`.

    task, general  held-out rows as `unfrozen train` reads them (dicts, or a file's path): what is
                   being learned, and by name what may be forgotten; with `tokenizer`
    optimizer      found by its first step where it is not given; then memory is foretold after it
    steps          how many there will be, where that is known
    eval_every     steps between evaluations: a tenth of `steps`, or 100
    prompts        continued by `new_tokens` tokens at every evaluation
    measure        whether the memory of some steps is measured by component
    config         choices of the loop that the page is to show
    trainer        what the page calls whoever trains
    lengths        tokens of the rows that it trains on: whether the longest of them will fit is
                   told before they come
    price          of an hour of one card, on a CPU of the machine, in `currency`

    The training computes what it would without this, bit by bit. Whatever goes wrong here is told
    once, and training goes on; only arguments of a wrong kind raise `TypeError`.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model is a {type(model).__name__}: give the torch.nn.Module that trains.")
    given = [optimizer] if isinstance(optimizer, torch.optim.Optimizer) else list(optimizer or ())
    for one in given:
        if not isinstance(one, torch.optim.Optimizer):
            raise TypeError(f"optimizer is a {type(one).__name__}: give one of torch.optim's kind.")
    wishes = Wishes(
        task=task,
        general=general,
        tokenizer=tokenizer,
        runs=runs,
        name=name,
        steps=steps,
        eval_every=eval_every,
        prompts=prompts,
        new_tokens=new_tokens,
        config=config or {},
        trainer=trainer,
        processes=processes(),
        memory=Known(
            measure=measure,
            habits=Habits(buckets=doubles_gradients(model)),
            lengths=tuple(lengths),
        ),
        price=price,
        currency=currency,
        can=("pause", "evaluate") if processes() == 1 else (),  # the others would not stand still
    )
    return WatchedRun(model, States(*map(unwrapped, given)), wishes)


def processes() -> int:
    """How many train together."""
    there = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if there else 1

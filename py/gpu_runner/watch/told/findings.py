"""What is said of a watched run at its first steps: each is one sentence with its remedy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import torch
from torch import Tensor

from gpu_runner.data.feed import IGNORED
from gpu_runner.watch.memory.in_parts import Owned
from gpu_runner.watch.memory.metering import NARROW, States
from gpu_runner.watch.steps import WatchedStep
from gpu_runner.watch.taps import Inputs
from unfrozen.units import format_count

MUCH_PADDING: Final = 0.2


def at_first(model: Any, states: States, inputs: Inputs, tokenizer: Any) -> Iterator[str]:
    """What is said before the first step."""
    yield from of_model(model, states)
    yield from of_rows(inputs, tokenizer)


def after_first(step: WatchedStep, model: Any, states: States) -> Iterator[str]:
    """What is said after it."""
    yield from of_step(step)
    yield from of_precision(model, states)


def of_model(model: Any, states: States) -> Iterator[str]:
    """What does not train, and why."""
    parameters = dict(Owned(model).named_parameters())
    frozen = {name: p for name, p in parameters.items() if not p.requires_grad}
    if not model.training:
        yield (
            "The model is in evaluation mode: dropout is off, and norms that count use what they"
            " counted. Call model.train() if that is not meant."
        )
    if frozen:
        count = sum(p.numel() for p in frozen.values())
        whole = sum(p.numel() for p in parameters.values())
        yield (
            f"{format_count(count)} of {format_count(whole)} weights are frozen"
            f" ({next(iter(frozen))} is the first): this is no full fine-tuning."
        )
    if states.optimizers:
        held = {id(p) for group in states.param_groups for p in group["params"]}
        left = [n for n, p in parameters.items() if p.requires_grad and id(p) not in held]
        if left:
            yield (
                f"{len(left)} tensors get gradients and belong to no optimizer ({left[0]} is the"
                " first): they never move. Give them to it, or freeze them."
            )


def of_precision(model: Any, states: States) -> Iterator[str]:
    """Weights of 16 bits without an exact copy."""
    trained = [p for p in Owned(model).parameters() if p.requires_grad]
    narrow = [p for p in trained if p.dtype in NARROW]
    exact = {id(p) for group in states.param_groups for p in group["params"]} - set(
        map(id, trained)
    )
    if not narrow or exact:
        return
    kept = [v for p in narrow for v in states.state.get(p, {}).values() if _is_like(v, p)]
    if any(value.dtype == torch.float32 for value in kept):
        return
    width = narrow[0].element_size()
    each = 2 * width + sum(v.nbytes for v in kept) // max(1, sum(p.numel() for p in narrow))
    name = str(narrow[0].dtype).removeprefix("torch.")
    yield (
        f"Weights are {name} without a master copy: {each} bytes a parameter instead of 16, and"
        " updates smaller than about 1/256 of a weight are rounded away. Load the model with"
        " dtype=torch.float32 and compute in bf16 (bf16=True, or autocast)."
    )


def _is_like(value: Any, parameter: Tensor) -> bool:
    return isinstance(value, Tensor) and value.shape == parameter.shape


def of_rows(inputs: Inputs, tokenizer: Any) -> Iterator[str]:
    """An end of turn that is there and never trained. Looks at values, so only once."""
    labels, ids = inputs.get("labels"), inputs.get("input_ids")
    end = getattr(tokenizer, "eos_token_id", None)
    if not isinstance(labels, Tensor) or not isinstance(ids, Tensor) or end is None:
        return
    ends = torch.tensor(end if isinstance(end, list) else [end], device=ids.device)
    there = torch.isin(ids, ends)
    if bool(there.any()) and not bool(torch.isin(labels[labels != IGNORED], ends).any()):
        text = tokenizer.decode([int(ends[0])])
        yield (
            f"The end token {text!r} is in the rows and never among the labels: the model does not"
            " learn to stop. A collator that masks padding masks it too where both are one token:"
            " give the tokenizer a pad token of its own."
        )


def of_step(step: WatchedStep) -> Iterator[str]:
    """What the first step was made of."""
    padding, tokens = step.padding
    if tokens and padding / tokens > MUCH_PADDING:
        yield (
            f"{padding / tokens:.0%} of the tokens of the first step are padding, which is computed"
            " and thrown away: pack rows, or sort them by length."
        )
    if step.parts and not step.trained:
        yield "No token of the first step is trained: every label is −100. Look at the data."

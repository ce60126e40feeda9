"""Warnings about a watched run's first step: what is wrong, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import torch
from torch import Tensor

from gpu_runner.data.feed import IGNORED
from gpu_runner.memory.fsdp import ShardView
from gpu_runner.memory.loop import Optimizers
from gpu_runner.watch.hooks import Inputs
from gpu_runner.watch.measurement import IN_16_BITS
from gpu_runner.watch.steps import WatchedStep
from unfrozen.units import format_count

MUCH_PADDING: Final = 0.2


def check_before_first(
    model: Any, optimizers: Optimizers, inputs: Inputs, tokenizer: Any
) -> Iterator[str]:
    """Yield the warnings before the first step."""
    yield from _check_model(model, optimizers)
    yield from _check_labels(inputs, tokenizer)


def check_after_first(step: WatchedStep, model: Any, optimizers: Optimizers) -> Iterator[str]:
    """Yield the warnings after the first step."""
    yield from _check_step(step)
    yield from _check_precision(model, optimizers)


def _check_model(model: Any, optimizers: Optimizers) -> Iterator[str]:
    """Yield what does not train, and why."""
    parameters = dict(ShardView(model).named_parameters())
    frozen = {name: p for name, p in parameters.items() if not p.requires_grad}
    if not model.training:
        yield (
            "The model is in evaluation mode: dropout is off, and batch norms use their running"
            " statistics. Call model.train() if that is not intended."
        )
    if frozen:
        count = sum(p.numel() for p in frozen.values())
        total = sum(p.numel() for p in parameters.values())
        yield (
            f"{format_count(count)} of {format_count(total)} weights are frozen"
            f" ({next(iter(frozen))} is the first): this is not full fine-tuning."
        )
    if optimizers.alive:
        known = {id(p) for group in optimizers.param_groups for p in group["params"]}
        missing = [n for n, p in parameters.items() if p.requires_grad and id(p) not in known]
        if missing:
            yield (
                f"{len(missing)} tensors require gradients but belong to no optimizer"
                f" ({missing[0]} is the first): they are never updated. Pass them to one, or freeze"
                " them."
            )


def _check_precision(model: Any, optimizers: Optimizers) -> Iterator[str]:
    """Yield a warning for 16-bit weights without a master copy."""
    trained = [p for p in ShardView(model).parameters() if p.requires_grad]
    narrow = [p for p in trained if p.dtype in IN_16_BITS]
    grouped = {id(p) for group in optimizers.param_groups for p in group["params"]}
    if not narrow or grouped - set(map(id, trained)):  # others are master weights
        return
    state = [v for p in narrow for v in optimizers.state.get(p, {}).values() if _is_like(v, p)]
    if any(value.dtype == torch.float32 for value in state):
        return
    width = narrow[0].element_size()
    each = 2 * width + sum(v.nbytes for v in state) // max(1, sum(p.numel() for p in narrow))
    name = str(narrow[0].dtype).removeprefix("torch.")
    yield (
        f"Weights are {name} without a master copy: {each} bytes per parameter instead of 16, and"
        " updates smaller than about 1/256 of a weight are rounded away. Load the model with"
        " dtype=torch.float32 and compute in bf16 (bf16=True, or autocast)."
    )


def _is_like(value: Any, parameter: Tensor) -> bool:
    return isinstance(value, Tensor) and value.shape == parameter.shape


def _check_labels(inputs: Inputs, tokenizer: Any) -> Iterator[str]:
    """Yield a warning for an end token that is never trained. It reads values, so only once."""
    labels, ids = inputs.get("labels"), inputs.get("input_ids")
    end = getattr(tokenizer, "eos_token_id", None)
    if not isinstance(labels, Tensor) or not isinstance(ids, Tensor) or end is None:
        return
    ends = torch.tensor(end if isinstance(end, list) else [end], device=ids.device)
    present = bool(torch.isin(ids, ends).any())
    if present and not bool(torch.isin(labels[labels != IGNORED], ends).any()):
        text = tokenizer.decode([int(ends[0])])
        yield (
            f"The end token {text!r} is in the inputs but never in the labels: the model does not"
            " learn to stop. A collator that masks padding masks it too where both are one token:"
            " give the tokenizer a separate pad token."
        )


def _check_step(step: WatchedStep) -> Iterator[str]:
    """Yield warnings about the tokens of the first step."""
    padding, tokens = step.padding
    if tokens and padding / tokens > MUCH_PADDING:
        yield (
            f"{padding / tokens:.0%} of the tokens of the first step are padding, which is computed"
            " and discarded: pack examples, or group them by length."
        )
    if step.parts and not step.trained:
        yield "No token of the first step is trained: every label is −100. Check the data."

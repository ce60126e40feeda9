"""How the logits of a model follow from its head, asked of its own forward pass.

Multipliers, soft caps and heads of another kind are code of a model's own, under names of its own.
So that code runs once over a few tokens, and is given numbers from 2⁻¹⁴ to 2¹⁴ in place of the
head's output: small logits would hide a cap. What it makes of them says how to compute the loss:

    factor · output     by the linear loss, from the head's input times the factor
    by position         from the model's own logits, where a prediction is trained
    anything else       from the model's own logits at all positions
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Final
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.utils._python_dispatch import _disable_current_modes

from gpu_runner.errors import ModelLoadError, is_lost_process, is_out_of_memory
from gpu_runner.model.attention import bounds_arguments, isolates, skip_packing_detection
from gpu_runner.model.blocks import as_written, positions_of

PROBED: Final = 8
"""Tokens that are enough."""
_EXPONENTS: Final = 14
_EXACT: Final = 1e-5
"""The largest relative error of a factor: that of a product or quotient in fp32, and some."""
_ROUNDINGS: Final = 16
"""The largest error of what the same kernels compute, in epsilons of the largest number."""
_ALIKE: Final = 1e-4
_ALIKE_IN_16_BITS: Final = 1 / 16
_OPTIONS: Final[dict[str, Any]] = {
    "use_cache": False,
    "logits_to_keep": slice(None),  # for 0, the default, Gemma 4 cuts inputs of its last layers
}


@dataclass(frozen=True, slots=True)
class HeadPath:
    """How logits follow from the output of the head.

    factor        logits = factor · output; None where they are anything else
    by_position   the logits of a position follow from the head's input there alone
    packs         documents in one sequence are computed as each alone
    options       keywords that the forward pass takes
    """

    factor: float | None
    by_position: bool
    packs: bool
    options: dict[str, Any]


_PATHS: Final[WeakKeyDictionary[nn.Module, HeadPath]] = WeakKeyDictionary()


def head_path(model: Any, ids: Tensor) -> HeadPath:
    """Return how the logits of a model follow from its head, found once by the first of `ids`.

    `ids` are (B, T). Raises `ModelLoadError` for a model that cannot learn to predict: its forward
    pass fails on tokens alone, has no logits for each, or sees the token that it predicts.
    """
    if model not in _PATHS:
        ids = ids[:1, : min(PROBED, positions_of(model.config) or PROBED)]
        devices = [ids.device] if ids.is_cuda else []
        modes = [(module, module.training) for module in model.modules()]
        try:
            unseen = nullcontext() if _is_fake(ids) else _disable_current_modes()  # by a meter
            with unseen, torch.random.fork_rng(devices), as_written(model):
                _PATHS[model] = _find_path(model, ids)
        except Exception as error:  # a model's own code may raise anything
            known = isinstance(error, ModelLoadError) or is_lost_process(error)
            if known or is_out_of_memory(error):
                raise
            raise _refused(model, f"its forward pass fails on tokens alone ({error})") from error
        finally:
            for module, mode in modes:
                module.training = mode
    return _PATHS[model]


def is_linear(head: Any) -> bool:
    """Return whether the output of a head is its matmul alone."""
    forward = getattr(head, "forward", None)
    return getattr(forward, "__func__", None) is nn.Linear.forward and head.bias is None


@contextmanager
def replaced_head(head: Any, forward: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Replace the forward of a head during the model's own forward pass.

    So all hooks of model and head run, and sharded weights are gathered.
    """
    own = {name: one for name, one in vars(head).items() if name == "forward"}
    head.forward = forward
    try:
        yield
    finally:
        del head.forward
        vars(head).update(own)


def _refused(model: Any, reason: str) -> ModelLoadError:
    return ModelLoadError(
        f"{type(model).__name__} cannot be trained to predict the next token: {reason}. Give"
        " another model."
    )


@dataclass(frozen=True, slots=True)
class _Pass:
    """A forward pass over a few tokens.

    read       the inputs of the head, if it was called once and computes positions one by one
    given      numbers in place of its output then
    logits     what the model made of them
    unchanged  whether it returned them as they were
    """

    read: Tensor | None
    given: Tensor | None
    logits: Tensor
    unchanged: bool

    @property
    def response(self) -> Tensor:
        """What follows from the tokens."""
        return self.logits if self.read is None else self.read


def _run(model: Any, ids: Tensor, options: dict[str, Any], chosen: slice = slice(None)) -> _Pass:
    """Run a model over `ids` (1, T); the head computes the `chosen` positions."""
    head = model.get_output_embeddings()
    own: Any = getattr(head, "forward", None)
    calls: list[tuple[Tensor, Tensor, Tensor] | None] = []

    def at_head(hidden: Tensor) -> Tensor:
        output: Tensor = own(hidden)
        if hidden.shape[:-1] != ids.shape or not (
            _is_fake(hidden) or _near(own(hidden[:, 1::2]), output[:, 1::2])
        ):
            calls.append(None)
            return output
        torch.set_grad_enabled(True)  # until the pass ends: a weight after the head shows
        numbers = torch.rand_like(output, dtype=torch.float32)
        numbers.mul_(2 * _EXPONENTS).sub_(_EXPONENTS).exp2_()
        numbers = numbers.mul_(torch.randn_like(numbers).sign_())[:, chosen]
        output = numbers.clone()
        calls.append((hidden, numbers, output))
        return output

    torch.manual_seed(0)  # the same numbers each time
    replaced = nullcontext() if head is None else replaced_head(head, at_head)
    with torch.no_grad(), skip_packing_detection(), replaced:
        logits: Tensor = model(input_ids=ids, **options).logits
    if len(calls) != 1 or calls[0] is None:
        return _Pass(None, None, logits, unchanged=False)
    hidden, numbers, output = calls[0]
    return _Pass(hidden, numbers, logits, logits is output and output._version == 0)


def _find_path(model: Any, ids: Tensor) -> HeadPath:
    parameters = inspect.signature(model.forward).parameters.values()
    any_name = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters)
    names = {one.name for one in parameters}
    options = {name: one for name, one in _OPTIONS.items() if any_name or name in names}
    if not _is_fake(ids):
        _run(model.train(), ids, options)  # Reformer's fails in training alone
    first = _run(model.eval(), ids, options)  # dropout would differ with the length
    if _is_fake(ids):
        return HeadPath(1.0 if first.unchanged else None, first.given is not None, True, options)
    if first.given is None and first.logits.shape[:-1] != ids.shape:
        shape = tuple(first.logits.shape)
        raise _refused(model, f"it makes logits {shape} of tokens {tuple(ids.shape)}")
    other = ids.clone()
    other[0, -1] = ids[0, 0]
    short = _run(model, other, options).response[:, :-1], _run(model, ids[:, :-1], options).response
    if not (_near(short[0], first.response[:, :-1]) and _alike(short[1], first.response[:, :-1])):
        raise _refused(model, "what it predicts follows from later tokens")
    packs = isolates(model) and _packs(model, ids, options)
    factor = None if first.given is None else _factor(first.logits, first.given)
    if first.given is None or factor is not None:
        return HeadPath(factor, factor is not None, packs, options)
    some = _run(model, ids, options, slice(1, None, 2))
    return HeadPath(None, _near(some.logits, first.logits[:, 1::2]), packs, options)


def _packs(model: Any, ids: Tensor, options: dict[str, Any]) -> bool:
    """Return whether two documents in one sequence are computed as each is alone."""
    half, length = ids.shape[1] // 2, ids.shape[1]
    bounds = torch.tensor([0, half, length], dtype=torch.int32, device=ids.device)
    places = torch.arange(length, device=ids.device)
    more = bounds_arguments(bounds, length - half, bounds.cpu())
    more |= {"position_ids": (places - half * (places >= half))[None]}
    try:
        together = _run(model, ids, options | more).response[:, half:]
    except Exception as error:  # as of kernels that need keys as wide as values
        if is_lost_process(error) or is_out_of_memory(error):
            raise
        for module in model.modules():
            if isinstance(module, FSDPModule):
                module.reshard()  # the block that raised is gathered
        return False
    return _alike(together, _run(model, ids[:, half:], options).response)


def _factor(logits: Tensor, given: Tensor) -> float | None:
    """Return the factor of `given` numbers that the logits are; None where they are not."""
    if logits.shape != given.shape or logits.requires_grad:
        return None
    ratio = logits.double() / given.double()
    factor = ratio.mean()
    return float(factor) if bool(((ratio / factor - 1).abs() < _EXACT).all()) else None


def _near(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors differ by rounding alone."""
    if one.shape != other.shape or not _are_finite(one, other):
        return one.shape == other.shape
    bound = _ROUNDINGS * torch.finfo(one.dtype).eps * other.abs().max()
    return bool(((one - other).abs() <= bound).all())


def _alike(one: Tensor, other: Tensor) -> bool:
    """Return whether most positions are the same, computed by kernels for another length.

    In 16 bits rounding may send single tokens to other experts.
    """
    if not _are_finite(one, other):
        return True
    off = (one - other).abs().flatten(2).amax(dim=2).median()
    least = _ALIKE if one.dtype == torch.float32 else _ALIKE_IN_16_BITS
    return bool(off <= least * other.abs().max())


def _are_finite(*tensors: Tensor) -> bool:
    """Return whether numbers can tell: weights that are no numbers end a run at its first step."""
    return all(bool(tensor.isfinite().all()) for tensor in tensors)


def _is_fake(tensor: Tensor) -> bool:
    return type(tensor) is not Tensor

"""The optimizer step of a run: any optimizer, learning rates, clipping and skipping.

AdamW: Loshchilov & Hutter, arXiv 1711.05101. PyTorch's fused kernels and our `rules` take the
divisor of the gradients (`grad_scale`) and a flag that skips the step (`found_inf`), so that
neither clipping nor skipping needs a second pass over the weights or waits for the device.
Learning rates can differ by layer (Howard & Ruder, arXiv 1801.06146, section 3.2).

The step in backward frees a gradient as soon as its weight is updated: at most one gradient exists
at a time (Lv et al., arXiv 2306.09782; PyTorch's tutorial "How to save memory by fusing the
optimizer step into the backward pass"). In exchange, gradients cannot be accumulated over
micro-batches nor clipped by their global norm. Several processes take one micro-batch each; a hook
runs after the reduction of its gradient, and whether that is finite costs one more all-reduce, of a
single number.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final, Protocol

import torch
from torch import Tensor

from gpu_runner.config.bounds import Optimizer as Name
from gpu_runner.config.bounds import Pairs
from gpu_runner.config.schema import TrainConfig
from gpu_runner.errors import UsageError, everyones
from gpu_runner.optim.eight_bit import AdamW8bit, dequantize_moments, holds_whole_blocks
from gpu_runner.optim.muon import Muon
from gpu_runner.optim.offloaded_adamw import GradientsToCpu, OffloadedAdamW
from gpu_runner.optim.rounding import Rounding, StallGauge
from gpu_runner.optim.rules import SGD, Adafactor, RoundedAdamW
from gpu_runner.world import World, language_weights, local, trained_weights
from unfrozen.parameter_groups import (
    PARTS,
    layer_of,
    match_names,
    match_patterns,
    nearest_patterns,
    pattern_values,
)


def betas(config: TrainConfig, tokens_a_step: float) -> tuple[float, float]:
    """Return β₁ and β₂ of a run whose steps train on `tokens_a_step` tokens on average."""
    if config.beta2_tokens is None:
        return config.beta1, config.beta2
    return config.beta1, 0.5 ** (tokens_a_step / config.beta2_tokens)


def factors(key: str, pairs: Pairs | None, names: Sequence[str]) -> dict[str, float]:
    """Return the factor of the rate (or decay) of each weight in `names`; 1 where none is given.

    `key` is the name of the choice, "rates" or "decays"; of the latter, `names` are the weights
    that decay. Raises `UsageError` for a pattern without a weight, with the nearest names.
    """
    values = dict(pairs or ())
    taken = set(match_patterns(list(values), names).values())
    for pattern in values:
        if pattern in taken:
            continue
        raise everyones(UsageError(f"{key}: {pattern!r} {_why(key, pattern, names)}"))
    return pattern_values(values, names)


def _why(key: str, pattern: str, names: Sequence[str]) -> str:
    """Return why a pattern matches no weight, and what to type instead."""
    if match_names(pattern, names):
        return "would change nothing, as later patterns are of all its weights: drop it."
    if pattern == "head" and match_names("embedding", names):
        return "is no part of its own here, as the head is tied to the embedding: give embedding."
    if key == "decays" and pattern == "norms":
        return "would change nothing: only matrices decay. Drop it."
    near = ", ".join(nearest_patterns(pattern, names))
    hint = f"did you mean {near}?" if near else f"the parts are {', '.join(PARTS)}."
    return f"is no part and of no weight of this model; {hint}"


def describe_factors(key: str, pairs: Pairs | None, names: Sequence[str]) -> list[str]:
    """Return the factors in words, in the order of their precedence: `rate × 0.1 for embedding`."""
    what = {"rates": "rate", "decays": "decay"}[key]
    by_pattern = list(match_patterns([pattern for pattern, _ in pairs or ()], names).values())
    return [
        f"{what} × {factor:g} for {pattern} ({by_pattern.count(pattern)} of {len(names)} weights)"
        for pattern, factor in pairs or ()
    ]


EMA: Final = "ema"
"""The key of a weight's moving average in its state."""
STALL_EVERY: Final = 10  # steps between two measurements of unchanged bf16 weights


@dataclass(frozen=True, slots=True)
class OptimizerChoice:
    """An optimizer and its settings; by default fused AdamW."""

    name: Name = "adamw"
    momentum: float = 0.0
    """The momentum of SGD; 0 has no state at all."""
    rounding: Rounding = "nearest"
    """The rounding of updates of 16-bit weights."""
    seed: int = 0
    """The seed of stochastic rounding."""
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    """Both of AdamW, also for the parameters that Muon leaves to it."""
    rates: Pairs = ()
    """Patterns of weights and the factors of their learning rate."""
    decays: Pairs = ()
    """Patterns of weights and the factors of their weight decay."""
    ema: float | None = None
    """Decay of a moving average of the weights."""
    offload: bool = False
    """Whether AdamW and its fp32 weights live in CPU memory."""

    @classmethod
    def of(cls, config: TrainConfig, betas: tuple[float, float] = (0.9, 0.999)) -> OptimizerChoice:
        """Return the choice of a run; `betas` follow from its data."""
        return cls(
            config.optimizer,
            config.momentum,
            config.rounding,
            config.seed,
            betas,
            config.epsilon,
            config.rates or (),
            config.decays or (),
            config.ema,
            config.optimizer_offload,
        )

    @property
    def adam(self) -> dict[str, Any]:
        """Keyword arguments of AdamW."""
        return {"betas": self.betas, "eps": self.epsilon}

    @property
    def rounded(self) -> dict[str, Any]:
        """Keyword arguments of a rule that rounds its updates."""
        return {"rounding": self.rounding, "seed": self.seed}


class StepOptimizer(Protocol):
    """Updates the weights, after the backward pass or in it (`optimizer_in_backward`)."""

    @property
    def state(self) -> Any:
        """The states by parameter."""

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Every parameter, with its learning rate and decay."""

    def reached(self) -> set[Tensor]:
        """Return the weights that have got a gradient since the last step."""

    def norm(self, parameters: Iterable[Tensor]) -> Tensor:
        """Return the L2 norm of this process's gradients, on their device."""

    def step(self, lr: float, norm: Tensor, clip: float) -> Tensor:
        """Update at rate `lr`; a scalar on the device: 1 where `norm` was not finite, else 0."""


class Optimizer:
    """One or two optimizers over every parameter (Muon leaves embeddings and vectors to AdamW).

    With `ema`, a moving average of each weight is part of its state, in fp32: it begins with the
    weight as it was before its first update, and moves by 1 − ema of the way after every step.
    """

    def __init__(
        self, parts: list[Any], rounding: Rounding = "nearest", ema: float | None = None
    ) -> None:
        self.parts: list[Any] = parts
        self._ema = ema
        self.offloaded = parts[0] if isinstance(parts[0], OffloadedAdamW) else None
        self.state: dict[Tensor, dict[str, Any]] = defaultdict(dict)
        for part in parts:
            part.state = self.state
        self._parameters = [p for group in self.param_groups for p in group["params"]]
        lossy = rounding == "nearest" and self.offloaded is None
        self._gauge = StallGauge(self._parameters if lossy else ())
        self._steps = 0

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of all optimizers."""
        return [group for part in self.parts for group in part.param_groups]

    def step(self, lr: float, norm: Tensor, clip: float) -> Tensor:
        """Update at learning rate `lr`, gradients divided by max(1, norm/clip) unless clip is 0.

        Returns a scalar on the device: 1 where `norm` was not finite and nothing changed (neither
        weights nor moments nor the step count), else 0. Frees the gradients.
        """
        skipped = self._update(self.parts, self._parameters, lr, norm, clip)
        self.end_step(skipped)
        return skipped

    def update_one(self, parameter: Tensor, lr: float, norm: Tensor) -> Tensor:
        """Update one parameter, the only one with a gradient; `end_step` follows the last one.

        Its optimizer steps over a group of that parameter alone. A step over all groups would take
        time for every other parameter; an optimizer per parameter, as in PyTorch's tutorial, would
        change the index from which rounding draws its noise.
        """
        part, group = self._owners[parameter]
        groups, parameters = part.param_groups, group["params"]
        part.param_groups, group["params"] = [group], [parameter]
        try:
            return self._update([part], [parameter], lr, norm, 0.0)
        finally:
            part.param_groups, group["params"] = groups, parameters

    @cached_property
    def _owners(self) -> dict[Tensor, tuple[Any, dict[str, Any]]]:
        """The optimizer and the group that each parameter is in."""
        return {
            parameter: (part, group)
            for part in self.parts
            for group in part.param_groups
            for parameter in group["params"]
        }

    def _update(
        self, parts: list[Any], parameters: list[Tensor], lr: float, norm: Tensor, clip: float
    ) -> Tensor:
        skipped = (~torch.isfinite(norm)).float()
        scale = (norm / clip).clamp(min=1.0) if clip > 0 else torch.ones_like(norm)
        watched = self._gauge.useful and self._steps % STALL_EVERY == 0
        earlier = self._gauge.before(parameters) if watched else []
        averages = self._begin_averages(parameters)
        for part in parts:
            for group in part.param_groups:
                rate = lr * group["rate_share"]
                group["lr"] = group["lr"].fill_(rate) if torch.is_tensor(group["lr"]) else rate
            part.grad_scale, part.found_inf = scale, skipped
            part.step()
        if watched:
            self._gauge.after(earlier, skipped)
        for parameter, average in averages.items():
            self.state[parameter][EMA] = average  # not before: a rule begins where there is nothing
        for parameter in parameters:
            parameter.grad = None
        return skipped

    def _begin_averages(self, parameters: list[Tensor]) -> dict[Tensor, Tensor]:
        """Return copies of the weights that move for the first time now, if they are averaged."""
        if self._ema is None:
            return {}
        return {
            parameter: parameter.detach().to(torch.float32, copy=True)
            for parameter in parameters
            if parameter.grad is not None and EMA not in self.state.get(parameter, {})
        }

    def averages(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield this process's part of each weight that has moved, and of its average."""
        for parameter, state in self.state.items():
            if EMA in state:
                yield local(parameter.detach()), local(state[EMA])

    def reached(self) -> set[Tensor]:
        """Return the weights that have got a gradient since the last step."""
        return {parameter for parameter in self._parameters if parameter.grad is not None}

    def norm(self, parameters: Iterable[Tensor]) -> Tensor:
        """Return the L2 norm of this process's gradients; see `gradient_norm`."""
        return gradient_norm(parameters)

    def restore_state(self, parameter: Tensor, saved: dict[str, Any]) -> None:
        """Take the state of a parameter from a checkpoint, of any number of processes."""
        eight = isinstance(self._owners[parameter][0], AdamW8bit)
        self.state[parameter] = saved if eight else dequantize_moments(parameter, saved)

    def states_on(self, parameter: Tensor) -> torch.device:
        """Return the device that the states of a parameter live on."""
        return torch.device("cpu") if self.offloaded else parameter.device

    def end_step(self, skipped: Tensor) -> None:
        """End the step after its last update; averages move unless it was `skipped`."""
        if self.offloaded:
            self.offloaded.wait()
        for weight, average in self.averages():
            share = (1 - (self._ema or 0.0)) * (1 - skipped)
            if weight.dtype == average.dtype:
                average.lerp_(weight, share)
            else:
                average.mul_(1 - share).addcmul_(weight, share)
        self._gauge.end_step()
        self._steps += 1

    def stalled_share(self) -> float | None:
        """Return the share of 16-bit weights that a recent step left unchanged; see `StallGauge`.

        None where they are rounded otherwise, or are fp32 in CPU memory: no update is lost then.
        """
        return self._gauge.share()

    def lr_multipliers(self) -> dict[Tensor, float]:
        """Return the factor of the learning rate of each parameter."""
        return {p: group["rate_share"] for group in self.param_groups for p in group["params"]}


def build(
    model: Any, *, lr: float, weight_decay: float, choice: OptimizerChoice | None = None
) -> Optimizer:
    """Return the chosen optimizer; matrices decay, norms and biases do not.

    Raises `UsageError` for an optimizer that is not installed, AssertionError unless every
    parameter is trainable and in the optimizer exactly once.
    """
    choice = choice or OptimizerChoice()
    named: list[tuple[str, Tensor]] = [*trained_weights(model).items()]
    shares = factors("rates", choice.rates, [name for name, _ in named])
    every = _Named(named, shares, _decays(named, weight_decay, choice))
    optimizer = Optimizer(_UPDATES[choice.name](every, lr, choice), choice.rounding, choice.ema)
    assert_full(model, optimizer)
    return optimizer


@dataclass(frozen=True, slots=True)
class _Named:
    """Some parameters of a model by name, and the share of the rate and the decay of each name."""

    parameters: list[tuple[str, Tensor]]
    shares: dict[str, float]
    decays: dict[str, float]

    def only(self, wanted: Callable[[str], bool]) -> _Named:
        """Return those whose names are wanted."""
        return replace(self, parameters=[pair for pair in self.parameters if wanted(pair[0])])

    def groups(self) -> list[dict[str, Any]]:
        """Return parameters of the same rate and decay together, the lowest layers first."""
        found: dict[tuple[float, float], list[Tensor]] = defaultdict(list)
        for name, parameter in self.parameters:
            found[self.shares[name], self.decays.get(name, 0.0)].append(parameter)
        return [
            {"params": parameters, "weight_decay": decay, "rate_share": share}
            for (share, decay), parameters in found.items()
        ]


def _adamw(named: _Named, lr: float, choice: OptimizerChoice) -> list[Any]:
    if choice.offload:
        return [OffloadedAdamW(named.groups(), lr=lr, **choice.adam)]
    if choice.rounding != "nearest":
        return [RoundedAdamW(named.groups(), lr=lr, **choice.adam, **choice.rounded)]
    return [_plain_adamw(named, lr, choice)]


def _plain_adamw(named: _Named, lr: float, choice: OptimizerChoice) -> torch.optim.AdamW:
    return torch.optim.AdamW(named.groups(), lr=lr, **choice.adam, fused=True)


def _adamw8bit(named: _Named, lr: float, choice: OptimizerChoice) -> list[Any]:
    blocks = {name for name, parameter in named.parameters if holds_whole_blocks(parameter)}
    eight, rest = named.only(blocks.__contains__), named.only(lambda name: name not in blocks)
    return [
        *([AdamW8bit(eight.groups(), lr=lr, **choice.adam)] if blocks else []),
        *([_plain_adamw(rest, lr, choice)] if rest.parameters else []),
    ]


def _muon(named: _Named, lr: float, choice: OptimizerChoice) -> list[Any]:
    hidden = {name for name, p in named.parameters if _is_hidden_matrix(name, p)}
    matrices = named.only(hidden.__contains__)
    rest = named.only(lambda name: name not in hidden)
    adamw = _plain_adamw(rest, lr, choice)
    return [*([Muon(matrices.groups(), lr=lr)] if matrices.parameters else []), adamw]


_UPDATES: Final[dict[Name, Callable[[_Named, float, OptimizerChoice], list[Any]]]] = {
    "adamw": _adamw,
    "adamw8bit": _adamw8bit,
    "adafactor": lambda named, lr, choice: [Adafactor(named.groups(), lr=lr, **choice.rounded)],
    "sgd": lambda named, lr, choice: [SGD(named.groups(), {"lr": lr, "momentum": choice.momentum})],
    "muon": _muon,
}


def _decays(
    named: list[tuple[str, Tensor]], decay: float, choice: OptimizerChoice
) -> dict[str, float]:
    """Return the decay of each matrix; vectors have none."""
    matrices = [name for name, parameter in named if parameter.ndim >= 2]
    by_part = factors("decays", choice.decays, matrices)
    return {name: decay * by_part[name] for name in matrices}


def _is_hidden_matrix(name: str, parameter: Tensor) -> bool:
    """Return whether Muon updates a parameter: a matrix inside a block, or stacked experts.

    A depthwise convolution is a stack of vectors, not a matrix.
    """
    return "." in layer_of(name) and parameter.ndim >= 2 and min(parameter.shape[-2:]) > 1


def assert_full(model: Any, optimizer: Optimizer) -> None:
    """Assert that all of the language model is trainable, and in the optimizer exactly once."""
    counts = Counter(p for group in optimizer.param_groups for p in group["params"])
    inside = language_weights(model)
    named = [(name, p) for name, p in model.named_parameters() if p in inside]
    frozen = [name for name, p in named if not p.requires_grad]
    left_out = [name for name, p in named if p not in counts]
    twice = counts.total() - len(counts)
    if frozen or left_out or twice:
        raise AssertionError(
            f"not a full fine-tune: frozen {frozen[:5]}, not in the optimizer {left_out[:5]},"
            f" {twice} in it twice"
        )


def gradient_norm(parameters: Iterable[Tensor]) -> Tensor:
    """Return the L2 norm in fp32 of this process's gradients, on their device; 0 for none."""
    grads = [local(p.grad) for p in parameters if p.grad is not None]
    if not grads:
        return torch.zeros(())
    norms = [torch.linalg.vector_norm(grad, dtype=torch.float32) for grad in grads]
    total: Tensor = torch.linalg.vector_norm(torch.stack(norms))
    return total


class OptimizerInBackward:
    """Replaces `optimizer` in a step: updates each weight as soon as its gradient is complete.

    `rate` returns the learning rate of the current step. A gradient that is not finite skips its
    own weight only: earlier ones have been updated already.
    """

    def __init__(
        self,
        model: Any,
        optimizer: Optimizer,
        rate: Callable[[], float],
        device: Any,
        world: World | None = None,
    ) -> None:
        self._optimizer = optimizer
        self._rate = rate
        self._world = world or World()
        self._square = torch.zeros((), device=device)
        self._skipped = torch.zeros((), device=device)
        self._reached: set[Tensor] = set()
        for parameter in trained_weights(model).values():
            parameter.register_post_accumulate_grad_hook(self._update)

    @property
    def state(self) -> dict[Tensor, dict[str, Any]]:
        """The optimizer states of every parameter."""
        return self._optimizer.state

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of the optimizer."""
        return self._optimizer.param_groups

    def _update(self, parameter: Tensor) -> None:
        self._reached.add(parameter)
        here = gradient_norm([parameter])
        norm = self._world.norm(here)
        skipped = self._optimizer.update_one(parameter, self._rate(), norm)
        self._square += here.square()
        self._skipped = torch.maximum(self._skipped, skipped)

    def reached(self) -> set[Tensor]:
        """Return the weights that have been updated since the last step."""
        return set(self._reached)

    def norm(self, parameters: Iterable[Tensor]) -> Tensor:
        """Return the norm of this process's gradients of the step, which are freed by now."""
        del parameters
        return self._square.sqrt()

    def step(self, lr: float, norm: Tensor, clip: float) -> Tensor:
        """End the step, whose weights are updated; return 1 if any update was skipped, else 0."""
        del lr, norm, clip
        skipped = self._skipped
        self._optimizer.end_step(skipped)
        self._reached.clear()
        self._square, self._skipped = torch.zeros_like(skipped), torch.zeros_like(skipped)
        return skipped


def stepping(
    config: TrainConfig,
    model: Any,
    optimizer: Optimizer,
    rate: Callable[[], float],
    world: World,
) -> StepOptimizer:
    """Return what takes the steps of a run: the optimizer, or what its settings put around it."""
    if config.optimizer_in_backward:
        return OptimizerInBackward(model, optimizer, rate, world.device, world)
    return GradientsToCpu(model, optimizer) if config.optimizer_offload else optimizer

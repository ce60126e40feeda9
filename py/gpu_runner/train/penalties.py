"""Ways to stay near θ₀ while learning: what full fine-tuning forgets, it forgets by moving.

    l2sp        λ/2 ‖θ − θ₀‖² in the loss          adds λ (θ − θ₀) to the gradient
    l2sp_pull   the same, decoupled                θ ← θ − η λ (θ − θ₀) after the step
    ewc         λ/2 Σ Fᵢ (θᵢ − θ₀ᵢ)² in the loss    adds λ F (θ − θ₀) to the gradient

L2-SP: Li, Grandvalet & Davoine, arXiv 1802.01483. EWC: Kirkpatrick et al., arXiv 1612.00796; F is
the diagonal Fisher, divided by its mean so that λ compares with that of L2-SP. An adaptive
optimizer rescales what is in the loss, and leaves what is decoupled. Those in the loss are in
`unfrozen.lab.optimizer` too, which this file is tested against. θ₀ and F are read from disk
tensor by tensor at every step, unless `keep` holds them in memory. The loss that is shown stays
that of the examples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gpu_runner.train.initial_weights import InitialWeights
from gpu_runner.world import local, rows_of
from gpu_runner.world.sharded_files import WEIGHTS, StoredTensors


@dataclass(frozen=True, slots=True)
class Penalty:
    """The strengths λ of one run (0 is none), where θ₀ and F are, and each name's factor of η."""

    initial_weights: InitialWeights = field(default_factory=lambda: InitialWeights((), ()))
    l2sp: float = 0.0
    l2sp_pull: float = 0.0
    ewc: float = 0.0
    fisher: Path | None = None
    """A safetensors file with F of every parameter, or a folder of shards; needed by `ewc`."""
    shares: Mapping[str, float] = field(default_factory=dict)
    keep: bool = False
    """Cache θ₀ and F in the memory of the device, 4 bytes a parameter each, instead of reading."""
    _cached: dict[str, tuple[Tensor, Tensor | None]] = field(default_factory=dict)

    @torch.no_grad()
    def add_gradients(self, model: Any) -> None:
        """Add ∇ of the penalties to the gradients, which must be complete and divided."""
        if not (self.l2sp or self.ewc):
            return
        parameters = dict(model.named_parameters())
        for name, now, start, importance in self._each(model):
            push = self.l2sp if importance is None else self.l2sp + self.ewc * importance
            change = (now.float() - start) * push
            parameter = parameters[name]
            if parameter.grad is None:  # no row of this step has used it
                parameter.grad = torch.zeros_like(parameter)
            local(parameter.grad).add_(change)

    @torch.no_grad()
    def pull(self, model: Any, lr: float, skipped: Tensor) -> None:
        """θ ← θ − η λ (θ − θ₀) after a step at rate `lr`; nothing where it was `skipped`."""
        if not self.l2sp_pull:
            return
        taken = 1 - skipped
        for name, now, start, _ in self._each(model):
            rate = lr * self.shares.get(name, 1.0) * self.l2sp_pull
            now.sub_((now.float() - start) * (rate * taken))

    def _each(self, model: Any) -> Iterator[tuple[str, Tensor, Tensor, Tensor | None]]:
        """(name, θ, θ₀, F or None) of what this process holds, F only where EWC is asked for."""
        parameters = dict(model.named_parameters())
        if self._cached:
            for name, pair in self._cached.items():
                yield name, local(parameters[name].detach()), *pair
            return
        with self._importances() as importance_of:
            for name, now, start in self.initial_weights.pairs(model):
                importance = None
                if importance_of is not None:
                    importance = importance_of(name, rows_of(parameters[name])).to(now.device)
                yield name, now, start, importance
                if self.keep:
                    self._cached[name] = start.clone(), importance

    @contextmanager
    def _importances(self) -> Iterator[Callable[[str, slice], Tensor] | None]:
        if not self.ewc:
            yield None
            return
        assert self.fisher is not None, "EWC without its Fisher"
        shards = (self.fisher / WEIGHTS).glob("*.safetensors")
        with StoredTensors(shards if self.fisher.is_dir() else [self.fisher]).reading() as reader:
            yield reader.rows

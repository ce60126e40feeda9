"""The methods that are compared: every weight, or adapters of one rank beside frozen weights.

LoRA: y = W x + (α/r) · B A x (Hu et al. 2021, arXiv 2106.09685), by the library `peft`, beside
every linear layer of the blocks. α = 32 at every rank, as in Schulman et al. 2025 ("LoRA Without
Regret"): the size of a first step then does not depend on the rank, nor does the best rate much.
A starts as `peft` starts it (uniform), B at zero, so a fresh adapter changes nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from gpu_runner.errors import UsageError
from gpu_runner.train.initial_weights import Drift
from unfrozen.parameter_groups import layer_of

ALPHA: Final = 32
TARGETS: Final = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
FROZEN: Final = ("base_layer", "*norm", "embed_tokens")
"""Patterns of all that stays as it is; a list of names would be too long for a line of a log."""
MOST_RANK: Final = 4096


@dataclass(frozen=True, slots=True)
class Method:
    """One way to train: full with `rank` None, else LoRA of that rank."""

    rank: int | None = None

    @property
    def id(self) -> str:
        """Its name on the command line and in files."""
        return "full" if self.rank is None else f"lora-{self.rank}"

    @property
    def title(self) -> str:
        """Its name in a table."""
        return "every weight" if self.rank is None else f"LoRA, r = {self.rank}"

    @staticmethod
    def of(name: str) -> Method:
        """The method of that `id`. Raises `UsageError` for a name or a rank that is none."""
        if name == "full":
            return Method()
        kind, _, rank = name.partition("-")
        if kind != "lora" or not rank.isdecimal():
            raise UsageError(f"{name!r} is no method: give full, or lora-8 for LoRA of rank 8.")
        if not 1 <= int(rank) <= MOST_RANK:
            raise UsageError(
                f"{name}: a rank is a whole number in 1 … {MOST_RANK:,}, and {rank} is not."
            )
        return Method(int(rank))


@dataclass(frozen=True, slots=True)
class Trained:
    """The part of a model that moves, as `optim.build` asks for it."""

    model: Any

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """(name, parameter) of those that are trained; tied ones once."""
        return ((n, p) for n, p in self.model.named_parameters() if p.requires_grad)

    def parameters(self) -> Iterator[Tensor]:
        """Those that are trained, without their names."""
        return (parameter for _, parameter in self.named_parameters())

    @property
    def count(self) -> int:
        """How many numbers are trained."""
        return sum(parameter.numel() for _, parameter in self.named_parameters())


def adapt(model: Any, rank: int) -> Trained:
    """Freeze `model` in place and give its linear layers adapters of `rank`, fresh and trainable.

    Raises `UsageError` where peft is not installed or the model has none of TARGETS.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise UsageError("LoRA needs the library peft: pip install 'peft>=0.18'.") from None
    wanted = LoraConfig(
        r=rank, lora_alpha=ALPHA, lora_dropout=0.0, target_modules=list(TARGETS), bias="none"
    )
    try:
        inject_adapter_in_model(wanted, model)
    except ValueError as error:
        raise UsageError(
            f"this model has no linear layers named {', '.join(TARGETS)}: {error}"
        ) from None
    return Trained(model)


@dataclass(frozen=True, slots=True)
class AdapterDrift:
    """‖θ−θ₀‖/‖θ₀‖ of a model with adapters: θ−θ₀ is (α/r) · B A, and θ₀ is there, frozen.

    Takes the place of `InitialWeights`, which reads θ₀ from a disk.
    """

    @torch.no_grad()
    def drift(self, model: Any) -> Drift:
        """The distance as if the adapters were merged, by layer and over all weights."""
        moved: dict[str, float] = defaultdict(float)  # Σ (θ−θ₀)² by layer
        initial: dict[str, float] = defaultdict(float)  # Σ θ₀²
        for name, parameter in model.named_parameters():
            if not parameter.requires_grad:
                initial[layer_of(name)] += float(parameter.float().square().sum())
        for name, module in model.named_modules():
            if hasattr(module, "get_delta_weight"):
                change = module.get_delta_weight("default")
                moved[layer_of(f"{name}.weight")] += float(change.float().square().sum())
        layers = {name: (moved[name] / start) ** 0.5 for name, start in initial.items() if start}
        total = (sum(moved.values()) / sum(initial.values())) ** 0.5
        return Drift(layers, total)

"""Updates of bf16 weights: how they are rounded, and how many of them are lost.

bf16 keeps 8 significant bits, so an update below 2⁻⁹ of its weight is rounded away (`nearest`).
Two remedies: `stochastic` rounds up or down with the odds of the distance, right on average (Gupta
et al., arXiv 1502.02551); `kahan` keeps what was rounded away in a second bf16 number and adds it
to the next update (Kahan 1965; Zamirai et al., arXiv 2010.06192).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

import torch
from torch import Tensor

from gpu_runner.world import local

Rounding = Literal["nearest", "stochastic", "kahan"]
COMPENSATION: Final = "compensation"
SAMPLED: Final = 1024  # weights of each tensor that the stall gauge looks at


def stochastic(values: Tensor) -> Tensor:
    """fp32 `values` as bf16, each rounded to one of its two neighbours with the odds of distance.

    16 random bits are added below the kept ones, which are then cut off. The draw is that of the
    device's global generator, so that a resumed run repeats it.
    """
    bits = values.contiguous().view(torch.int32)
    noise = torch.randint_like(bits, 1 << 16)
    kept = (bits + noise) & -(1 << 16)
    return kept.view(torch.float32).bfloat16()


def hold(kept: Tensor, new: Tensor, skipped: Tensor) -> None:
    """`kept` becomes `new`, or stays if the device's flag `skipped` is 1: no wait for the device.

    A NaN in `new` does not get through where the step is skipped.
    """
    kept.copy_(torch.where(skipped.bool(), kept, new.to(kept.dtype)))


def settle(
    weight: Tensor, target: Tensor, state: dict[str, Tensor], rounding: Rounding, skipped: Tensor
) -> None:
    """Write the fp32 `target` into `weight`; fp32 weights need no rounding.

    With `kahan`, `target` must hold the compensation of the last step, see `exact`.
    """
    if weight.dtype == torch.float32 or rounding == "nearest":
        hold(weight, target, skipped)
    elif rounding == "stochastic":
        hold(weight, stochastic(target), skipped)
    else:
        rounded = target.to(weight.dtype)
        hold(local(state[COMPENSATION]), target - rounded.float(), skipped)
        hold(weight, rounded, skipped)


def exact(weight: Tensor, state: dict[str, Tensor]) -> Tensor:
    """The weight in fp32, with what earlier steps have rounded away where that is kept."""
    if COMPENSATION in state:
        return weight.float() + local(state[COMPENSATION]).float()
    return weight.float()


class StallGauge:
    """Share of 16-bit weights that a step leaves as they were although they have a gradient.

    It looks at up to SAMPLED weights of each tensor, spread evenly. Counts stay on the device
    until `share` is asked for.
    """

    def __init__(self, parameters: Iterable[Tensor]) -> None:
        self._watched = [p for p in parameters if p.dtype != torch.float32]
        self._counts: Tensor | None = None  # (stalled, seen)

    @property
    def useful(self) -> bool:
        """Whether there is any 16-bit weight."""
        return bool(self._watched)

    def before(self) -> list[tuple[Tensor, Tensor, Tensor]]:
        """(weight, sampled values, whether they have a gradient), before the step."""
        return [
            (p, _spread(local(p.detach())), _spread(local(p.grad)) != 0)
            for p in self._watched
            if p.grad is not None
        ]

    def after(self, earlier: list[tuple[Tensor, Tensor, Tensor]], skipped: Tensor) -> None:
        """Count, after the step; a skipped step counts nothing."""
        if not earlier:
            return
        stalled, seen = [], []
        for parameter, value, moves in earlier:
            stalled.append(((_spread(local(parameter.detach())) == value) & moves).sum())
            seen.append(moves.sum())
        counts = torch.stack((torch.stack(stalled).sum(), torch.stack(seen).sum()))
        self._counts = counts * (1 - skipped)

    def share(self) -> float | None:
        """Of the last step that was looked at; None if there was none. Waits for the device."""
        if self._counts is None:
            return None
        stalled, seen = self._counts.tolist()
        return float(stalled / seen) if seen else None


def _spread(tensor: Tensor) -> Tensor:
    """Up to SAMPLED of its values, evenly spaced; a copy."""
    return tensor.reshape(-1)[:: -(-tensor.numel() // SAMPLED)].clone()

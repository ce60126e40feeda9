"""How updates of bf16 weights are rounded, and how many are lost.

bf16 has 8 significant bits, so an update below 2⁻⁹ of its weight is rounded away (`nearest`).
`stochastic` rounds up or down with probabilities by distance, exact on average (Gupta et al., arXiv
1502.02551); `kahan` stores what was rounded away in a second bf16 number and adds it to the next
update (Kahan 1965; Zamirai et al., arXiv 2010.06192).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor

from gpu_runner.world import added, local
from unfrozen.memory.states import CHUNK

Rounding = Literal["nearest", "stochastic", "kahan"]
COMPENSATION: Final = "compensation"
SAMPLED: Final = 1024  # weights of each tensor that the stall gauge samples
_GOLDEN: Final = 0x9E3779B97F4A7C15
_MIXING: Final = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1))  # shift, factor


@dataclass(frozen=True, slots=True)
class Noise:
    """16 random bits for each element of a tensor, by its index in the whole tensor.

    ((a·index + b) mod 2⁶⁴) >> 48 with an a and a b that are new at every update: uniform, and any
    two elements independent (Dietzfelbinger, STACS 1996). There is no generator: the bits do not
    depend on the process, the device, or whether the run was resumed.
    """

    key: Tensor
    """a and b."""
    first: int = 0
    """The index of the first element."""

    def bits(self, start: int, count: int) -> Tensor:
        """Return the bits of `count` elements from `start` on, int32."""
        start += self.first
        indices = torch.arange(start, start + count, device=self.key.device)
        mixed = indices.mul_(self.key[0]).add_(self.key[1]).bitwise_right_shift_(48)
        return mixed.int().bitwise_and_(0xFFFF)

    def after(self, start: int) -> Noise:
        """Return the noise of the elements from `start` on."""
        return Noise(self.key, self.first + start)


def noises(seed: int, tensor: int, number: Tensor, count: int, first: int = 0) -> list[Noise]:
    """Return up to 32 independent noises for update `number` (on the device) of a tensor by index.

    Keys are SplitMix64 (Steele et al., OOPSLA 2014) of all four.
    """
    counter = torch.arange(2 * count, device=number.device) + number.long() * 64
    bits = counter * _signed(_GOLDEN) + _signed(_mixed(_mixed(seed) + tensor))
    for shift, factor in _MIXING:
        bits = (bits ^ ((bits >> shift) & ((1 << (64 - shift)) - 1))) * _signed(factor)
    return [Noise(key, first) for key in bits.view(count, 2)]


def _mixed(number: int) -> int:
    """Return the same mixing of a Python integer."""
    bits = (number + 1) * _GOLDEN % 2**64
    for shift, factor in _MIXING:
        bits = (bits ^ (bits >> shift)) * factor % 2**64
    return bits


def _signed(bits: int) -> int:
    """Return the int64 that has these 64 bits."""
    bits %= 2**64
    return bits - 2**64 if bits >= 2**63 else bits


def stochastic(values: Tensor, noise: Noise) -> Tensor:
    """Return fp32 `values` as bf16, each rounded to a neighbour with probability by distance.

    16 random bits are added below the 16 bits of bf16, which are then truncated.
    """
    rounded = torch.empty(values.shape, dtype=torch.bfloat16, device=values.device)
    bits, stored = values.contiguous().view(torch.int32).view(-1), rounded.view(-1)
    for start in range(0, bits.numel(), CHUNK):
        part = bits[start : start + CHUNK]
        cut = noise.bits(start, part.numel()).add_(part).bitwise_and_(-(1 << 16))
        stored[start : start + CHUNK] = cut.view(torch.float32)
    return rounded


def assign_unless_skipped(stored: Tensor, new: Tensor, skipped: Tensor) -> None:
    """Copy `new` into `stored` unless the device's `skipped` is 1, without waiting for it.

    A NaN in `new` does not get through where the step is skipped.
    """
    stored.copy_(torch.where(skipped.bool(), stored, new.to(stored.dtype)))


def write_rounded(
    weight: Tensor,
    target: Tensor,
    state: dict[str, Tensor],
    rounding: Rounding,
    skipped: Tensor,
    noise: Noise,
) -> None:
    """Write the fp32 `target` into `weight`; fp32 weights need no rounding.

    With `kahan`, `target` must include the compensation, see `add_compensation`. `noise` is for
    `stochastic` alone.
    """
    if weight.dtype == torch.float32 or rounding == "nearest":
        assign_unless_skipped(weight, target, skipped)
    elif rounding == "stochastic":
        assign_unless_skipped(weight, stochastic(target, noise), skipped)
    else:
        rounded = target.to(weight.dtype)
        assign_unless_skipped(local(state[COMPENSATION]), target - rounded.float(), skipped)
        assign_unless_skipped(weight, rounded, skipped)


def add_compensation(weight: Tensor, state: dict[str, Tensor]) -> Tensor:
    """Return the weight in fp32, plus its Kahan compensation if it has one."""
    if COMPENSATION in state:
        return weight.float() + local(state[COMPENSATION]).float()
    return weight.float()


class StallGauge:
    """Measures the share of 16-bit weights that a step leaves unchanged despite a gradient.

    It samples up to SAMPLED weights of each tensor, or of each process's shard, evenly spaced.
    Counts stay on the device until `share` is called.
    """

    def __init__(self, parameters: Iterable[Tensor]) -> None:
        self._watched = [p for p in parameters if p.dtype != torch.float32]
        self._counts: Tensor | None = None  # (stalled, sampled) of the last measured step
        self._under_way: list[Tensor] = []  # the same of the current step, update by update

    @property
    def useful(self) -> bool:
        """Whether there is any 16-bit weight."""
        return bool(self._watched)

    def before(self, moving: Iterable[Tensor]) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Return (weight, samples, whether each has a gradient) of those about to be updated."""
        return [
            (p, _spread(local(p.detach())), _spread(local(p.grad)) != 0)
            for p in moving
            if p.grad is not None and p.dtype != torch.float32
        ]

    def after(self, earlier: list[tuple[Tensor, Tensor, Tensor]], skipped: Tensor) -> None:
        """Count, after the update; a skipped one counts nothing."""
        if not earlier:
            return
        stalled, seen = [], []
        for parameter, value, moves in earlier:
            stalled.append(((_spread(local(parameter.detach())) == value) & moves).sum())
            seen.append(moves.sum())
        here = torch.stack((torch.stack(stalled).sum(), torch.stack(seen).sum()))
        self._under_way.append(here * (1 - skipped))

    def end_step(self) -> None:
        """End the step: sum over all processes what its updates counted, for `share`."""
        if self._under_way:
            self._counts = added(torch.stack(self._under_way).sum(dim=0), self._watched[0])
            self._under_way = []

    def share(self) -> float | None:
        """Return the share in the last sampled step, None without one. Waits for the device."""
        if self._counts is None:
            return None
        stalled, seen = self._counts.tolist()
        return float(stalled / seen) if seen else None


def _spread(tensor: Tensor) -> Tensor:
    """Return a copy of up to SAMPLED of its values, evenly spaced."""
    return tensor.reshape(-1)[:: max(1, -(-tensor.numel() // SAMPLED))].clone()

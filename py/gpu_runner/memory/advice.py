"""Settings of a run that fit: of all changes, one to three at once, those that cost least.

A change ranks by what it costs besides memory: first those that cost nothing or only time, then
those that make the arithmetic coarser, then those that train on less. bf16 weights are suggested
only with stochastic rounding: rounded to nearest, small updates are lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from itertools import chain, combinations, product
from typing import Any, Final, NamedTuple

from gpu_runner.config.bounds import check_config
from gpu_runner.config.schema import TrainConfig
from gpu_runner.errors import RunnerError
from gpu_runner.memory.prediction import MOST_SUGGESTIONS, SHORTEST, Suggestion
from unfrozen.errors import PlanError
from unfrozen.runner import ROUNDED

Cost = Callable[[TrainConfig], tuple[int, float]]
"""Predicted peak in bytes and seconds per token of a run with this config; `PlanError` if none."""
MOST_CHANGES: Final = 3
_SAME, _COARSER, _LESS = range(3)  # kinds of change, by what is given up
_8BIT_LIBRARIES: Final = ("torchao", "bitsandbytes")


class _Change(NamedTuple):
    """One setting of one dial, further from the current one the larger `level` is."""

    dial: str
    level: int
    choices: dict[str, Any]
    kind: int = _SAME
    note: str = ""

    @property
    def options(self) -> str:
        """The change as it is typed."""
        return " ".join(_format_option(name, value) for name, value in self.choices.items())


class _Candidate(NamedTuple):
    changes: tuple[_Change, ...]
    suggestion: Suggestion

    @property
    def rank(self) -> tuple[int, float, int, int]:
        """The order of suggestions: what is given up, time, number of changes, memory."""
        found = self.suggestion
        kind = max(change.kind for change in self.changes)
        return kind, round(found.time_ratio, 2), len(self.changes), found.peak_bytes

    def exceeds(self, other: _Candidate) -> bool:
        """Return whether it turns every dial of `other` at least as far."""
        own = {change.dial: change.level for change in self.changes}
        return self is not other and all(own.get(c.dial, 0) >= c.level for c in other.changes)


def suggest_settings(
    config: TrainConfig,
    budget_bytes: int,
    cost: Cost,
    *,
    longest: int,
    offloads: bool = False,
    ranks: int = 1,
    bf16: bool = True,
) -> list[Suggestion]:
    """Return at most MOST_SUGGESTIONS settings with a peak within `budget_bytes`, cheapest first.

    None of them contains another one, as long as there are enough. Where nothing fits, the result
    is the settings that need least, with `fits` False. `longest` is the longest example in tokens,
    `offloads` whether a GPU can offload to the CPU, `bf16` whether the device computes
    in it; else fp16 is suggested.
    """
    base = _with_rounding(config)
    pace = cost(config)[1]
    narrow = _sixteen_bits(base, bf16=bf16)
    dials = [*_dials(base, longest, offloads=offloads, ranks=ranks, bf16=bf16), narrow]
    dials = [dial for dial in dials if dial]
    always = _Change("rounding", 1, {"rounding": base.rounding}) if base is not config else None
    tried: list[_Candidate] = []
    for count in range(1, MOST_CHANGES + 1):
        for picked in combinations(dials, count):
            for changes in product(*picked):
                typed = (*changes, always) if always else changes
                if (found := _try(base, typed, budget_bytes, cost, pace)) is not None:
                    tried.append(found)
        if len(_minimal([one for one in tried if one.suggestion.fits])) >= MOST_SUGGESTIONS:
            break
    fitting = sorted((one for one in tried if one.suggestion.fits), key=lambda one: one.rank)
    if not fitting:
        lowest = sorted(tried, key=lambda one: one.suggestion.peak_bytes)
        return [one.suggestion for one in lowest[:MOST_SUGGESTIONS]]
    minimal = _minimal(fitting)
    more = (one for one in fitting if one not in minimal)
    return [one.suggestion for one in chain(minimal, more)][:MOST_SUGGESTIONS]


def format_advice(suggestions: list[Suggestion]) -> str:
    """Return suggestions as one sentence of a remark."""
    if not suggestions:
        return "Give a smaller --micro-batch or --seq-len."
    typed = "; or ".join(f"{one.options} ({one})" for one in suggestions)
    if any(one.fits for one in suggestions):
        return f"Give {typed}."
    return f"No combination of settings fits; these need the least: {typed}."


def _minimal(fitting: list[_Candidate]) -> list[_Candidate]:
    """Return the candidates that turn no dial further than another one that fits."""
    return [one for one in fitting if not any(one.exceeds(other) for other in fitting)]


def _try(
    base: TrainConfig, changes: tuple[_Change, ...], budget_bytes: int, cost: Cost, pace: float
) -> _Candidate | None:
    """Return the run with these changes; None where it would be refused."""
    choices = {name: value for change in changes for name, value in change.choices.items()}
    try:
        config = replace(base, **choices)
        check_config(config)
        peak_bytes, seconds = cost(config)
    except (PlanError, RunnerError):
        return None
    options = " ".join(change.options for change in changes)
    notes = ", ".join(change.note for change in changes if change.note)
    fits = peak_bytes <= budget_bytes
    return _Candidate(changes, Suggestion(options, peak_bytes, seconds / pace, fits, notes))


def _with_rounding(config: TrainConfig) -> TrainConfig:
    """Return the config with stochastic rounding of bf16 weights where the optimizer can."""
    nearest = config.params == "bf16" and config.rounding == "nearest"
    if nearest and config.optimizer in ROUNDED and not config.optimizer_offload:
        return replace(config, rounding="stochastic")
    return config


def _dials(
    config: TrainConfig, longest: int, *, offloads: bool, ranks: int, bf16: bool
) -> Iterator[list[_Change]]:
    """Yield every dial, with the changes beyond its current setting."""
    yield list(_smaller_micro_batches(config, ranks))
    yield [
        _Change("length", level, {"seq_len": length}, _LESS, "longer sequences are cut")
        for level, length in enumerate((longest // 2, longest // 4), start=1)
        if length >= SHORTEST
    ]
    stages = ("none", "selective", "full")
    further = stages[stages.index(config.checkpointing) + 1 :]
    yield [
        _Change("checkpointing", level, {"checkpointing": stage})
        for level, stage in enumerate(further, start=1)
    ]
    if config.loss != "linear":
        yield [_Change("loss", 1, {"loss": "linear"})]
    full = config.params == "fp32" and config.optimizer == "adamw" and ranks == 1
    if offloads and full and not config.optimizer_offload:
        moved: dict[str, Any] = {"optimizer_offload": True}
        wide = _Change("host", 1, moved, note="AdamW in CPU memory")
        narrow = _Change("host", 2, moved | {"params": "bf16"}, note="fp32 weights in CPU memory")
        yield [wide, narrow] if bf16 else [wide]
    if offloads and not config.activation_offload:
        yield [_Change("offload", 1, {"activation_offload": True})]
    if ranks == 1 and not config.optimizer_in_backward:
        early = {"optimizer_in_backward": True, "clip": 0.0}
        yield [_Change("early", 1, early, _COARSER, "gradients are not clipped")]
    if full and any(find_spec(name) for name in _8BIT_LIBRARIES):
        yield [_Change("moments", 1, {"optimizer": "adamw8bit"}, _COARSER, "8-bit moments")]


def _sixteen_bits(config: TrainConfig, *, bf16: bool) -> list[_Change]:
    """Return the change to 16 bits that the device computes in; none where one is set."""
    if config.params != "fp32" or config.compute == "fp32":
        return []
    if not bf16:
        fp16 = [_Change("params", 1, {"compute": "fp16"}, _COARSER, "fp16 matmuls, a scaled loss")]
        return fp16 if config.compute == "auto" else []
    chosen = {"params": "bf16", "rounding": "stochastic"}
    bf16_weights = _Change("params", 1, chosen, _COARSER, "bf16 weights, stochastic rounding")
    return [bf16_weights] if config.optimizer in ROUNDED else []


def _smaller_micro_batches(config: TrainConfig, ranks: int) -> Iterator[_Change]:
    """Yield smaller micro-batches for the same step, each at most two thirds of the last."""
    total, last, level = config.micro_batch * config.grad_accum, config.micro_batch, 0
    for size in range(config.micro_batch - 1, 0, -1):
        if total % (size * ranks) == 0 and (3 * size <= 2 * last or size == 1):
            last, level = size, level + 1
            yield _Change("micro_batch", level, {"micro_batch": size, "grad_accum": total // size})


def _format_option(name: str, value: object) -> str:
    """Return a setting as it is typed: `--lr 1e-05`, a switch as `--set compile=true`."""
    if isinstance(value, bool):
        return f"--set {name}={str(value).lower()}"
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return f"--{name.replace('_', '-')} {text}"

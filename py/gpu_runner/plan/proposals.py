"""Settings that fit: of all changes of a run, one to three at once, those that cost least.

A change ranks by what it costs besides memory: nothing, or time only, first; then what makes the
arithmetic coarser; then what is trained no more. bf16 weights come with stochastic rounding only:
rounded to the nearest, small updates are lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from importlib.util import find_spec
from itertools import chain, combinations, product
from typing import Any, Final, NamedTuple

from gpu_runner.config import bounds
from gpu_runner.config.schema import TrainConfig
from gpu_runner.data.feed import BatchShape
from gpu_runner.errors import RunnerError
from gpu_runner.plan.plan import RunPlan
from gpu_runner.plan.predict import heaviest, predict, recipe
from gpu_runner.plan.remedy import MOST_SHOWN, Remedy
from gpu_runner.plan.schedule import schedule_for
from unfrozen.errors import PlanError
from unfrozen.job import Job
from unfrozen.job.cluster import Cluster
from unfrozen.plan.step_time import step_time, step_tokens
from unfrozen.runner import ROUNDED

Weigh = Callable[[TrainConfig], tuple[int, float]]
"""Predicted peak in bytes and seconds a token of a run with these choices; PlanError if none is."""
MOST_CHANGES: Final = 3
SHORTEST: Final = 16  # tokens of a row that is still worth training
_SAME, _COARSER, _LESS = range(3)  # kinds, by what is given up
_LIBRARIES: Final = ("torchao", "bitsandbytes")  # that have an AdamW of 8 bits


def settings_for(planned: RunPlan, budget_bytes: int) -> list[Remedy]:
    """`settings` of a run that was planned; none for a model whose memory is not computed."""
    model, now = planned.shape, planned.config
    if model is None:
        return []
    ranks = planned.feed.ranks
    cluster = Cluster(ranks, "zero3" if ranks > 1 else "none")

    @lru_cache(maxsize=64)
    def worst(micro_batch: int, grad_accum: int) -> BatchShape:
        if (micro_batch, grad_accum) == (now.micro_batch, now.grad_accum):
            return planned.heaviest
        feed = replace(planned.feed, micro_batch=micro_batch, grad_accum=grad_accum)
        steps = schedule_for(now, feed).total_steps
        return heaviest(feed, steps, model, now, planned.compute)[1]

    def weigh(choice: TrainConfig) -> tuple[int, float]:
        shape = worst(choice.micro_batch, choice.grad_accum)
        if choice.seq_len != now.seq_len:
            shape = _cut(shape, min(1.0, choice.seq_len / planned.train.longest_tokens))
        compute = "bf16" if choice.params == "bf16" else planned.compute
        job = Job(model, recipe(choice, compute, shape, model), cluster)
        seconds = step_time(job).seconds / step_tokens(job)
        return predict(model, choice, compute, shape, ranks).peak_bytes, seconds

    offloads = planned.device.type == "cuda" and ranks == 1
    longest = planned.train.longest_tokens
    return settings(now, budget_bytes, weigh, longest=longest, offloads=offloads, ranks=ranks)


def _cut(shape: BatchShape, share: float) -> BatchShape:
    """A micro-batch whose rows keep so much of themselves."""
    length, trained = (max(1, round(share * n)) for n in (shape.length, shape.loss_tokens))
    return shape._replace(length=length, loss_tokens=trained)


class _Level(NamedTuple):
    """One position of one dial, further from what is set now the larger `level` is."""

    dial: str
    level: int
    choices: dict[str, Any]
    kind: int = _SAME
    note: str = ""

    @property
    def options(self) -> str:
        """As it is typed."""
        return " ".join(_typed(name, value) for name, value in self.choices.items())


class _Tried(NamedTuple):
    levels: tuple[_Level, ...]
    remedy: Remedy

    @property
    def rank(self) -> tuple[int, float, int, int]:
        """The order of telling: what is given up, time, how many changes, memory."""
        kind = max(level.kind for level in self.levels)
        return kind, round(self.remedy.time_ratio, 2), len(self.levels), self.remedy.peak_bytes

    def exceeds(self, other: _Tried) -> bool:
        """Whether it turns every dial that `other` turns at least as far."""
        own = {level.dial: level.level for level in self.levels}
        return self is not other and all(own.get(o.dial, 0) >= o.level for o in other.levels)


def settings(
    config: TrainConfig,
    budget_bytes: int,
    weigh: Weigh,
    *,
    longest: int,
    offloads: bool = False,
    ranks: int = 1,
) -> list[Remedy]:
    """At most MOST_SHOWN settings whose peak is within `budget_bytes`, the cheapest first.

    None of them holds another one, as long as there are enough. Where nothing fits, those that need
    least, with `fits` False. `longest` is the longest row in tokens.
    """
    base = _rounded(config)
    pace = weigh(config)[1]
    dials = [dial for dial in _dials(base, longest, offloads=offloads, ranks=ranks) if dial]
    always = _Level("rounding", 1, {"rounding": base.rounding}) if base is not config else None
    tried: list[_Tried] = []
    for count in range(1, MOST_CHANGES + 1):
        for picked in combinations(dials, count):
            for levels in product(*picked):
                told = (*levels, always) if always else levels
                if (found := _try(base, told, budget_bytes, weigh, pace)) is not None:
                    tried.append(found)
        if len(_least([one for one in tried if one.remedy.fits])) >= MOST_SHOWN:
            break
    fitting = sorted((one for one in tried if one.remedy.fits), key=lambda one: one.rank)
    if not fitting:
        lowest = sorted(tried, key=lambda one: one.remedy.peak_bytes)
        return [one.remedy for one in lowest[:MOST_SHOWN]]
    least = _least(fitting)
    more = (one for one in fitting if one not in least)
    return [one.remedy for one in chain(least, more)][:MOST_SHOWN]


def _least(fitting: list[_Tried]) -> list[_Tried]:
    """Those that turn no dial further than another one that fits."""
    return [one for one in fitting if not any(one.exceeds(other) for other in fitting)]


def _try(
    base: TrainConfig, levels: tuple[_Level, ...], budget_bytes: int, weigh: Weigh, pace: float
) -> _Tried | None:
    """The run with these levels; None for choices that it would refuse."""
    choices = {name: value for level in levels for name, value in level.choices.items()}
    try:
        choice = replace(base, **choices)
        bounds.check(choice)
        peak_bytes, seconds = weigh(choice)
    except (PlanError, RunnerError):
        return None
    options = " ".join(level.options for level in levels)
    notes = ", ".join(level.note for level in levels if level.note)
    fits = peak_bytes <= budget_bytes
    return _Tried(levels, Remedy(options, peak_bytes, seconds / pace, fits, notes))


def _rounded(config: TrainConfig) -> TrainConfig:
    """The same choices, bf16 weights rounded at random where the optimizer can."""
    bare = config.params == "bf16" and config.rounding == "nearest"
    if bare and config.optimizer in ROUNDED:
        return replace(config, rounding="stochastic")
    return config


def _dials(
    config: TrainConfig, longest: int, *, offloads: bool, ranks: int
) -> Iterator[list[_Level]]:
    """Every dial, with the positions beyond that where it stands."""
    yield list(_fewer(config, ranks))
    yield list(_shorter(longest))
    stages = ("none", "selective", "full")
    further = stages[stages.index(config.checkpointing) + 1 :]
    yield [
        _Level("checkpointing", place, {"checkpointing": stage})
        for place, stage in enumerate(further, start=1)
    ]
    if config.loss != "linear":
        yield [_Level("loss", 1, {"loss": "linear"})]
    if offloads and not config.activation_offload:
        yield [_Level("offload", 1, {"activation_offload": True})]
    if ranks == 1 and not config.optimizer_in_backward:
        early = {"optimizer_in_backward": True, "clip": 0.0}
        yield [_Level("early", 1, early, _COARSER, "gradients are not clipped")]
    if config.params == "fp32" and config.compute != "fp32" and config.optimizer in ROUNDED:
        narrow = {"params": "bf16", "rounding": "stochastic"}
        yield [_Level("width", 1, narrow, _COARSER, "bf16 weights, rounded at random")]
    whole = config.params == "fp32" and config.optimizer == "adamw" and ranks == 1
    if whole and any(find_spec(name) for name in _LIBRARIES):
        yield [_Level("moments", 1, {"optimizer": "adamw8bit"}, _COARSER, "moments of 8 bits")]


def _fewer(config: TrainConfig, ranks: int) -> Iterator[_Level]:
    """Fewer rows at once, the rows of a step as they were: each at most two thirds of the last."""
    rows, last, level = config.micro_batch * config.grad_accum, config.micro_batch, 0
    for fewer in range(config.micro_batch - 1, 0, -1):
        if rows % (fewer * ranks) == 0 and (3 * fewer <= 2 * last or fewer == 1):
            last, level = fewer, level + 1
            yield _Level("rows", level, {"micro_batch": fewer, "grad_accum": rows // fewer})


def _shorter(longest: int) -> Iterator[_Level]:
    """Rows cut to a half and a quarter."""
    for level, length in enumerate((longest // 2, longest // 4), start=1):
        if length >= SHORTEST:
            yield _Level("length", level, {"seq_len": length}, _LESS, "longer rows are cut")


def _typed(name: str, value: object) -> str:
    """A choice as it is typed: by its option, or by --set where it has none."""
    shown = f"{value:g}" if isinstance(value, float) else str(value)
    shown = shown.lower() if isinstance(value, bool) else shown
    if bounds.told(TrainConfig)[name].group:
        return f"--{name.replace('_', '-')} {shown}"
    return f"--set {name}={shown}"

"""How each method would train: of the ways that fit the cards, the fastest.

Full fine-tuning climbs down a ladder: exact weights and moments first; where they do not fit,
16-bit ones whose updates are rounded at random; last, moments of a byte. All but the last is what
`gpu_runner` does, sharded over the cards (FSDP2, as ZeRO-3). Adapters sit beside every linear layer
of a frozen model, in 16 bits or, under QLoRA, in 4. Every way is a state of the planner: one
sequence of at most 2048 tokens on a card, or eight where several cards wait for each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from unfrozen.plan import Plan, plan_job
from unfrozen.plan.step_time import step_time, step_tokens
from unfrozen.planner.state import State, read_job, read_state
from unfrozen.units import gib

METHODS: Final = ("full", "lora", "qlora")
EXACT, ROUNDED, EIGHT_BIT = "exact", "rounded", "8-bit"
_PEFT: Final[State] = {"lora_library": "peft", "lora_dtype": "fp32"}
"""PEFT trains adapters in fp32 beside 16-bit weights unless it is told otherwise."""
_LADDER: Final[dict[str, dict[str, State]]] = {
    "full": {
        EXACT: {"params": "fp32", "compute": "bf16"},
        ROUNDED: {"master": "null", "moments": "bf16", "rounding": "stochastic"},
        EIGHT_BIT: {"master": "null", "moments": "int8", "rounding": "stochastic"},
    },
    "lora": {EXACT: {"method": "lora", **_PEFT}},
    "qlora": {EXACT: {"method": "qlora", "base": "nf4-dq", **_PEFT}},
}
_RECOMPUTED: Final[State] = {"checkpointing": "full"}
_EIGHT: Final[State] = {"micro_batch": "8"}


@dataclass(frozen=True, slots=True)
class Way:
    """One way to train, by the planner.

    state    of the planner
    plan     what it holds
    rung     EXACT, ROUNDED or EIGHT_BIT
    fits     whether the cards hold it
    seconds_a_token  by all cards together
    kilowatts        of all cards at their limit
    """

    state: State
    plan: Plan
    rung: str
    fits: bool
    seconds_a_token: float
    kilowatts: float

    @property
    def narrow(self) -> bool:
        """Whether the planner's error band reaches past the edge of the card."""
        gpu = self.plan.job.gpu
        return gpu is not None and self.plan.band_gib[1] > gib(gpu.capacity_bytes)

    @property
    def burden(self) -> float:
        """Seconds a token, and a hundredth more for each complication: so little is no reason."""
        eight = self.plan.job.recipe.micro_batch > 1
        return self.seconds_a_token * 1.01 ** (self.sharded + self.recomputes + eight)

    @property
    def recomputes(self) -> bool:
        """Whether layers are computed again in the backward pass."""
        return self.plan.job.recipe.checkpointing == "full"

    @property
    def sharded(self) -> bool:
        """Whether the cards share the states out."""
        return self.plan.job.cluster.stage == 3


@lru_cache(maxsize=4096)
def best_way(method: str, model: str, gpu: str, gpus: int, rank: int) -> Way:
    """The fastest way that fits, on the highest rung that has one; else the one that takes least.
    What fits with room for the planner's error goes before what fits narrowly.

    `rank` is that of the adapters and means nothing for full fine-tuning.
    """
    found: list[Way] = []
    for rung, sets in _LADDER[method].items():
        adapters = {} if method == "full" else {"lora_rank": str(rank)}
        base = {"model": model, "gpu": gpu, "gpus": str(gpus), **sets, **adapters}
        ways = [way for group in _groups(method, gpus) for way in _ways(base, group, rung)]
        fitting = [way for way in ways if way.fits]
        if fitting:
            return min(fitting, key=lambda way: (way.narrow, way.burden))
        found += ways
    return min(found, key=lambda way: way.plan.device_bytes)


def _groups(method: str, gpus: int) -> list[list[State]]:
    """What to try: alone on one card; on several sharded, which adapters may do without; one
    sequence at a time, or eight.
    """
    if gpus == 1:
        return [[{}]]
    sharded: State = {"sharding": "zero3"}
    group = [sharded, sharded | _EIGHT]
    return [group] if method == "full" else [[{}, _EIGHT], group]


def _ways(base: State, group: list[State], rung: str) -> Iterator[Way]:
    """The ways of a group; with layers recomputed only where the largest does not fit without,
    since it costs time.
    """
    plain = [_way(base | more, rung) for more in group]
    yield from plain
    if plain[-1].narrow or not plain[-1].fits:
        yield from (_way(base | more | _RECOMPUTED, rung) for more in group)


def _way(given: State, rung: str) -> Way:
    state = read_state(given)
    job = read_job(state)
    plan = plan_job(job)
    assert job.gpu is not None
    pace = step_time(job).seconds / step_tokens(job)
    kilowatts = job.cluster.gpus * job.gpu.power_watts / 1000
    return Way(state, plan, rung, bool(plan.fits), pace, kilowatts)

"""The four methods for a task, each with the same numbers.

Full fine-tuning tries several recipes: fp32 weights and optimizer states first; where they do not
fit, bf16 ones with stochastic rounding; last, 8-bit optimizer states. All but the last is what
`gpu_runner` does, sharded over the GPUs (FSDP2, as ZeRO-3). Adapters sit beside every linear layer
of a frozen model, in 16 bits or, under QLoRA, in 4. Every way to train is a state of the planner:
one sequence of at most 2048 tokens on a GPU, or eight where several GPUs wait for each other. Of
the ways that fit, the fastest counts.

A prompt needs no training. Its keys and values are cached, and every token of every answer reads
them again: that is what it takes. All numbers are of all tasks together, but `device_bytes`, which
is of one GPU while it trains.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from unfrozen.decision.evidence import rank_for, room_tokens, trained_parameters
from unfrozen.decision.task import Task, config_of
from unfrozen.hardware import find
from unfrozen.job.recipe import Recipe
from unfrozen.job.rollouts import WIDTH, cache_bytes
from unfrozen.memory.adapters import frozen_bytes
from unfrozen.model import ModelConfig
from unfrozen.plan import Plan, plan_job
from unfrozen.plan.step_time import step_time, step_tokens
from unfrozen.planner.state import State, read_job, read_state
from unfrozen.units import GB

METHODS: Final = ("full", "lora", "qlora")
EXACT, ROUNDED, EIGHT_BIT = "exact", "rounded", "8-bit"
_PEFT: Final[State] = {"lora_library": "peft", "lora_dtype": "fp32", "lora_autocast": "true"}
"""PEFT trains adapters in fp32 beside 16-bit weights by default."""
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
PROMPT_TOKENS: Final = 2048
"""Assumed: examples in a prompt that stands in for training, and what a request may hold beside."""
FOUR_BITS: Final = Recipe.read({"method": "qlora", "base": "nf4-dq"})


@dataclass(frozen=True, slots=True)
class Storage:
    """Bytes of storage: a shared part, and what every task adds."""

    once: int
    each: int

    def at(self, tasks: int) -> int:
        """Return the bytes that so many tasks take."""
        return self.once + self.each * tasks


def copies(model: ModelConfig) -> Storage:
    """Return the storage of a fully fine-tuned model for every task."""
    return Storage(0, WIDTH * model.num_parameters)


def on_16_bits(model: ModelConfig, rank: int) -> Storage:
    """Return the storage of adapters for every task, on one model in 16 bits."""
    return Storage(WIDTH * model.num_parameters, WIDTH * trained_parameters(model, rank))


def on_4_bits(model: ModelConfig, rank: int) -> Storage:
    """Return the storage of adapters for every task, on one model in double-quantized NF4."""
    return Storage(sum(frozen_bytes(model, FOUR_BITS)), WIDTH * trained_parameters(model, rank))


def prompts(model: ModelConfig, *, four_bits: bool = False) -> Storage:
    """Return the storage of one model for all tasks, with the KV cache of every task's prompt."""
    once = sum(frozen_bytes(model, FOUR_BITS)) if four_bits else WIDTH * model.num_parameters
    return Storage(once, prompt_tokens(model) * cache_bytes(model))


def prompt_tokens(model: ModelConfig) -> int:
    """Return the length of a prompt, at most half of the learned positions of the model."""
    positions = model.architecture.positions
    return min(PROMPT_TOKENS, positions // 2) if positions else PROMPT_TOKENS


@dataclass(frozen=True, slots=True)
class Way:
    """One way to train, with its plan.

    state    of the planner
    plan     what it holds
    rung     EXACT, ROUNDED or EIGHT_BIT
    fits     whether the GPUs hold it
    seconds_a_token  by all GPUs together
    kilowatts        of all GPUs at their limit
    """

    state: State
    plan: Plan
    rung: str
    fits: bool
    seconds_a_token: float
    kilowatts: float

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
        """Whether the GPUs shard the states."""
        return self.plan.job.cluster.stage == 3


@lru_cache(maxsize=4096)
def best_way(method: str, model: str, gpu: str, gpus: int, rank: int) -> Way:
    """Return the fastest way that fits, on the highest rung that has one; else the one that takes
    least.

    `rank` is that of the adapters and means nothing for full fine-tuning.
    """
    found: list[Way] = []
    for rung, sets in _LADDER[method].items():
        adapters = {} if method == "full" else {"lora_rank": str(rank)}
        base = {"model": model, "gpu": gpu, "gpus": str(gpus), **sets, **adapters}
        ways = [way for group in _groups(method, gpus) for way in _ways(base, group, rung)]
        fitting = [way for way in ways if way.fits]
        if fitting:
            return min(fitting, key=lambda way: way.burden)
        found += ways
    return min(found, key=lambda way: way.plan.safe_bytes)


def _groups(method: str, gpus: int) -> list[list[State]]:
    """Return what to try: one GPU alone; several, sharded; one sequence at a time, or eight."""
    if gpus == 1:
        return [[{}]]
    sharded: State = {"sharding": "zero3"}
    group = [sharded, sharded | _EIGHT]
    return [group] if method == "full" else [[{}, _EIGHT], group]


def _ways(base: State, group: list[State], rung: str) -> Iterator[Way]:
    """Yield the ways of a group; with layers recomputed only where the largest does not fit
    without, since it costs time.
    """
    plain = [_way(base | more, rung) for more in group]
    yield from plain
    if not plain[-1].fits:
        yield from (_way(base | more | _RECOMPUTED, rung) for more in group)


def _way(given: State, rung: str) -> Way:
    state = read_state(given)
    job = read_job(state)
    plan = plan_job(job)
    assert job.gpu is not None
    pace = step_time(job).seconds / step_tokens(job)
    kilowatts = job.cluster.gpus * job.gpu.power_watts / 1000
    return Way(state, plan, rung, bool(plan.fits), pace, kilowatts)


KEYS: Final = ("prompt", *METHODS)
LABELS: Final = {
    "prompt": "A prompt",
    "full": "Full fine-tuning",
    "lora": "LoRA",
    "qlora": "QLoRA",
}
ANSWER_TOKENS: Final = 256
"""Assumed length of an answer."""
HAS_ROOM, LACKS_ROOM, LEARNS_NOTHING = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Option:
    """One method for one task.

    fits          the GPUs can train it; of a prompt: they can run the model
    lacks         HAS_ROOM, LACKS_ROOM or LEARNS_NOTHING of what is to be learned, see `evidence`
    serves        the same GPUs hold the models of all tasks at once, ready to answer
    rank          of the adapters; 0 where there are none
    trained       weights that train
    room_tokens   tokens of data that they have room for; 0 for a prompt
    device_bytes  what one GPU holds
    hours         on all the GPUs; `gpu_hours`, `kwh` and `cost` follow from them
    storage       on disk and in memory, by the number of tasks
    way           how it trains; None for a prompt
    """

    key: str
    fits: bool
    lacks: int
    serves: bool
    rank: int
    trained: int
    room_tokens: int
    device_bytes: int
    hours: float
    gpu_hours: float
    kwh: float
    cost: float | None
    storage: Storage
    way: Way | None

    @property
    def label(self) -> str:
        """Its name."""
        return LABELS[self.key]

    @property
    def does_it(self) -> bool:
        """Whether the GPUs can train it and it has room for what is to be learned."""
        return self.fits and self.lacks == HAS_ROOM


def options(task: Task) -> list[Option]:
    """Return the options for all four methods, in the order of `KEYS`."""
    return [option(key, task) for key in KEYS]


def option(key: str, task: Task) -> Option:
    """Return the option for one method."""
    return _prompt(task) if key == "prompt" else _trained(key, task)


def serving_room_bytes(task: Task) -> int:
    """Return what all GPUs have for weights and prompts, beside context and a KV cache."""
    return task.gpus * _gpu_room_bytes(task.model, task.gpu)


@lru_cache(maxsize=1024)
def _gpu_room_bytes(model: str, gpu: str) -> int:
    found = find(gpu)
    return found.capacity_bytes - found.context_bytes - _request_bytes(model)


@lru_cache(maxsize=64)
def _request_bytes(model: str) -> int:
    """Return the bytes of the KV cache of one request."""
    return PROMPT_TOKENS * cache_bytes(config_of(model))


def _trained(key: str, task: Task) -> Option:
    rank, learns, trained = _size(key, task.model, task.tokens, task.learn)
    way = best_way(key, task.model, task.gpu, task.gpus, rank)
    hours = way.seconds_a_token * task.tokens * task.tasks / 3600
    storage = _storage(key, task.model, rank)
    return Option(
        key=key,
        fits=way.fits,
        lacks=HAS_ROOM if learns else LACKS_ROOM,
        serves=storage.at(task.tasks) <= serving_room_bytes(task),
        rank=rank,
        trained=trained,
        room_tokens=room_tokens(trained),
        device_bytes=way.plan.device_bytes,
        hours=hours,
        gpu_hours=hours * task.gpus,
        kwh=hours * way.kilowatts,
        cost=_cost(hours, task),
        storage=storage,
        way=way,
    )


@lru_cache(maxsize=8192)
def _size(key: str, name: str, tokens: int, learn: str) -> tuple[int, bool, int]:
    """Return the rank, whether there is room for the data, and how many weights train."""
    model = config_of(name)
    if key == "full":
        return 0, True, model.num_parameters
    rank, learns = rank_for(model, tokens, learn)
    return rank, learns, trained_parameters(model, rank)


@lru_cache(maxsize=4096)
def _storage(key: str, name: str, rank: int) -> Storage:
    """Return how the tasks of a model are stored; "prompt-4" is a prompt on the model in 4 bits."""
    model = config_of(name)
    lines: dict[str, Callable[[], Storage]] = {
        "full": lambda: copies(model),
        "lora": lambda: on_16_bits(model, rank),
        "qlora": lambda: on_4_bits(model, rank),
        "prompt": lambda: prompts(model),
        "prompt-4": lambda: prompts(model, four_bits=True),
    }
    return lines[key]()


def _prompt(task: Task) -> Option:
    """Return the model as it is, in 16 bits or, where the GPUs hold only that, in 4."""
    room = serving_room_bytes(task)
    wide, narrow = (_storage(key, task.model, 0) for key in ("prompt", "prompt-4"))
    storage = wide if wide.at(task.tasks) <= room else narrow
    hours = prompt_seconds(task) * task.requests * task.tasks / task.gpus / 3600
    held = -(-storage.at(task.tasks) // task.gpus)
    return Option(
        key="prompt",
        fits=storage.at(1) <= room,
        lacks=HAS_ROOM if task.learn == "style" else LEARNS_NOTHING,
        serves=storage.at(task.tasks) <= room,
        rank=0,
        trained=0,
        room_tokens=0,
        device_bytes=held + find(task.gpu).context_bytes + _request_bytes(task.model),
        hours=hours,
        gpu_hours=hours * task.gpus,
        kwh=hours * task.gpus * find(task.gpu).power_watts / 1000,
        cost=_cost(hours, task),
        storage=storage,
        way=None,
    )


def prompt_seconds(task: Task) -> float:
    """Return the seconds of one GPU that a prompt adds to a request.

    That is what its answer reads of the prompt's KV cache, at the GPU's bandwidth. The weights are
    read once for all requests that are answered together, keys and values for each.
    """
    return _prompt_seconds(task.model, task.gpu)


@lru_cache(maxsize=1024)
def _prompt_seconds(name: str, gpu: str) -> float:
    model, bandwidth = config_of(name), find(gpu).bandwidth_gb_s
    assert bandwidth is not None
    return ANSWER_TOKENS * prompt_tokens(model) * cache_bytes(model) / (GB * bandwidth)


def _cost(hours: float, task: Task) -> float | None:
    return None if task.price is None else hours * task.gpus * task.price

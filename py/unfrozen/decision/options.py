"""The four ways to a model that does the task, each measured by the same numbers.

A prompt needs no training. Its keys and values are kept, and every token of every answer reads them
again: that is what it takes. All numbers are of all tasks together, but `device_bytes`, which is of
one card while it trains.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from unfrozen.decision.choices import Choice, config_of
from unfrozen.decision.evidence import rank_for, room_tokens, trained_parameters
from unfrozen.decision.serving import (
    PROMPT_TOKENS,
    Storage,
    cache_bytes,
    copies,
    on_4_bits,
    on_16_bits,
    prompt_tokens,
    prompts,
)
from unfrozen.decision.training import METHODS, Way, best_way
from unfrozen.hardware.gpus import find
from unfrozen.memory.overhead import CONTEXT_BYTES
from unfrozen.units import GB

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
    """One method for one choice.

    fits          the cards can train it; of a prompt: they can run the model
    lacks         HAS_ROOM, LACKS_ROOM or LEARNS_NOTHING of what is to be learned, see `evidence`
    serves        the same cards hold the models of all tasks at once, ready to answer
    rank          of the adapters; 0 where there are none
    trained       weights that train
    room_tokens   tokens of data that they have room for; 0 for a prompt
    device_bytes  what one card holds
    hours         on all the cards; `card_hours`, `kwh` and `cost` follow from them
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
    card_hours: float
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
        """Whether the cards can train it and it has room for what is to be learned."""
        return self.fits and self.lacks == HAS_ROOM


def options(choice: Choice) -> list[Option]:
    """All four, in the order of `KEYS`."""
    return [option(key, choice) for key in KEYS]


def option(key: str, choice: Choice) -> Option:
    """One of them."""
    return _prompt(choice) if key == "prompt" else _trained(key, choice)


def serving_room_bytes(choice: Choice) -> int:
    """What all cards together have for weights and prompts: each keeps the driver's context and
    the keys and values of a request being answered.
    """
    return choice.gpus * _card_room_bytes(choice.model, choice.gpu)


@lru_cache(maxsize=1024)
def _card_room_bytes(model: str, gpu: str) -> int:
    return find(gpu).capacity_bytes - CONTEXT_BYTES - _request_bytes(model)


@lru_cache(maxsize=64)
def _request_bytes(model: str) -> int:
    """Keys and values of one request."""
    return PROMPT_TOKENS * cache_bytes(config_of(model))


def _trained(key: str, choice: Choice) -> Option:
    rank, learns, trained = _size(key, choice.model, choice.tokens, choice.learn)
    way = best_way(key, choice.model, choice.gpu, choice.gpus, rank)
    hours = way.seconds_a_token * choice.tokens * choice.tasks / 3600
    storage = _storage(key, choice.model, rank)
    return Option(
        key=key,
        fits=way.fits,
        lacks=HAS_ROOM if learns else LACKS_ROOM,
        serves=storage.at(choice.tasks) <= serving_room_bytes(choice),
        rank=rank,
        trained=trained,
        room_tokens=room_tokens(trained),
        device_bytes=way.plan.device_bytes,
        hours=hours,
        card_hours=hours * choice.gpus,
        kwh=hours * way.kilowatts,
        cost=_cost(hours, choice),
        storage=storage,
        way=way,
    )


@lru_cache(maxsize=8192)
def _size(key: str, name: str, tokens: int, learn: str) -> tuple[int, bool, int]:
    """Rank, whether there is room for the data, and how many weights train."""
    model = config_of(name)
    if key == "full":
        return 0, True, model.num_parameters
    rank, learns = rank_for(model, tokens, learn)
    return rank, learns, trained_parameters(model, rank)


@lru_cache(maxsize=4096)
def _storage(key: str, name: str, rank: int) -> Storage:
    """Of the tasks of a model; "prompt-4" is a prompt on the model in 4 bits."""
    model = config_of(name)
    lines: dict[str, Callable[[], Storage]] = {
        "full": lambda: copies(model),
        "lora": lambda: on_16_bits(model, rank),
        "qlora": lambda: on_4_bits(model, rank),
        "prompt": lambda: prompts(model),
        "prompt-4": lambda: prompts(model, four_bits=True),
    }
    return lines[key]()


def _prompt(choice: Choice) -> Option:
    """The model as it is, in 16 bits or, where the cards hold only that, in 4."""
    room = serving_room_bytes(choice)
    wide, narrow = (_storage(key, choice.model, 0) for key in ("prompt", "prompt-4"))
    storage = wide if wide.at(choice.tasks) <= room else narrow
    hours = prompt_seconds(choice) * choice.requests * choice.tasks / choice.gpus / 3600
    held = -(-storage.at(choice.tasks) // choice.gpus)
    return Option(
        key="prompt",
        fits=storage.at(1) <= room,
        lacks=HAS_ROOM if choice.learn == "manner" else LEARNS_NOTHING,
        serves=storage.at(choice.tasks) <= room,
        rank=0,
        trained=0,
        room_tokens=0,
        device_bytes=held + CONTEXT_BYTES + _request_bytes(choice.model),
        hours=hours,
        card_hours=hours * choice.gpus,
        kwh=hours * choice.gpus * find(choice.gpu).power_watts / 1000,
        cost=_cost(hours, choice),
        storage=storage,
        way=None,
    )


def prompt_seconds(choice: Choice) -> float:
    """Seconds of one card that a prompt adds to a request: what its answer reads of the prompt's
    keys and values, at the card's bandwidth. The weights are read once for all requests that are
    answered together, keys and values for each.
    """
    return _prompt_seconds(choice.model, choice.gpu)


@lru_cache(maxsize=1024)
def _prompt_seconds(name: str, gpu: str) -> float:
    model, bandwidth = config_of(name), find(gpu).bandwidth_gb_s
    assert bandwidth is not None
    return ANSWER_TOKENS * prompt_tokens(model) * cache_bytes(model) / (GB * bandwidth)


def _cost(hours: float, choice: Choice) -> float | None:
    return None if choice.price is None else hours * choice.gpus * choice.price

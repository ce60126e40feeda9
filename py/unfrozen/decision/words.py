"""The decision in sentences: why a method stands where it stands, and what would move it."""

from __future__ import annotations

from typing import Final

from unfrozen.decision.choices import Choice, as_state, config_of
from unfrozen.decision.evidence import RANKS
from unfrozen.decision.flips import Flip
from unfrozen.decision.options import (
    ANSWER_TOKENS,
    HAS_ROOM,
    LEARNS_NOTHING,
    Option,
    prompt_seconds,
    serving_room_bytes,
)
from unfrozen.decision.ranking import WORTH_CARD_HOURS, decided_by, sort_keys
from unfrozen.decision.serving import prompt_tokens
from unfrozen.decision.training import EIGHT_BIT, EXACT, ROUNDED
from unfrozen.hardware.gpus import find
from unfrozen.plan.record import overall
from unfrozen.planner.controls import Json
from unfrozen.planner.sizes import duration_text
from unfrozen.units import format_bytes, format_count, gib, sig3, small

_NUMBERS: Final = {
    EXACT: "fp32 weights and moments, products in bf16",
    ROUNDED: "bf16 weights and moments, updates rounded at random",
    EIGHT_BIT: "bf16 weights, moments of a byte, updates rounded at random",
}
_NOT_LOW: Final = "a larger rank would be as wide as the matrices themselves"
_RULE: Final = (
    "First come methods that fit, then those with room for what is to be learned, then those whose"
    " tasks the same cards can hold ready together."
)
NOTE: Final = (
    f"Times are estimates; {overall()}. Room is counted at two bits a trained weight and one bit a"
    " token."
)
_WANTED: Final = {
    "enough": f"Among equals, more than {WORTH_CARD_HOURS:g} card-hour saved decides; below that,"
    " what has fewer parts.",
    "most": "Among equals, what has the most room to learn.",
    "keep": "Among equals, what changes the model least.",
}


def title(best: Option) -> str:
    """The answer."""
    if not best.fits:
        return "None of them fits."
    if best.lacks == LEARNS_NOTHING:
        return "Nothing that fits can learn this."
    short = "" if best.lacks == HAS_ROOM else ", with too little room"
    return f"{name(best)}{short}."


def name(option: Option) -> str:
    """A method with its rank: "LoRA, rank 16"."""
    return f"{option.label}, rank {option.rank}" if option.rank else option.label


def verdict(found: list[Option], choice: Choice) -> str:
    """Why the first method comes before the second."""
    best, second = found[:2]
    question = decided_by(best, second, sort_keys(found, choice.want))
    taste = {
        "enough": f"{second.label} can do it too, and less than {WORTH_CARD_HOURS:g} card-hour lies"
        f" between them. {best.label} has fewer parts.",
        "most": f"{second.label} can do it too. {best.label} has the most room to learn.",
        "keep": f"{second.label} can do it too. {best.label} changes the model less.",
    }
    return {
        "fits": f"{second.label} does not fit: {fits(second, choice)}",
        "learns": f"{second.label} falls short: {learns(second, choice)}",
        "serves": f"{second.label} can do it too, but cannot answer for all tasks at once:"
        f" {serves(second, choice)}",
        "worth": f"{second.label} can do it too, and takes {_hours(second)} card-hours to"
        f" {_hours(best)}.",
        "taste": taste[choice.want],
    }[question]


def rule(choice: Choice) -> str:
    """How the methods are ranked, in words."""
    return f"{_RULE} {_WANTED[choice.want]}"


def checks(option: Option, choice: Choice) -> list[Json]:
    """The three questions a method must pass, each answered with its numbers."""
    asked = (
        (option.fits, "Fits", "Does not fit", fits),
        (option.lacks == HAS_ROOM, "Learns it", "Falls short", learns),
        (option.serves, "Serves all", "Serves one at a time", serves),
    )
    return [
        {"good": good, "label": yes if good else no, "text": tell(option, choice)}
        for good, yes, no, tell in asked
    ]


def fits(option: Option, choice: Choice) -> str:
    """Whether the cards can train it."""
    need, room = sig3(gib(option.device_bytes)), sig3(gib(find(choice.gpu).capacity_bytes))
    each = "a card" if choice.gpus == 1 else "each card"
    if option.way is None:
        return f"to answer, {each} holds {need} of {room} GiB."
    if not option.fits:
        return f"to train, {each} would hold {need} GiB and has {room}."
    closely = ", narrowly: the planner's error band reaches past the edge"
    closely = closely if option.way.narrow else ""
    return f"to train, {each} holds {need} of {room} GiB{closely}."


def learns(option: Option, choice: Choice) -> str:
    """Whether it has room for what is to be learned."""
    if option.key == "prompt":
        tokens = prompt_tokens(config_of(choice.model))
        if option.lacks == LEARNS_NOTHING:
            return f"a prompt of {tokens:,} tokens shows a manner; it teaches nothing new."
        return f"a prompt of {tokens:,} tokens can show the manner, if the model can do the rest."
    trained, room = format_count(option.trained), format_count(option.room_tokens)
    data = format_count(choice.tokens)
    if option.key == "full":
        return f"all {trained} weights train; there is no rank to choose."
    has = f"{trained} weights train, with room for {room} tokens"
    if option.lacks == HAS_ROOM:
        return f"{has}; you have {data}."
    why = "no larger rank was ever compared" if option.rank == RANKS[-1] else _NOT_LOW
    return f"{has}, and you have {data}; {why}."


def serves(option: Option, choice: Choice) -> str:
    """Whether the same cards hold all tasks at once."""
    held = format_bytes(option.storage.at(choice.tasks), binary=False)
    room = format_bytes(max(0, serving_room_bytes(choice)), binary=False)
    tasks = "one task takes" if choice.tasks == 1 else f"{choice.tasks:,} tasks take"
    if option.serves:
        return f"ready to answer, {tasks} {held} of the {room} your cards have for weights."
    return f"ready to answer, {tasks} {held}, and your cards have {room} for weights."


def recipe(option: Option, choice: Choice) -> str:
    """How it would be done."""
    way = option.way
    if way is None:
        milliseconds = sig3(1000 * prompt_seconds(choice))
        return (
            f"The prompt's keys and values are kept; an answer of {ANSWER_TOKENS} tokens reads them"
            f" {ANSWER_TOKENS} times, {milliseconds} ms of a card."
        )
    base = {"lora": "the model frozen in 16 bits", "qlora": "the model frozen in 4 bits"}
    parts = [base.get(option.key, _NUMBERS[way.rung])]
    if option.rank:
        parts.append("fp32 adapters beside every linear layer")
    if way.sharded:
        parts.append(f"shared out over {choice.gpus} cards (ZeRO-3)")
    elif choice.gpus > 1:
        parts.append(f"a copy on each of {choice.gpus} cards")
    if way.recomputes:
        parts.append("layers recomputed")
    text = ", ".join(parts)
    return f"{text[:1].upper()}{text[1:]}."


def numbers(option: Option, choice: Choice) -> list[Json]:
    """What it takes: a label, a text and a note each."""
    of = f"of {sig3(gib(find(choice.gpu).capacity_bytes))} on each card"
    told = [
        ("Memory", f"{sig3(gib(option.device_bytes))} GiB", of),
        (
            "Training" if option.way else "Answers",
            duration_text(3600 * option.hours),
            f"{_hours(option)} card-hours",
        ),
        ("Energy", f"{small(option.kwh)} kWh", "the cards alone, at their limit"),
        ("Disk", format_bytes(option.storage.at(choice.tasks), binary=False), "for all tasks"),
    ]
    if option.cost is not None:
        told.insert(3, ("Cost", small(option.cost), "in the currency of your price"))
    return [{"label": label, "text": text, "note": note} for label, text, note in told]


def flip_json(flip: Flip, choice: Choice) -> Json:
    """A change in words, and the state after it."""
    return {"text": flip_text(flip, choice), "state": as_state(flip.applied(choice))}


def flip_text(flip: Flip, choice: Choice) -> str:
    """A change in words: "with 2 more cards", "from 4 tasks on"."""
    value = flip.value
    if isinstance(value, str):
        return {
            "gpu": f"on {value}",
            "model": f"with {value.rpartition('/')[2]}",
            "learn": "for new matter" if value == "matter" else "for a manner only",
            "want": {"enough": "if good enough will do", "most": "to learn as much as it can"}.get(
                value, "to forget as little as possible"
            ),
        }[flip.key]
    more = value - int(getattr(choice, flip.key))
    if flip.key == "gpus":
        cards = "card" if abs(more) == 1 else "cards"
        return f"with {abs(more)} {'more' if more > 0 else 'fewer'} {cards}"
    noun = {"tasks": "task", "tokens": "token", "requests": "request"}[flip.key]
    counted = f"{value:,} {noun}{'' if value == 1 else 's'}"
    return f"from {counted} on" if more > 0 else f"up to {counted}"


def _hours(option: Option) -> str:
    return small(option.card_hours)

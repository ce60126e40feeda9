"""The decision in sentences: why a method has its place, what would move it, and what to type."""

from __future__ import annotations

from typing import Final

from unfrozen.decision.evidence import RANKS
from unfrozen.decision.options import (
    ANSWER_TOKENS,
    EIGHT_BIT,
    EXACT,
    HAS_ROOM,
    LEARNS_NOTHING,
    ROUNDED,
    Option,
    prompt_seconds,
    prompt_tokens,
    serving_room_bytes,
)
from unfrozen.decision.ranking import WORTH_GPU_HOURS, Flip, decided_by, sort_keys
from unfrozen.decision.task import Task, as_state, config_of
from unfrozen.hardware import find
from unfrozen.plan.record import half_within
from unfrozen.planner.commands import commands as planner_commands
from unfrozen.planner.controls import Json
from unfrozen.planner.state import State
from unfrozen.units import (
    NO_BREAK,
    format_bytes,
    format_count,
    format_duration,
    format_positive,
    gib,
    sig3,
)

_NUMBERS: Final = {
    EXACT: "fp32 weights and optimizer states, bf16 matmuls",
    ROUNDED: "bf16 weights and optimizer states, stochastic rounding",
    EIGHT_BIT: "bf16 weights, 8-bit optimizer states, stochastic rounding",
}
_NOT_LOW: Final = "a larger rank would be as wide as the matrices themselves"
_RULE: Final = (
    "First come methods that fit, then those with room for what is to be learned, then those whose"
    " tasks the same GPUs can serve together."
)
NOTE: Final = (
    "Times are estimates; beside each stands what half of the estimates for published runs of its"
    " kind stayed within. Room is counted at two bits a trained weight and one bit a token."
)
_WANTED: Final = {
    "enough": f"Among equals, more than {WORTH_GPU_HOURS:g} GPU-hour saved decides; below that,"
    " what has fewer parts.",
    "most": "Among equals, what has the most room to learn.",
    "keep": "Among equals, what changes the model least.",
}


def title(best: Option) -> str:
    """Return the answer as a headline."""
    if not best.fits:
        return "None of them fits."
    if best.lacks == LEARNS_NOTHING:
        return "Nothing that fits can learn this."
    short = "" if best.lacks == HAS_ROOM else ", with too little room"
    return f"{name(best)}{short}."


def name(option: Option) -> str:
    """Return the name of a method with its rank: "LoRA, rank 16"."""
    return f"{option.label}, rank {option.rank}" if option.rank else option.label


def verdict(found: list[Option], task: Task) -> str:
    """Return why the first method comes before the second."""
    best, second = found[:2]
    question = decided_by(best, second, sort_keys(found, task.want))
    taste = {
        "enough": f"{second.label} can do it too, and less than {WORTH_GPU_HOURS:g} GPU-hour lies"
        f" between them. {best.label} has fewer parts.",
        "most": f"{second.label} can do it too. {best.label} has the most room to learn.",
        "keep": f"{second.label} can do it too. {best.label} changes the model less.",
    }
    return {
        "fits": f"{second.label} does not fit: {fits(second, task)}",
        "learns": f"{second.label} falls short: {learns(second, task)}",
        "serves": f"{second.label} can do it too, but cannot answer for all tasks at once:"
        f" {serves(second, task)}",
        "worth": f"{second.label} can do it too, and takes {_hours(second)} GPU-hours to"
        f" {_hours(best)}.",
        "taste": taste[task.want],
    }[question]


def rule(task: Task) -> str:
    """Return a sentence on how the methods are ranked."""
    return f"{_RULE} {_WANTED[task.want]}"


def checks(option: Option, task: Task) -> list[Json]:
    """Return the three questions a method must pass, each answered with its numbers."""
    asked = (
        (option.fits, "Fits", "Does not fit", fits),
        (option.lacks == HAS_ROOM, "Learns it", "Falls short", learns),
        (option.serves, "Serves all", "Serves one at a time", serves),
    )
    return [
        {"good": good, "label": yes if good else no, "text": tell(option, task)}
        for good, yes, no, tell in asked
    ]


def fits(option: Option, task: Task) -> str:
    """Return a sentence on whether the GPUs can train it."""
    need, room = sig3(gib(option.device_bytes)), sig3(gib(find(task.gpu).capacity_bytes))
    each = "a GPU" if task.gpus == 1 else "each GPU"
    if option.way is None:
        return f"to answer, {each} holds {need} of {room} GiB."
    if not option.fits:
        safe = sig3(gib(option.way.plan.safe_bytes))
        return f"to train, {each} would need {safe} GiB and has {room}."
    return f"to train, {each} holds {need} of {room} GiB."


def learns(option: Option, task: Task) -> str:
    """Return a sentence on whether it has room for what is to be learned."""
    if option.key == "prompt":
        tokens = prompt_tokens(config_of(task.model))
        if option.lacks == LEARNS_NOTHING:
            return f"a prompt of {tokens:,} tokens shows a style or format; it teaches nothing new."
        shows = f"a prompt of {tokens:,} tokens can show the style or format"
        return f"{shows}, if the model can do the rest."
    trained, room = format_count(option.trained), format_count(option.room_tokens)
    data = format_count(task.tokens)
    if option.key == "full":
        return f"all {trained} weights train; there is no rank to choose."
    has = f"{trained} weights train, with room for {room} tokens"
    if option.lacks == HAS_ROOM:
        return f"{has}; you have {data}."
    why = "no larger rank was ever compared" if option.rank == RANKS[-1] else _NOT_LOW
    return f"{has}, and you have {data}; {why}."


def serves(option: Option, task: Task) -> str:
    """Return a sentence on whether the same GPUs hold all tasks at once."""
    held = format_bytes(option.storage.at(task.tasks), binary=False)
    room = format_bytes(max(0, serving_room_bytes(task)), binary=False)
    tasks = "one task takes" if task.tasks == 1 else f"{task.tasks:,} tasks take"
    if option.serves:
        return f"ready to answer, {tasks} {held} of the {room} your GPUs have for weights."
    return f"ready to answer, {tasks} {held}, and your GPUs have {room} for weights."


def recipe(option: Option, task: Task) -> str:
    """Return a sentence on how the method would train or answer."""
    way = option.way
    if way is None:
        milliseconds = sig3(1000 * prompt_seconds(task))
        return (
            "The prompt's keys and values are cached; an answer of"
            f" {ANSWER_TOKENS} tokens reads them {ANSWER_TOKENS} times, {milliseconds} ms of a GPU."
        )
    base = {"lora": "the model frozen in bf16", "qlora": "the model frozen in 4 bits"}
    parts = [base.get(option.key, _NUMBERS[way.rung])]
    if option.rank:
        parts.append("fp32 adapters beside every linear layer")
    if way.sharded:
        parts.append(f"sharded over {task.gpus} GPUs (ZeRO-3)")
    elif task.gpus > 1:
        parts.append(f"a copy on each of {task.gpus} GPUs")
    if way.recomputes:
        parts.append("activation checkpointing")
    text = ", ".join(parts)
    return f"{text[:1].upper()}{text[1:]}."


def numbers(option: Option, task: Task) -> list[Json]:
    """Return the numbers of an option: a label, a text and a note each."""
    of = f"of {sig3(gib(find(task.gpu).capacity_bytes))} on each GPU"
    found = [
        ("Memory", f"{sig3(gib(option.device_bytes))} GiB", of),
        (
            "Training" if option.way else "Answers",
            format_duration(3600 * option.hours, space=NO_BREAK),
            _hours_text(option),
        ),
        ("Energy", f"{format_positive(option.kwh)} kWh", "the GPUs alone, at their limit"),
        ("Disk", format_bytes(option.storage.at(task.tasks), binary=False), "for all tasks"),
    ]
    if option.cost is not None:
        found.insert(3, ("Cost", format_positive(option.cost), "in the currency of your price"))
    return [{"label": label, "text": text, "note": note} for label, text, note in found]


def flip_json(flip: Flip, task: Task) -> Json:
    """Return the text of a change, and the state after it."""
    return {"text": flip_text(flip, task), "state": as_state(flip.apply(task))}


def flip_text(flip: Flip, task: Task) -> str:
    """Return the text of a change: "with 2 more GPUs", "from 4 tasks on"."""
    value = flip.value
    if isinstance(value, str):
        return {
            "gpu": f"on {value}",
            "model": f"with {value.rpartition('/')[2]}",
            "learn": "for new knowledge" if value == "knowledge" else "for style and format only",
            "want": {"enough": "if good enough will do", "most": "to learn as much as it can"}.get(
                value, "to forget as little as possible"
            ),
        }[flip.key]
    more = value - int(getattr(task, flip.key))
    if flip.key == "gpus":
        noun = "GPU" if abs(more) == 1 else "GPUs"
        return f"with {abs(more)} {'more' if more > 0 else 'fewer'} {noun}"
    noun = {"tasks": "task", "tokens": "token", "requests": "request"}[flip.key]
    counted = f"{value:,} {noun}{'' if value == 1 else 's'}"
    return f"from {counted} on" if more > 0 else f"up to {counted}"


def _hours(option: Option) -> str:
    return format_positive(option.gpu_hours)


def _hours_text(option: Option) -> str:
    """Return the GPU-hours and, of training, how far estimates of the same kind were off."""
    text = f"{_hours(option)} GPU-hours"
    if option.way is None:
        return text
    return f"{text}, {half_within(option.way.plan.job)}"


_ALPHA: Final = 32
"""What "LoRA Without Regret" scales by at every rank."""
_RATE: Final = (
    "The runner trains every weight, so this is for PEFT. Start at ten times the learning rate of"
    " full fine-tuning."
)
_FOUR_BITS: Final = """\
quantization = BitsAndBytesConfig(
    load_in_4bit=True,
    bnb_4bit_quant_type="nf4",
    bnb_4bit_use_double_quant=True,
    bnb_4bit_compute_dtype=torch.bfloat16,
)
"""


def planner_state(option: Option, task: Task) -> State | None:
    """Return the state in which the planner shows this way to train one task; None for a prompt."""
    if option.way is None:
        return None
    state = option.way.state | {"tokens": str(task.tokens)}
    return state | ({"price": f"{task.price:g}"} if task.price is not None else {})


def command(option: Option, task: Task) -> Json | None:
    """Return what to type for one task, and a note on it; None for a prompt."""
    state = planner_state(option, task)
    if option.way is None or state is None:
        return None
    if option.key != "full":
        return {"text": _settings(option), "note": _RATE}
    found = planner_commands(option.way.plan, option.way.state, "GiB")
    differs = found["differs"]
    assert isinstance(differs, list)
    note = f"Differs from the plan: {'; '.join(differs)}." if differs else ""
    return {"text": found["run"], "note": " ".join(filter(None, (str(found["where"]), note)))}


def _settings(option: Option) -> str:
    lines = [
        "adapters = LoraConfig(",
        f'    r={option.rank}, lora_alpha={_ALPHA}, target_modules="all-linear"',
        ")",
    ]
    text = "\n".join(lines)
    return _FOUR_BITS + text if option.key == "qlora" else text

"""Five kinds of exercise, each drawn from the catalogue, the recipes and the usual lengths.

A kind may draw a job that is no fair question; `compute_it` then draws again.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

from unfrozen.catalogue import Published
from unfrozen.exercises.exercise import (
    Exercise,
    Given,
    Hint,
    See,
    Slip,
    any_model,
    count,
    listed,
    name_of,
    several,
    size,
    trimmed,
)
from unfrozen.job import Job
from unfrozen.memory.states import STATE_TABLE, StateRow
from unfrozen.plan import plan_job

_RECIPES: Final[dict[str, dict[str, object]]] = {
    "AdamW, mixed precision": {},
    "AdamW, fp32 and autocast": {"params": "fp32"},
    "AdamW, fp32 main gradients": {"grads": "fp32"},
    "AdamW, 8-bit moments": {"moments": "int8"},
    "AdamW, pure bf16": {"master": None, "moments": "bf16"},
    "AdamW, pure bf16, 8-bit moments": {"master": None, "moments": "int8"},
    "SGD with momentum": {"optimizer": "sgd_momentum"},
    "SGD": {"optimizer": "sgd"},
    "Adafactor": {"optimizer": "adafactor"},
}
_ROWS: Final = tuple(row for row in STATE_TABLE if row.recipe in _RECIPES)
_STATES: Final = ("params", "grads", "master", "moments")
_LENGTHS: Final = (512, 1024, 2048, 4096, 8192)
_TABLE: Final = See("#fig-optimizers", "The table of recipes")


def _parts(row: StateRow) -> dict[str, float]:
    """Bytes a parameter by what keeps them; what a recipe does not keep is left out."""
    named = {"weights": row.params, "gradients": row.grads}
    named |= {"master copy": row.master, "moments": row.moments}
    return {name: each for name, each in named.items() if each}


def _counted(parts: dict[str, float]) -> str:
    """Parts in words: "weights 2, gradients 2 and moments 8"."""
    return listed([f"{name} {trimmed(each)}" for name, each in parts.items()])


def _those_of(parts: dict[str, float], each: float) -> str:
    """The parts of one size, any of which may have been left out."""
    return " or ".join(f"the {name}" for name, size in parts.items() if size == each)


def _model_given(published: Published) -> Given:
    parameters = count(published.num_parameters)
    return (("Model", name_of(published)), ("Parameters", parameters))


def _batch_given(published: Published, micro_batch: int, seq_len: int) -> Given:
    batch = f"{several(micro_batch, 'sequence')} of {seq_len:,} tokens"
    return (("Model", name_of(published)), ("Batch", batch))


def states(chance: Random) -> Exercise:
    """Bytes a parameter times parameters."""
    published, row = any_model(chance), chance.choice(_ROWS)
    parts, number = _parts(row), published.num_parameters
    each = sum(parts.values())
    slips = [
        Slip((each - part) * number, f"That is what you get without {_those_of(parts, part)}.")
        for part in dict.fromkeys(parts.values())
    ]
    return Exercise(
        "states",
        "When every gradient is there, what do weights, gradients and optimizer hold together?",
        (*_model_given(published), ("Recipe", row.recipe)),
        Job.read({"model": published.config, "recipe": _RECIPES[row.recipe]}),
        "optimizer_step",
        _STATES,
        each * number,
        (
            Hint("Find out how many bytes this recipe keeps for each parameter.", _TABLE),
            Hint(f"It keeps {_counted(parts)}: {trimmed(each)} bytes in all."),
            Hint(f"Multiply: {trimmed(each)} bytes × {count(number)} parameters."),
        ),
        tuple(slips),
    )


def sharded(chance: Random) -> Exercise:
    """The same on each of several cards, under a stage of ZeRO."""
    published, row = any_model(chance), chance.choice(_ROWS)
    stage, cards = chance.randint(1, 3), chance.choice((2, 4, 8, 16, 32, 64))
    parts, number = _parts(row), published.num_parameters
    each = {s: _per_card(parts, s, cards) for s in range(4)}
    cluster = {"gpus": cards, "sharding": f"zero{stage}"}
    others = {s: size for s, size in each.items() if size != each[stage]}
    slips = [Slip(size * number, f"That is stage {s}.") for s, size in others.items() if s]
    if 0 in others:
        slips.append(Slip(each[0] * number, "That is what a card holds that shares nothing."))
    see = See("#fig-zero-curve", "What more cards buy")
    return Exercise(
        "sharded",
        "What do weights, gradients and optimizer hold on each card when every gradient is there?",
        (
            *_model_given(published),
            ("Recipe", row.recipe),
            ("Cards", f"{cards} that share by ZeRO, stage {stage}"),
        ),
        Job.read({"model": published.config, "recipe": _RECIPES[row.recipe], "cluster": cluster}),
        "optimizer_step",
        _STATES,
        each[stage] * number,
        (
            Hint("Find out which parts this stage divides, and which stay whole.", see),
            Hint(_share_words(parts, stage, cards)),
            Hint(f"Multiply: {trimmed(each[stage])} bytes × {count(number)} parameters."),
        ),
        tuple(slips),
    )


_DIVIDED_FROM: Final = {"master copy": 1, "moments": 1, "gradients": 2, "weights": 3}


def _per_card(parts: dict[str, float], stage: int, cards: int) -> float:
    """Bytes a parameter on each card."""
    return sum(
        each / cards if stage >= _DIVIDED_FROM[name] else each for name, each in parts.items()
    )


def _share_words(parts: dict[str, float], stage: int, cards: int) -> str:
    """What stays whole and what is divided, in bytes a parameter."""
    whole = {name: each for name, each in parts.items() if stage < _DIVIDED_FROM[name]}
    divided = {name: each for name, each in parts.items() if name not in whole}
    stays = f"Whole on every card: {_counted(whole)}. " if whole else "Nothing stays whole. "
    if not divided:
        return f"{stays}This recipe keeps nothing that stage {stage} could divide."
    total = trimmed(sum(divided.values()))
    return f"{stays}Divided: {_counted(divided)}, together {total} bytes ÷ {cards} cards."


def logits(chance: Random) -> Exercise:
    """Tokens times vocabulary, and what the loss makes of them."""
    published = any_model(chance)
    micro_batch, seq_len = chance.randint(1, 8), chance.choice(_LENGTHS)
    bits, kind, each = chance.choice(((32, "logits_fp32", 12), (16, "logits_bf16", 6)))
    recipe = {"micro_batch": micro_batch, "seq_len": seq_len, "loss": kind}
    job = Job.read({"model": published.config, "recipe": recipe})
    vocabulary, width = job.model.architecture.vocab, job.model.architecture.hidden
    scores = job.recipe.tokens * vocabulary
    one = bits // 8
    return Exercise(
        "logits",
        "What do the logits and their loss hold when the forward pass ends?",
        (
            *_batch_given(published, micro_batch, seq_len),
            ("Vocabulary", f"{vocabulary:,} words"),
            ("Loss", f"from whole logits, in {bits} bits"),
        ),
        job,
        "end_of_forward",
        ("logits_loss",),
        each * scores,
        (
            Hint(
                "Every token gets a score for every word of the vocabulary.",
                See("#the-logits", "The logits"),
            ),
            Hint(f"That is {job.recipe.tokens:,} × {vocabulary:,}: {count(scores)} scores."),
            Hint(
                f"The loss holds three matrices of {one} bytes a score, {each} bytes in all: the"
                " logarithms of the probabilities, the gradient of those, and that of the scores."
            ),
            Hint(f"Multiply: {each} bytes × {count(scores)} scores."),
        ),
        (
            Slip(2 * scores, "That is the scores as they leave the last matrix, 2 bytes each."),
            Slip(4 * scores, "That is a single matrix in 32 bits."),
            Slip(2 * vocabulary * width, "That is the last matrix itself, not what it computes."),
        ),
    )


_OUTSIDE: Final = 4  # vectors a token: what a norm keeps in 32 and in 16 bits, the head's input


def recomputed(chance: Random) -> Exercise:
    """The input of every layer."""
    published = any_model(chance)
    micro_batch, seq_len = chance.randint(1, 8), chance.choice(_LENGTHS)
    recipe = {"micro_batch": micro_batch, "seq_len": seq_len, "checkpointing": "full"}
    job = Job.read({"model": published.config, "recipe": recipe})
    a, tokens = job.model.architecture, job.recipe.tokens
    row, kept = 2 * a.hidden, a.layers + _OUTSIDE
    return Exercise(
        "recomputed",
        "What do the activations hold when the forward pass ends?",
        (
            *_batch_given(published, micro_batch, seq_len),
            ("Shape", f"{a.layers} layers of width {a.hidden:,}"),
            ("Recipe", "16-bit numbers, every layer recomputed"),
        ),
        job,
        "end_of_forward",
        ("activations",),
        row * tokens * kept,
        (
            Hint(
                "Recomputation keeps one thing of each layer: its input.",
                See("#fig-rule-checked", "The rule of thumb, checked"),
            ),
            Hint(f"For each token that is a vector of {a.hidden:,} numbers: {row:,} bytes."),
            Hint(
                "Behind the layers, the last normalisation and the last matrix keep"
                f" {several(_OUTSIDE, 'vector')} more: {kept} vectors a token."
            ),
            Hint(f"Multiply: {row:,} bytes × {kept} vectors × {tokens:,} tokens."),
        ),
        (
            Slip(12 * a.hidden * tokens * a.layers, "That is the rule of thumb: nothing recomputed."),
            Slip(row * tokens, "That is the input of a single layer."),
            Slip(2 * row * tokens * kept, "That is in 32 bits. These numbers have 16."),
        ),
    )


def highest(chance: Random) -> Exercise | None:
    """The larger of two moments; None where the step is highest at a third."""
    published = any_model(chance)
    micro_batch, seq_len = chance.randint(1, 4), chance.choice(_LENGTHS)
    recipe = {"micro_batch": micro_batch, "seq_len": seq_len}
    job = Job.read({"model": published.config, "recipe": recipe})
    found = plan_job(job)
    forward = found.instants["end_of_forward"]
    passing = forward["activations"] + forward["logits_loss"]
    number = published.num_parameters
    if found.peak_instant == "backward" or "workspace" in forward:
        return None
    early, late = 14 * number + passing, 16 * number
    smaller, when = min((early, "when the forward pass ends"), (late, "when weights are updated"))
    return Exercise(
        "highest",
        "What do the tensors of this step hold at its highest moment?",
        (
            *_model_given(published),
            ("Recipe", "AdamW, mixed precision"),
            ("Activations and logits", f"{size(passing)} when the forward pass ends"),
        ),
        job,
        found.peak_instant,
        tuple(found.instants[found.peak_instant]),
        max(early, late),
        (
            Hint("Not everything is there at once.", See("#fig-peaks", "The peak of each step")),
            Hint(
                "When the forward pass ends there are activations and logits, and no gradients:"
                f" 14 bytes × {count(number)} parameters, and {size(passing)}."
            ),
            Hint(
                "When weights are updated there are gradients, and no activations:"
                f" 16 bytes × {count(number)} parameters."
            ),
            Hint(f"Take the larger of {size(early)} and {size(late)}."),
        ),
        (
            Slip(late + passing, "That adds gradients to activations, which never meet in full."),
            Slip(smaller, f"That is what the step holds {when}. Another moment holds more."),
            Slip(passing, "That is the activations and logits alone."),
        ),
    )


KINDS: Final[tuple[Callable[[Random], Exercise | None], ...]] = (
    states,
    logits,
    highest,
    sharded,
    recomputed,
)
"""In the order in which seeds take turns."""

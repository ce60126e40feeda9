"""The kinds of exercises: states between two steps, and transient memory within one.

States are weights, gradients and optimizer, whole or sharded; within a step come logits, recomputed
layers and the peak. A kind returns None where the job it drew makes no fair question.
"""

from __future__ import annotations

from random import Random
from typing import Final

from unfrozen.exercises.exercise import (
    Exercise,
    Given,
    Hint,
    See,
    Slip,
    any_model,
    count,
    format_number,
    format_quantity,
    in_bytes,
    join_parts,
    model_given,
    name_of,
    size,
)
from unfrozen.job import Job
from unfrozen.memory.states import STATE_TABLE, StateRow
from unfrozen.model.catalogue import PublishedModel
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
_DIVIDED_FROM: Final = {"master copy": 1, "moments": 1, "gradients": 2, "weights": 3}
_TABLE: Final = See("#fig-optimizers", "The table of recipes")
_CURVE: Final = See("#fig-zero-curve", "What more GPUs buy")

Parts = dict[str, float]
"""Bytes a parameter by what keeps them."""


def states(chance: Random) -> Exercise:
    """Return an exercise on bytes per parameter times parameters."""
    published, row = any_model(chance), chance.choice(_ROWS)
    parts, number = _parts(row), published.num_parameters
    each = sum(parts.values())
    return Exercise(
        "states",
        "When every gradient is there, what do weights, gradients and optimizer hold together?",
        (*model_given(published), ("Recipe", row.recipe)),
        Job.read({"model": published.config, "recipe": _RECIPES[row.recipe]}),
        "optimizer_step",
        _STATES,
        each * number,
        (
            Hint("Find out how many bytes this recipe keeps for each parameter.", _TABLE),
            Hint(f"It keeps {_counted(parts)}: {in_bytes(each)} in all."),
            _multiply(each, number),
        ),
        tuple(
            Slip((each - part) * number, f"That is what you get without {_those_of(parts, part)}.")
            for part in dict.fromkeys(parts.values())
        ),
    )


def sharded(chance: Random) -> Exercise:
    """Return an exercise on the states of each of several GPUs, under a stage of ZeRO."""
    published, row = any_model(chance), chance.choice(_ROWS)
    stage, gpus = chance.randint(1, 3), chance.choice((2, 4, 8, 16, 32, 64))
    parts, number = _parts(row), published.num_parameters
    each = _per_gpu(parts, stage, gpus)
    cluster = {"gpus": gpus, "sharding": f"zero{stage}"}
    return Exercise(
        "sharded",
        "What do weights, gradients and optimizer hold on each GPU when every gradient is there?",
        (
            *model_given(published),
            ("Recipe", row.recipe),
            ("GPUs", f"{gpus} that share by ZeRO, stage {stage}"),
        ),
        Job.read({"model": published.config, "recipe": _RECIPES[row.recipe], "cluster": cluster}),
        "optimizer_step",
        _STATES,
        each * number,
        (
            Hint("Find out which parts this stage divides, and which stay whole.", _CURVE),
            Hint(_sharding_hint(parts, stage, gpus)),
            _multiply(each, number),
        ),
        tuple(_stage_slips(parts, stage, gpus, number)),
    )


def _parts(row: StateRow) -> Parts:
    """Return the bytes per parameter of a recipe's states; absent states are left out."""
    named = {"weights": row.params, "gradients": row.grads}
    named |= {"master copy": row.master, "moments": row.moments}
    return {name: each for name, each in named.items() if each}


def _counted(parts: Parts) -> str:
    """Return the parts with their bytes: "weights 2, gradients 2 and moments 8"."""
    return join_parts([f"{name} {format_number(each)}" for name, each in parts.items()])


def _those_of(parts: Parts, each: float) -> str:
    """Return the parts of one size, any of which may have been left out."""
    return " or ".join(f"the {name}" for name, size in parts.items() if size == each)


def _multiply(each: float, number: int) -> Hint:
    return Hint(f"Multiply: {in_bytes(each)} × {count(number)} parameters.")


def _per_gpu(parts: Parts, stage: int, gpus: int) -> float:
    """Return the bytes per parameter on each GPU."""
    return sum(
        each / gpus if stage >= _DIVIDED_FROM[name] else each for name, each in parts.items()
    )


def _sharding_hint(parts: Parts, stage: int, gpus: int) -> str:
    """Return a hint on what stays whole and what is sharded, in bytes per parameter."""
    whole = {name: each for name, each in parts.items() if stage < _DIVIDED_FROM[name]}
    divided = {name: each for name, each in parts.items() if name not in whole}
    stays = f"Whole on every GPU: {_counted(whole)}. " if whole else "Nothing stays whole. "
    total = in_bytes(sum(divided.values()))
    return f"{stays}Divided: {_counted(divided)}, together {total} ÷ {gpus} GPUs."


def _stage_slips(parts: Parts, stage: int, gpus: int, number: int) -> list[Slip]:
    """Return the wrong answers that other stages, and a single GPU, would give."""
    words = ["what a GPU holds that shares nothing", *(f"stage {s}" for s in (1, 2, 3))]
    sizes = [_per_gpu(parts, other, gpus) for other in range(4)]
    return [
        Slip(size * number, f"That is {name}.")
        for name, size in zip(words, sizes, strict=True)
        if size != sizes[stage]
    ]


_LENGTHS: Final = (512, 1024, 2048, 4096, 8192)
_LOSSES: Final = ((32, "logits_fp32", 12), (16, "logits_bf16", 6))
_OUTSIDE: Final = 4  # vectors a token: what a norm keeps in 32 and in 16 bits, the head's input
_LOGITS: Final = See("#fig-losses", "The loss in four ways")
_RULE: Final = See("#fig-rule-checked", "The rule of thumb, checked")
_PEAKS: Final = See("#fig-peaks", "The peak of each step")


def logits(chance: Random) -> Exercise:
    """Return an exercise on tokens times vocabulary, and the loss."""
    published, batch = any_model(chance), _batch(chance, 8)
    bits, kind, each = chance.choice(_LOSSES)
    job = Job.read({"model": published.config, "recipe": batch | {"loss": kind}})
    vocabulary = job.model.architecture.vocab
    scores = job.recipe.tokens * vocabulary
    return Exercise(
        "logits",
        "What do the logits and their loss hold when the forward pass ends?",
        (
            *_batch_given(published, job),
            ("Vocabulary", f"{vocabulary:,} tokens"),
            ("Loss", f"from whole logits, in {bits} bits"),
        ),
        job,
        "end_of_forward",
        ("logits_loss",),
        each * scores,
        (
            Hint("Every token gets a score for every token of the vocabulary.", _LOGITS),
            Hint(f"That is {job.recipe.tokens:,} × {vocabulary:,}: {count(scores)} scores."),
            Hint(
                f"The loss holds three matrices of {bits // 8} bytes a score, {each} in all: the"
                " logarithms of the probabilities, the gradient of those, and that of the scores."
            ),
            Hint(f"Multiply: {each} bytes × {count(scores)} scores."),
        ),
        _logit_slips(job, scores),
    )


def recomputed(chance: Random) -> Exercise:
    """Return an exercise on the saved inputs of every layer."""
    published, batch = any_model(chance), _batch(chance, 8)
    job = Job.read({"model": published.config, "recipe": batch | {"checkpointing": "full"}})
    a, tokens = job.model.architecture, job.recipe.tokens
    row, kept = 2 * a.hidden, a.layers + _OUTSIDE
    return Exercise(
        "recomputed",
        "What do the activations hold when the forward pass ends?",
        (
            *_batch_given(published, job),
            ("Shape", f"{a.layers} layers of width {a.hidden:,}"),
            ("Recipe", "16-bit numbers, every layer recomputed"),
        ),
        job,
        "end_of_forward",
        ("activations",),
        row * tokens * kept,
        (
            Hint("Recomputation keeps one thing of each layer: its input.", _RULE),
            Hint(f"For each token that is a vector of {a.hidden:,} numbers: {row:,} bytes."),
            Hint(
                "Behind the layers, the last normalisation and the last matrix keep"
                f" {format_quantity(_OUTSIDE, 'vector')} more: {kept} vectors a token."
            ),
            Hint(f"Multiply: {row:,} bytes × {kept} vectors × {tokens:,} tokens."),
        ),
        (
            Slip(6 * row * tokens * a.layers, "That is the rule of thumb, all layers kept."),
            Slip(row * tokens, "That is the input of a single layer."),
            Slip(2 * row * tokens * kept, "That is in 32 bits. These numbers have 16."),
        ),
    )


def highest(chance: Random) -> Exercise | None:
    """Return an exercise on the higher of two instants; None where the step peaks at a third."""
    published, batch = any_model(chance), _batch(chance, 4)
    job = Job.read({"model": published.config, "recipe": batch})
    found = plan_job(job)
    forward = found.instants["end_of_forward"]
    passing = forward["activations"] + forward["logits_loss"]
    if found.peak_instant == "backward" or "workspace" in forward:
        return None
    early, late = 14 * published.num_parameters + passing, 16 * published.num_parameters
    return Exercise(
        "highest",
        "What do the tensors of this step hold at its highest moment?",
        (
            *model_given(published),
            ("Recipe", "AdamW, mixed precision"),
            ("Activations and logits", f"{size(passing)} when the forward pass ends"),
        ),
        job,
        found.peak_instant,
        tuple(found.instants[found.peak_instant]),
        max(early, late),
        _highest_hints(published.num_parameters, passing),
        _highest_slips(early, late, passing),
    )


def _batch(chance: Random, most: int) -> dict[str, object]:
    """Return the number of sequences and their length, as a recipe has them."""
    return {"micro_batch": chance.randint(1, most), "seq_len": chance.choice(_LENGTHS)}


def _batch_given(published: PublishedModel, job: Job) -> Given:
    recipe = job.recipe
    batch = f"{format_quantity(recipe.micro_batch, 'sequence')} of {recipe.seq_len:,} tokens"
    return (("Model", name_of(published)), ("Batch", batch))


def _logit_slips(job: Job, scores: int) -> tuple[Slip, ...]:
    a = job.model.architecture
    return (
        Slip(2 * scores, "That is the scores as they leave the last matrix, 2 bytes each."),
        Slip(4 * scores, "That is a single matrix in 32 bits."),
        Slip(2 * a.vocab * a.hidden, "That is the last matrix itself, not what it computes."),
    )


def _highest_hints(number: int, passing: int) -> tuple[Hint, ...]:
    early, late = 14 * number + passing, 16 * number
    return (
        Hint("Not everything is there at once.", _PEAKS),
        Hint(
            "When the forward pass ends there are activations and logits, and no gradients:"
            f" 14 bytes × {count(number)} parameters, and {size(passing)}."
        ),
        Hint(
            "When weights are updated there are gradients, and no activations:"
            f" 16 bytes × {count(number)} parameters."
        ),
        Hint(f"Take the larger of {size(early)} and {size(late)}."),
    )


def _highest_slips(early: int, late: int, passing: int) -> tuple[Slip, ...]:
    smaller, when = min((early, "when the forward pass ends"), (late, "when weights are updated"))
    return (
        Slip(late + passing, "That adds gradients to activations, which never meet in full."),
        Slip(smaller, f"That is what the step holds {when}. Another moment holds more."),
        Slip(passing, "That is the activations and logits alone."),
    )

"""Find the lie: what a calculator answers for a random job; which part of its peak is missing?

The calculator adds up everything but one part. The reader sees its answer, the job and the true
peak, and finds the part whose size is the gap. No other part on offer comes near that size.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import Final

from unfrozen.errors import PlanError
from unfrozen.exercises.compute_it import LARGEST_SEED, Json, check_seed
from unfrozen.exercises.exercise import DENSE, Moment, count, format_quantity, name_of, size
from unfrozen.memory.explain import explain
from unfrozen.memory.overhead import CONTEXT_BYTES
from unfrozen.memory.states import state_bytes
from unfrozen.plan import Plan, plan

_PARTS: Final = {
    "params": ("The weights", "#sixteen-bytes-a-parameter", "Sixteen bytes a parameter"),
    "master": ("The master copy", "#sixteen-bytes-a-parameter", "Sixteen bytes a parameter"),
    "moments": ("The optimizer's moments", "#fig-optimizers", "The table of recipes"),
    "activations": ("The activations", "#what-the-batch-adds", "What the batch adds"),
    "logits_loss": ("The logits and their loss", "#fig-losses", "The loss in four ways"),
    "grads": ("The gradients", "#fig-peaks", "The peak of each step"),
    "context": ("The driver's share of the GPU's memory", "#the-planner", "The planner"),
}
"""Parts on offer: the name, and where the article explains them."""

_LEAST_SHARE: Final = 0.06  # of the peak: a smaller gap is nothing to find
_APART: Final = 1.3  # a wrong part is larger or smaller than the gap by this factor
_DRAWS: Final = 1000
_RECIPES: Final[dict[str, dict[str, object]]] = {
    "AdamW in mixed precision": {},
    "AdamW in pure bf16": {"master": None, "moments": "bf16"},
    "AdamW with 8-bit moments": {"moments": "int8"},
    "SGD with momentum": {"optimizer": "sgd_momentum"},
}


@dataclass(frozen=True, slots=True)
class Lie:
    """A job, the part a calculator left out, and the parts on offer, that one among them."""

    model: str
    recipe: str
    plan: Plan
    missing: str
    offered: tuple[str, ...]

    @property
    def parts(self) -> dict[str, int]:
        """What the step holds at its peak, by part."""
        return self.plan.instants[self.plan.peak_instant]

    @property
    def gap_bytes(self) -> int:
        """What is missing."""
        return self.parts[self.missing]


@lru_cache(maxsize=64)
def lie(seed: int) -> Lie:
    """Return the lie of a seed."""
    chance = Random(check_seed(seed))
    for _ in range(_DRAWS):
        try:
            drawn = _draw(chance)
        except PlanError:  # a sequence longer than the model reads
            continue
        if drawn is not None:
            return drawn
    raise AssertionError(f"no fair lie in {_DRAWS} draws: seed {seed}")


def as_json(seed: int) -> Json:
    """Return everything the page shows of a lie, the answers to every option included."""
    found = lie(seed)
    recipe, model = found.plan.job.recipe, found.plan.job.model
    batch = f"{format_quantity(recipe.micro_batch, 'sequence')} of {recipe.seq_len:,} tokens"
    wrong_sum = size(found.plan.allocated_bytes - found.gap_bytes)
    story = (
        f"{found.model}, with {count(model.num_parameters)} parameters, is trained by"
        f" {found.recipe} on {batch}. A calculator answers {wrong_sum}. The step's tensors peak at"
        f" {size(found.plan.allocated_bytes)}, when the forward pass ends."
    )
    return {
        "seed": seed,
        "next": seed % LARGEST_SEED + 1,
        "story": story,
        "question": "Which part did the calculator leave out?",
        "options": [_option(found, part) for part in found.offered],
    }


def _draw(chance: Random) -> Lie | None:
    """Return a random job and a part of it; None where that makes no fair question."""
    published, words = chance.choice(DENSE), chance.choice(tuple(_RECIPES))
    batch = {"micro_batch": chance.randint(1, 4), "seq_len": chance.choice((1024, 2048, 4096))}
    found = plan({"model": published.config, "recipe": _RECIPES[words] | batch})
    parts = found.instants[found.peak_instant]
    missing = chance.choice(sorted(parts.keys() & _PARTS.keys()))
    gap = parts[missing]
    if found.peak_instant != "end_of_forward" or gap < _LEAST_SHARE * found.allocated_bytes:
        return None
    others = [part for part in sorted(_PARTS) if part != missing and _is_apart(found, part, gap)]
    if len(others) < 3:
        return None
    offered = [missing, *chance.sample(others, 3)]
    chance.shuffle(offered)
    return Lie(name_of(published), words, found, missing, tuple(offered))


def _is_apart(found: Plan, part: str, gap: int) -> bool:
    """Return whether the size of a part cannot be mistaken for the gap."""
    size_bytes = _size(found, part)
    return size_bytes > 0 and max(size_bytes / gap, gap / size_bytes) >= _APART


def _size(found: Plan, part: str) -> int:
    """Return bytes of a part at the peak; of gradients and context, what they would add to it."""
    if part == "context":
        return CONTEXT_BYTES
    if part == "grads":
        return state_bytes(found.job.model, found.job.recipe)["grads"]
    return found.instants[found.peak_instant].get(part, 0)


def _option(found: Lie, part: str) -> Json:
    name, href, title = _PARTS[part]
    right = part == found.missing
    why = _formula(found) if right else _why_not(found, part)
    return {"text": f"{name}.", "right": right, "why": why, "see": [href, title]}


def _formula(found: Lie) -> str:
    """Return the formula of the missing part, or that of its largest term."""
    moment = Moment(found.plan.job, found.plan.peak_instant)
    terms = [term for term in explain(moment) if term.component == found.missing]
    largest = max(terms, key=lambda term: term.bytes)
    symbols = ", ".join(f"{name} = {value}" for name, value in largest.inputs)
    spelled = f"{largest.formula}, with {symbols}"
    if len(terms) == 1:
        return f"{_holds(found.missing)} {spelled}: {size(found.gap_bytes)}, which is the gap."
    return (
        f"{_holds(found.missing)} {size(found.gap_bytes)}, which is the gap. The largest of their"
        f" {len(terms)} terms, {largest.label}: {spelled}, makes {size(largest.bytes)}."
    )


def _why_not(found: Lie, part: str) -> str:
    """Return why a part is not what is missing."""
    gap, there = size(found.gap_bytes), size(_size(found.plan, part))
    if part == "grads":
        return (
            f"All of them would be {there}, but when the forward pass ends not one is there. A peak"
            " is the maximum over the moments of a step, never a sum."
        )
    if part == "context":
        return (
            f"The driver takes about {there} of the GPU, and no tensor holds that. Both numbers"
            f" above count tensors, and {gap} are missing."
        )
    return f"{_holds(part)} {there} here, and {gap} are missing."


def _holds(part: str) -> str:
    return "It holds" if part == "master" else "They hold"

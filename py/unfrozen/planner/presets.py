"""Common ways to train, each one button: what it sets, and how a reader recognises it.

Each preset sets every key that tells the recipes apart, so that choosing one undoes another; batch,
sequence, attention, kernels and checkpointing stay as the reader left them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from unfrozen.job import Job
from unfrozen.job.recipe import Recipe
from unfrozen.planner.keys import LORA
from unfrozen.planner.state import State, read_state, recipe_json, setting

_KEYS: Final = (
    "method",
    "base",
    "params",
    "compute",
    "master",
    "grads",
    "optimizer",
    "moments",
    "paged",
    "optimizer_in_backward",
    "rounding",
    *LORA,
    "sharding",
    "offload",
)
_BATCH: Final = ("micro_batch", "seq_len", "grad_accum")
SHARDED_GPUS: Final = "8"


@dataclass(frozen=True, slots=True)
class Preset:
    """A recipe by name. `sets` holds what differs from the classic recipe, as a state does."""

    key: str
    label: str
    note: str
    sets: dict[str, str]

    def applied(self, state: State) -> State:
        """The state with this recipe in it. Sharded ones bring eight cards where there is one, and
        those eight go again with the recipe.
        """
        kept = {key: text for key, text in state.items() if key not in _KEYS}
        changed = kept | self.sets
        brought = "sharding" in state and state.get("gpus") == SHARDED_GPUS
        if brought and "sharding" not in self.sets:
            del changed["gpus"]
        if "sharding" in self.sets and setting(kept, "gpus") == "1":
            changed["gpus"] = SHARDED_GPUS
        return read_state(changed)

    def is_set(self, state: State, job: Job) -> bool:
        """Whether the job of this state comes out as this recipe, however it is spelled."""
        if job.cluster.sharding != self.sets.get("sharding", "none"):
            return False
        ours = {key: text for key, text in self.applied(state).items() if key not in _BATCH}
        same_batch = replace(job.recipe, micro_batch=1, seq_len=1, grad_accum=1)
        return _recipe(tuple(sorted(ours.items()))) == same_batch


@lru_cache(maxsize=64)
def _recipe(state: tuple[tuple[str, str], ...]) -> Recipe:
    """The recipe of a state without its batch, of one token; a slider asks for it at every move."""
    return Recipe.read(recipe_json({**dict(state), "micro_batch": "1", "seq_len": "1"}))


PRESETS: Final = (
    Preset("classic", "Classic mixed", "bf16 weights, fp32 master copy and moments", {}),
    Preset(
        "autocast",
        "Autocast",
        "fp32 weights, bf16 products",
        {"params": "fp32", "compute": "bf16"},
    ),
    Preset(
        "bf16",
        "Pure bf16",
        "every number in 16 bits, updates rounded at random",
        {"master": "null", "moments": "bf16", "rounding": "stochastic"},
    ),
    Preset(
        "int8",
        "8-bit moments",
        "bf16 weights, fp32 master copy, moments in a byte each",
        {"moments": "int8"},
    ),
    Preset(
        "lora",
        "LoRA",
        "frozen 16-bit weights, small adapters train",
        {"method": "lora"},
    ),
    Preset(
        "qlora",
        "QLoRA",
        "frozen 4-bit weights, small adapters train",
        {"method": "qlora"},
    ),
    Preset(
        "fsdp",
        "FSDP / ZeRO-3",
        "fp32 states shared out over all cards, bf16 products",
        {"params": "fp32", "compute": "bf16", "sharding": "zero3"},
    ),
)


def as_json(state: State, job: Job | None) -> list[dict[str, object]]:
    """Every preset as the page draws it, the one that is set marked; none without a job."""
    return [
        {
            "key": preset.key,
            "label": preset.label,
            "note": preset.note,
            "state": preset.applied(state),
            "chosen": job is not None and preset.is_set(state, job),
        }
        for preset in PRESETS
    ]

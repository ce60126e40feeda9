"""Presets: common recipes, each set by one button.

Each preset sets every key that tells the recipes apart, so that choosing one undoes another; batch,
sequence, attention, kernels and checkpointing stay as the reader left them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from unfrozen.job import Job
from unfrozen.job.recipe import Recipe
from unfrozen.planner.state import LORA, State, read_state, recipe_json, text_of

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

    def apply(self, state: State) -> State:
        """Return the state with this recipe in it.

        Sharded ones bring eight GPUs where there is one, and those eight leave with the recipe.
        """
        kept = {key: text for key, text in state.items() if key not in _KEYS}
        changed = kept | self.sets
        brought = "sharding" in state and state.get("gpus") == SHARDED_GPUS
        if brought and "sharding" not in self.sets:
            del changed["gpus"]
        if "sharding" in self.sets and text_of(kept, "gpus") == "1":
            changed["gpus"] = SHARDED_GPUS
        return read_state(changed)

    def is_set(self, state: State, job: Job) -> bool:
        """Return whether the job of this state has this recipe, however it is spelled."""
        if job.cluster.sharding != self.sets.get("sharding", "none"):
            return False
        ours = {key: text for key, text in self.apply(state).items() if key not in _BATCH}
        same_batch = replace(job.recipe, micro_batch=1, seq_len=1, grad_accum=1)
        return _recipe(tuple(sorted(ours.items()))) == same_batch


@lru_cache(maxsize=64)
def _recipe(state: tuple[tuple[str, str], ...]) -> Recipe:
    """Return the recipe of a state with a batch of one token, cached for the sliders."""
    return Recipe.read(recipe_json({**dict(state), "micro_batch": "1", "seq_len": "1"}))


PRESETS: Final = (
    Preset(
        "classic", "Mixed precision", "bf16 weights, fp32 master weights and optimizer states", {}
    ),
    Preset(
        "autocast",
        "Autocast",
        "fp32 weights, bf16 matmuls",
        {"params": "fp32", "compute": "bf16"},
    ),
    Preset(
        "bf16",
        "Pure bf16",
        "weights, gradients and optimizer states in bf16, stochastic rounding",
        {"master": "null", "moments": "bf16", "rounding": "stochastic"},
    ),
    Preset(
        "int8",
        "8-bit optimizer",
        "bf16 weights, fp32 master weights, 8-bit optimizer states",
        {"moments": "int8"},
    ),
    Preset(
        "lora",
        "LoRA",
        "frozen 16-bit weights, trained adapters",
        {"method": "lora"},
    ),
    Preset(
        "qlora",
        "QLoRA",
        "frozen 4-bit weights, trained adapters",
        {"method": "qlora"},
    ),
    Preset(
        "fsdp",
        "FSDP / ZeRO-3",
        "fp32 states sharded over all GPUs, bf16 matmuls",
        {"params": "fp32", "compute": "bf16", "sharding": "zero3"},
    ),
)


def as_json(state: State, job: Job | None) -> list[dict[str, object]]:
    """Return every preset as the page draws it, the one that is set marked; none without a job."""
    return [
        {
            "key": preset.key,
            "label": preset.label,
            "note": preset.note,
            "state": preset.apply(state),
            "chosen": job is not None and preset.is_set(state, job),
        }
        for preset in PRESETS
    ]

"""The peak taken apart: the terms of every part of the bar, and the facts of its model."""

from __future__ import annotations

from typing import Final, cast

from unfrozen.memory.overhead import CONTEXT_RANGE, RESERVED_RANGE, ROUNDING
from unfrozen.memory_planner.figures import Json
from unfrozen.memory_planner.sizes import size_text
from unfrozen.memory_planner.state import State, setting
from unfrozen.model import ModelConfig
from unfrozen.plan import Plan
from unfrozen.units import format_count, gib, sig3

_PASTED: Final = "your config.json"


def model_facts(model: ModelConfig, state: State) -> Json:
    """The model in a line: its name, its size, its shape."""
    a = model.architecture
    shape = [f"{a.layers} layers", f"width {a.hidden:,}", f"{a.heads} heads"]
    shape.append(f"vocabulary {a.vocab:,}")
    if a.experts:
        shape.insert(1, f"{a.experts.count} experts")
    return {
        "name": _PASTED if setting(state, "config") else setting(state, "model"),
        "size": f"{format_count(model.num_parameters)} parameters",
        "exact": f"{model.num_parameters:,}",
        "shape": ", ".join(shape),
    }


def with_terms(bar: Json, plan: Plan, unit: str) -> Json:
    """The bar with `why` in each part: formula, inputs and source of every term of it."""
    terms = _overhead_terms(plan, unit)
    parts = [
        part | {"why": terms.get(str(part["key"]), [])} for part in cast("list[Json]", bar["parts"])
    ]
    return bar | {"parts": parts}


def _overhead_terms(plan: Plan, unit: str) -> dict[str, list[Json]]:
    low, high = RESERVED_RANGE
    least, most = (sig3(gib(edge)) for edge in CONTEXT_RANGE)
    tensors = size_text(plan.allocated_bytes, unit)
    return {
        "reserve": [
            _term(
                f"max({ROUNDING} · tensors, freed 16-bit logits) + buffers of other streams",
                [("tensors", tensors)],
                f"reserved ÷ allocated in public measurements: {low} to {high}",
            )
        ],
        "context": [
            _term("measured, by card and version", [], f"{least} to {most} GiB in public reports")
        ],
        "communication": [_term("buffers of NCCL", [], "1 to 2 GiB in public reports")],
    }


def _term(formula: str, inputs: list[tuple[str, str]], source: str) -> Json:
    return {"formula": formula, "inputs": [list(pair) for pair in inputs], "source": source}

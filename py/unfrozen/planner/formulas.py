"""The peak taken apart: the terms of every part of the bar, and the facts of its model."""

from __future__ import annotations

from typing import Final, cast

from unfrozen.errors import strict_json
from unfrozen.memory.explain import SYMBOLS, Term, explain
from unfrozen.memory.overhead import CONTEXT_RANGE, RESERVED_RANGE, ROUNDING
from unfrozen.model import ModelConfig
from unfrozen.plan import Plan
from unfrozen.planner.entries import has_text_part
from unfrozen.planner.figures import Json, overhead
from unfrozen.planner.sizes import size_text
from unfrozen.planner.state import State, setting
from unfrozen.units import format_count, gib, sig3

_PASTED: Final = "your config.json"
_PART: Final = "the language model in your config.json, without the rest"


def model_facts(model: ModelConfig, state: State) -> Json:
    """The model in a line: its name, its size, its shape."""
    a = model.architecture
    shape = [f"{a.layers} layers", f"width {a.hidden:,}", f"{a.heads} heads"]
    shape.append(f"vocabulary {a.vocab:,}")
    if a.experts:
        shape.insert(1, f"{a.experts.count} experts")
    frozen = f", {format_count(model.frozen)} frozen" if model.frozen else ""
    return {
        "name": _pasted(setting(state, "config")) or setting(state, "model"),
        "size": f"{format_count(model.num_parameters)} parameters{frozen}",
        "exact": f"{model.num_parameters:,}",
        "shape": ", ".join(shape),
    }


def _pasted(config: str) -> str:
    """What a pasted config.json is called: the whole, or the part of it that is counted."""
    if not config:
        return ""
    given = strict_json(config)
    return _PART if isinstance(given, dict) and has_text_part(given) else _PASTED


def with_terms(bar: Json, plan: Plan, unit: str) -> Json:
    """The bar with `why` in each part: its terms, what they are of, and where they come from."""
    told = _tensor_terms(plan, unit) | _overhead_terms(plan, unit)
    parts = [part | {"why": told[str(part["key"])]} for part in cast("list[Json]", bar["parts"])]
    return bar | {"parts": parts}


def why(
    terms: list[tuple[str, str, str]], inputs: list[tuple[str, str, str]], sources: list[str]
) -> Json:
    """How a number comes about: (label, formula, size) of each term, (symbol, meaning, value) of
    each input, and who says so.
    """
    return {
        "terms": [list(term) for term in terms],
        "inputs": [list(entry) for entry in dict.fromkeys(inputs)],
        "sources": list(dict.fromkeys(sources)),
    }


def _tensor_terms(plan: Plan, unit: str) -> dict[str, Json]:
    """The terms of the peak by component."""
    groups: dict[str, list[Term]] = {}
    for term in explain(plan):
        groups.setdefault(term.component, []).append(term)
    return {
        component: why(
            [(term.label, term.formula, size_text(term.bytes, unit)) for term in terms],
            [(name, SYMBOLS.get(name, ""), value) for term in terms for name, value in term.inputs],
            [term.source for term in terms],
        )
        for component, terms in groups.items()
    }


def _overhead_terms(plan: Plan, unit: str) -> dict[str, Json]:
    low, high = RESERVED_RANGE
    least, most = (sig3(gib(edge)) for edge in CONTEXT_RANGE)
    tensors = size_text(plan.allocated_bytes, unit)
    beside = {key: size_text(size, unit) for key, size in overhead(plan).items()}
    reserve = f"max({ROUNDING} · tensors, freed 16-bit logits) + buffers of other streams"
    return {
        "reserve": why(
            [("what the allocator holds and no tensor uses", reserve, beside.get("reserve", ""))],
            [("tensors", "", tensors)],
            [f"reserved ÷ allocated in public measurements: {low} to {high}"],
        ),
        "context": why(
            [("driver and libraries", "a constant", beside["context"])],
            [],
            [f"{least} to {most} GiB in public reports, by card and version"],
        ),
        "communication": why(
            [("buffers of NCCL", "a constant", beside.get("communication", ""))],
            [],
            ["1 to 2 GiB in public reports"],
        ),
    }

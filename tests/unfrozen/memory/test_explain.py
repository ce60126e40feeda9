"""Explanations: terms that add up to the plan, and name what they are made of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import build
from unfrozen.memory.explain import SYMBOLS, Term, explain
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan import Plan, plan

MEASUREMENTS = Path(build.ROOT) / "web" / "measurements"
ROWS = [
    row
    for name in ("measured", "traced")
    for row in json.loads((MEASUREMENTS / f"{name}.json").read_text())
]


def by_component(terms: list[Term]) -> dict[str, int]:
    found: dict[str, int] = {}
    for term in terms:
        found[term.component] = found.get(term.component, 0) + term.bytes
    return found


def planned(**recipe: Any) -> Plan:
    model = CATALOGUE["meta-llama/Llama-3.1-8B"].config
    return plan({"model": model, "recipe": recipe})


@pytest.mark.parametrize("row", ROWS, ids=[row["id"] for row in ROWS])
def test_the_terms_of_each_component_add_up_to_its_bytes(row: dict[str, Any]) -> None:
    found = plan(row["job"])
    assert by_component(explain(found)) == found.instants[found.peak_instant]


def test_a_term_names_its_formula_its_inputs_and_its_source() -> None:
    terms = explain(planned(seq_len=4096, attention="flash"))
    loss = next(term for term in terms if term.component == "logits_loss")
    assert (loss.formula, loss.bytes) == ("12·T·V, 8·T·V in one kernel", 12 * 4096 * 128256)
    assert loss.inputs == (("T", "4,096"), ("V", "128,256"))
    assert not [term for term in terms if not (term.source and term.label)]


def test_every_symbol_of_an_input_is_explained() -> None:
    known = set(SYMBOLS) | {"GPUs", "adapters", "saved", "bytes", "reached"}
    for recipe in ({}, {"method": "qlora"}, {"checkpointing": "full"}, {"attention": "eager"}):
        for term in explain(planned(**recipe)):
            assert {symbol for symbol, _ in term.inputs} <= known


def test_what_is_recomputed_is_one_term_with_its_bytes_a_token() -> None:
    terms = explain(planned(checkpointing="full", attention="flash", micro_batch=8, seq_len=8192))
    layers = next(term for term in terms if term.label == "saved by the layers")
    assert dict(layers.inputs)["saved"] == "8,192 bytes"

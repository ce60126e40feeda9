"""Explanations: terms that add up to the plan, and name what they are made of."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import build
from unfrozen.job.cluster import Cluster
from unfrozen.memory.explain import SYMBOLS, Term, explain, format_layout, format_peak_rank
from unfrozen.memory.points import POINT_TERMS
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan import Plan, plan

SHARED = {"gpus": 2, "tensor_parallel": 2, "sequence_parallel": True}
CONFIG = CATALOGUE["meta-llama/Llama-3.1-8B"].config
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
    return plan({"model": CONFIG, "recipe": recipe})


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


ACCOUNTS: list[dict[str, Any]] = [
    {"recipe": {"attention": "flash"}},
    {"recipe": {"kernels": "fused", "attention": "flash", "moments": "int8"}},
    {"recipe": {"params": "fp32", "grads": "fp32", "optimizer": "lion", "attention": "flash"}},
    {"recipe": {"optimizer": "sgd", "ema": True, "master": None, "attention": "flash"}},
    {"recipe": {"ema": True, "attention": "flash"}},
    {"recipe": {"attention": "flash"}, "cluster": {"gpus": 8, "sharding": "zero3"}},
    {"recipe": {"attention": "flash"}, "cluster": {"gpus": 2, "sharding": "zero1"}},
    {"recipe": {"kernels": "fused", "attention": "flash"}, "cluster": SHARED},
    {"recipe": {"method": "lora", "attention": "flash", "checkpointing": "full"}},
]


@pytest.mark.parametrize("job", ACCOUNTS, ids=json.dumps)
def test_the_formula_of_a_term_computes_its_bytes_from_its_inputs(job: dict[str, Any]) -> None:
    found, met = plan({"model": "meta-llama/Llama-3.1-8B"} | job), 0
    ranks = 2 if "cluster" in job and "sequence_parallel" in job["cluster"] else 1
    for term in explain(found):
        inputs = {n: v.replace(",", "") for n, v in term.inputs}
        text = term.formula.partition(", ")[0].replace("·", "*").replace("÷", "/")
        text = re.sub(r"(?<=[0-9])(?=[A-Za-z])", "*", text)
        letters = set(re.findall(r"[A-Za-z_]+", text))
        if not letters <= {n for n, v in inputs.items() if v.isdigit()}:
            continue
        computed = eval(text, {}, {n: int(v) for n, v in inputs.items() if v.isdigit()})
        share = {computed, computed / ranks}
        near = [abs(term.bytes / one - 1) < 2e-3 for one in share]
        assert any(near), (term, computed)
        met += 1
    assert met >= 4


@pytest.mark.parametrize(
    ("recipe", "formula"),
    [
        ({}, "2·4 · N"),
        ({"optimizer": "lion"}, "1·4 · N"),
        ({"moments": "int8"}, "2·(1 + 4/256) · N"),
        ({"ema": True}, "(2·4 + 4) · N"),
        ({"optimizer": "sgd", "ema": True}, "4 · N"),
        ({"optimizer": "adafactor"}, "1·4 · N"),
    ],
)
def test_moments_are_so_many_copies_of_so_many_bytes(recipe: dict[str, Any], formula: str) -> None:
    terms = explain(planned(**recipe))
    assert [term.formula for term in terms if term.component == "moments"] == [formula]


def test_shards_are_said_to_be_and_whole_states_are_not() -> None:
    def formulas(recipe: dict[str, Any] | None = None, **cluster: Any) -> list[str]:
        job = {"model": "meta-llama/Llama-3.1-8B", "recipe": recipe or {}, "cluster": cluster}
        terms = explain(plan(job))
        return [term.formula for term in terms if term.component == "params"]

    assert formulas() == formulas(gpus=8, sharding="zero2") == ["2 · N"]
    assert formulas(gpus=2, sharding="zero3") == ["2 · N ÷ GPUs"]
    assert formulas({"method": "qlora"}, gpus=2, sharding="zero2") == ["nf4 · N"]


def test_a_pipeline_says_which_rank_needs_most_and_what_it_has() -> None:
    def sentence(accum: int, **cluster: Any) -> str:
        given = {"model": "meta-llama/Llama-3.1-8B", "recipe": {"grad_accum": accum}}
        return format_peak_rank(plan(given | {"cluster": {"gpus": 4} | cluster}).job)

    assert sentence(1) == ""
    one = sentence(8, pipeline_parallel=4)
    assert one.startswith("Of 4 ranks (")
    assert "number 1 needs most: it has layers 1–8 and the embedding, and 3 more" in one
    several = sentence(8, pipeline_parallel=4, pipeline_schedule="interleaved")
    assert "layers 1–4, 17–20" in several
    two = sentence(16, gpus=8, pipeline_parallel=8, pipeline_schedule="interleaved")
    assert "layers 1–2, 17–18" in two
    alone = sentence(32, gpus=16, pipeline_parallel=16, pipeline_schedule="interleaved")
    assert "layers 1, 17 and" in alone
    middle = {"model": CONFIG | {"num_hidden_layers": 6, "vocab_size": 64}}
    cluster = {"gpus": 4, "pipeline_parallel": 4}
    job = plan(middle | {"recipe": {"grad_accum": 8}, "cluster": cluster}).job
    assert "number 2 needs most: it has layers 2–3, and 2 more" in format_peak_rank(job)
    assert "micro-batches of one of its stages each in flight" in several


def test_a_layout_names_what_is_more_than_one() -> None:
    assert format_layout(Cluster(8, "zero3")) == []
    assert format_layout(Cluster(8, "zero3", shard_size=4)) == ["among 4 of them"]
    (pipeline,) = format_layout(Cluster(2, pipeline_parallel=2))
    assert pipeline.startswith("pipeline of 2 (")
    assert format_layout(Cluster(2, expert_parallel=2)) == ["experts shared by 2"]


def test_layers_that_differ_are_one_term_and_two_alike_are_twice_their_tensors() -> None:
    saved = POINT_TERMS["layers"].label

    def activations(model: Any) -> list[Term]:
        recipe = {"attention": "flash", "loss": "linear", "micro_batch": 64}
        terms = explain(plan({"model": model, "recipe": recipe}))
        return [term for term in terms if term.component == "activations"]

    deepseek = activations("deepseek-ai/DeepSeek-V2-Lite")  # whose first layer is dense
    assert saved in {term.label for term in deepseek}
    two = CONFIG | {"num_hidden_layers": 2}
    formulas = {term.label: term.formula for term in activations(two)}
    assert formulas["MLP"] == "T·L·(4·2·f)"
    assert formulas["token ids"] == "T·(8)"
    at_embedding = explain(plan({"model": "meta-llama/Llama-3.2-1B", "recipe": {"seq_len": 16}}))
    ids = [term.formula for term in at_embedding if term.component == "activations"]
    assert ids == ["8·T"]


def test_gradients_that_wait_whole_are_as_wide_as_they_will_be_reduced() -> None:
    waits = {"no_sync": True, "grad_accum": 4, "reduce": "fp32", "checkpointing": "full"}
    job = {"recipe": waits, "cluster": {"gpus": 8, "sharding": "zero2"}}
    terms = explain(plan({"model": "meta-llama/Llama-3.1-8B"} | job))
    (grads,) = [dict(term.inputs) for term in terms if term.component == "grads"]
    assert grads == {"bytes": "4", "reached": "8,030,261,248"}


def test_what_is_recomputed_is_of_one_layer() -> None:
    again_and_again = {"checkpointing": "full", "attention": "flash", "loss": "fused_linear"}
    terms = explain(planned(**again_and_again, micro_batch=8, seq_len=8192))
    (again,) = [term for term in terms if term.label == POINT_TERMS["recomputed"].label]
    assert dict(again.inputs)["saved"] == f"{again.bytes / (8 * 8192):,.0f} bytes"

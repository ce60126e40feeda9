"""Plans: counters, verdicts, advice, and a fuzz of everything a job can hold."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unfrozen.catalogue import CATALOGUE
from unfrozen.errors import PlanError
from unfrozen.plan import CONTEXT_BYTES, card_words, min_gpus, plan
from unfrozen.units import GIB

LLAMA_7B = CATALOGUE["meta-llama/Llama-2-7b-hf"].config
LLAMA_1B = CATALOGUE["meta-llama/Llama-3.2-1B"].config
KEYS = [
    "allocated_gib",
    "reserved_gib",
    "device_gib",
    "peak_instant",
    "instants",
    "fits",
    "min_gpus",
    "band",
    "advice",
]


def test_an_answer_has_the_fixed_keys_and_its_components_add_up() -> None:
    answer: dict[str, Any] = plan({"model": LLAMA_7B}).as_json()
    assert list(answer) == KEYS
    components = answer["instants"][answer["peak_instant"]]
    assert sum(components.values()) / GIB == pytest.approx(answer["allocated_gib"], rel=1e-12)
    assert answer["fits"] is None
    low, high = answer["band"]
    assert low <= answer["device_gib"] <= high


def test_seven_billion_parameters_do_not_fit_one_80_gb_card_but_two_sharded_ones_do() -> None:
    planned = plan({"model": LLAMA_7B, "gpu": "A100-80GB", "recipe": {"seq_len": 512}})
    assert planned.fits is False
    assert min_gpus(planned) == 2
    assert card_words(planned.job.gpu) == "A100 80GB SXM (79.1 GiB)"  # type: ignore[arg-type]


def test_a_small_model_fits_one_consumer_card() -> None:
    config = CATALOGUE["HuggingFaceTB/SmolLM2-360M"].config
    planned = plan({"model": config, "gpu": "RTX 4090", "recipe": {"seq_len": 512}})
    assert planned.fits is True
    assert min_gpus(planned) == 1


def test_a_sequence_too_long_for_any_card_is_told_as_zero_cards() -> None:
    assert min_gpus(plan({"model": LLAMA_7B, "recipe": {"seq_len": 1_000_000}})) == 0


def test_the_card_also_holds_the_drivers_context_and_communication_buffers() -> None:
    one = plan({"model": LLAMA_1B})
    two = plan({"model": LLAMA_1B, "cluster": {"gpus": 2}})
    assert one.device_bytes - one.reserved_bytes == CONTEXT_BYTES
    assert two.device_bytes - two.reserved_bytes == CONTEXT_BYTES + GIB
    assert two.band_gib[0] > one.band_gib[0]


def test_advice_is_sorted_by_what_it_saves_and_says_the_new_need() -> None:
    advice: Any = plan({"model": LLAMA_7B, "recipe": {"micro_batch": 4}}).as_json()["advice"]
    saved = [float(text.split("saves ")[1].split(" GiB")[0]) for text in advice]
    assert len(saved) == 5
    assert saved == sorted(saved, reverse=True)
    assert all("needs" in text for text in advice)


@pytest.mark.parametrize(
    ("recipe", "absent"),
    [
        ({"optimizer": "sgd"}, "int8"),
        ({"params": "fp32"}, "pure bf16"),
        ({"checkpointing": "full"}, "recompute"),
        ({"micro_batch": 1}, "one sequence"),
    ],
)
def test_advice_leaves_out_what_changes_nothing(recipe: dict[str, Any], absent: str) -> None:
    advice: Any = plan({"model": LLAMA_7B, "recipe": recipe}).as_json()["advice"]
    assert not [text for text in advice if absent in text]


def test_advice_leaves_out_what_cannot_be_planned() -> None:
    gpt2 = CATALOGUE["openai-community/gpt2"].config
    advice: Any = plan({"model": gpt2}).as_json()["advice"]
    assert advice
    assert not [text for text in advice if "fused" in text]


odd = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.integers()
    | st.floats()
    | st.sampled_from(["fp32", "bf16", "zero3", "full", "flash", "T4", "", "None"])
    | st.lists(st.integers(), max_size=2)
    | st.dictionaries(st.text(max_size=3), st.integers(), max_size=2)
)


@given(st.sampled_from(sorted(CATALOGUE)), st.data())
def test_any_job_is_planned_in_finite_numbers_or_refused(hub_id: str, data: st.DataObject) -> None:
    job: dict[str, Any] = {
        "model": dict(CATALOGUE[hub_id].config),
        "recipe": {"params": "bf16", "micro_batch": 2, "seq_len": 128, "grad_accum": 1},
        "cluster": {"gpus": 2, "sharding": "zero2"},
        "gpu": "H100",
    }
    part = data.draw(st.sampled_from([job, job["model"], job["recipe"], job["cluster"]]))
    key = data.draw(st.sampled_from([*part, "attention", "tensor_parallel", "unknown"]))
    part[key] = data.draw(odd)
    try:
        answer: dict[str, Any] = plan(job).as_json()
    except PlanError:
        return
    json.dumps(answer, allow_nan=False)
    for components in answer["instants"].values():
        assert all(type(size) is int and size > 0 for size in components.values())
    total = sum(answer["instants"][answer["peak_instant"]].values())
    assert math.isclose(total / GIB, answer["allocated_gib"])

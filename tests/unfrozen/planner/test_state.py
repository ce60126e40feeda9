"""The planner's state: short addresses, one refusal for each wrong value, at its control."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unfrozen.errors import PlanError
from unfrozen.job import Job
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.planner import glance, view
from unfrozen.planner.figures import byte_axis, format_share
from unfrozen.planner.state import (
    DEFAULTS,
    KEYS,
    LONGEST_CONFIG,
    as_query,
    config_address,
    parse_query,
    patched,
    read_job,
    read_state,
    state_of,
)
from unfrozen.units import format_size

MEASURED = ("measured.json", "further.json", "found_later.json", "memory_later.json")
SMALL = CATALOGUE["HuggingFaceTB/SmolLM2-135M"].config


def problem(state: dict[str, object] | str) -> Any:
    """The refusal of a state."""
    return glance(state)["problem"]


def values(state: dict[str, str]) -> dict[str, str]:
    """What the controls of a state show, by key."""
    found: Any = glance(state)
    return {each["key"]: each["value"] for group in found["groups"] for each in group["settings"]}


def test_the_default_has_an_empty_address() -> None:
    assert read_state(dict(DEFAULTS)) == {}
    assert as_query({}) == ""
    assert glance({})["query"] == ""


def test_an_address_brings_back_the_same_view() -> None:
    state = read_state({"model": "Qwen/Qwen3-8B", "seq_len": 8192, "master": None, "paged": True})
    query = as_query(state)
    assert query == "model=Qwen/Qwen3-8B&master=null&paged=true&seq_len=8192"
    assert parse_query(query) == state
    assert view(query) == view(state)


def test_a_framework_travels_in_the_address_and_its_defaults_count() -> None:
    state = read_state({"framework": "kempnerforge", "grad_accum": 4, "no_sync": False, "gpus": 8})
    assert parse_query(as_query(state)) == state
    job = read_job(state)
    assert (job.recipe.no_sync, job.recipe.keeps_outputs) == (False, True)
    assert job.framework is not None
    assert job.framework.name == "kempnerforge"
    shown = values(state)
    assert shown["framework"] == "kempnerforge"
    assert "keeps_outputs" not in shown
    assert problem({"framework": "lightning"})["control"] == "framework"
    padded = read_job(read_state({"expert_padding": "1.5", "model": "Qwen/Qwen3-30B-A3B"}))
    assert padded.recipe.expert_padding == 1.5


def test_a_pasted_config_travels_in_the_address() -> None:
    state = read_state({"config": json.dumps(SMALL), "model": "Qwen/Qwen3-8B"})
    assert set(state) == {"config"}
    assert parse_query(as_query(state)) == state
    assert glance(state)["facts"]["exact"] == "134,515,008"  # type: ignore[index]
    assert glance(state)["facts"]["name"] == "your config.json"  # type: ignore[index]
    assert "--model PATH" in glance(state)["commands"]["run"]  # type: ignore[index]


@given(st.dictionaries(st.sampled_from(KEYS), st.text(max_size=20), max_size=6))
def test_every_state_survives_its_address(given_state: dict[str, str]) -> None:
    state = read_state(given_state)
    assert parse_query(as_query(state)) == state
    assert read_state(dict(state)) == state


WORDS = "0 -1 1 7 1e30 4096 null true zero3 lora qlora bf16 int8 nan inf adafactor full { [] é"
TEXTS = st.sampled_from(["", "9" * 400, '{"model_type": "llama"}', *WORDS.split()])


@given(st.dictionaries(st.sampled_from(KEYS), TEXTS, max_size=7))
def test_whatever_is_set_there_is_a_plan_or_one_reason(state: dict[str, str]) -> None:
    found: Any = view(state)
    json.dumps(found, allow_nan=False)
    if found["problem"] is None:
        assert found["bar"]["total"]["bytes"] > 0
    else:
        assert "bar" not in found
        assert found["problem"]["text"].endswith(".")
        assert found["problem"]["control"] in KEYS


@pytest.mark.parametrize(
    ("state", "control", "words"),
    [
        ({"seq_len": "0"}, "seq_len", "whole number in 1"),
        ({"seq_len": "-5"}, "seq_len", "whole number in 1"),
        ({"micro_batch": "1e30"}, "micro_batch", "whole number"),
        ({"micro_batch": "two"}, "micro_batch", "digits only"),
        ({"gpus": "8", "tensor_parallel": "3"}, "gpus", "must divide it"),
        ({"tensor_parallel": "64", "gpus": "64"}, "tensor_parallel", "head"),
        ({"gpu": "T4", "params": "bf16"}, "params", "bf16"),
        ({"gpu": "Voodoo 2"}, "gpu", "not in the table"),
        ({"dropout": "nan"}, "dropout", "below 1"),
        ({"dropout": "a bit"}, "dropout", "a number"),
        ({"method": "lora", "lora_rank": "0"}, "lora_rank", "whole number"),
        ({"method": "lora", "lora_targets": "foo"}, "lora_targets", "q_proj"),
        ({"optimizer": "sgd", "moments": "fp32"}, "moments", "null"),
        ({"paged": "perhaps"}, "paged", "true or false"),
        ({"tokens": "0"}, "tokens", "1 …"),
        ({"price": "nan"}, "price", "0 …"),
        ({"unit": "bits"}, "unit", "GiB"),
        ({"model": "nobody/nothing"}, "model", "config.json"),
        ({"config": "{"}, "config", "not JSON"),
        ({"config": "[1]"}, "config", "one object"),
        ({"config": '{"hidden_size": NaN}'}, "config", "NaN is not JSON"),
        ({"config": "[" * 50_000}, "config", "nested too deeply"),
        ({"config": "x" * (LONGEST_CONFIG + 1)}, "config", "longer than"),
        ({"config": json.dumps(SMALL | {"vocab_size": 0})}, "config", "vocab_size"),
        ({"config": '{"model_type": "rwkv7"}'}, "config", "Supported are"),
    ],
)
def test_what_cannot_be_planned_is_reported_at_its_control(
    state: dict[str, object], control: str, words: str
) -> None:
    found = problem(state)
    assert found["control"] == control
    told = f"{found['key']} {found['text']}"
    assert words in told
    assert found["text"].endswith(".")


def test_an_unknown_key_of_an_address_is_named() -> None:
    assert "no setting" in problem({"speed": "11"})["text"]
    assert problem("speed=11")["key"] == "speed"


def test_a_wrong_value_stays_in_its_control() -> None:
    found: Any = glance({"seq_len": "zero"})
    values = {slider["key"]: slider["value"] for slider in found["sliders"]}
    assert values["seq_len"] == "zero"
    assert found["state"] == {"seq_len": "zero"}


def test_a_job_with_a_published_name_has_an_address_and_one_with_a_gpu_of_numbers_has_none() -> (
    None
):
    assert state_of({"model": "Qwen2.5-7B-Instruct"})["model"] == "Qwen/Qwen2.5-7B"
    numbers = {"nominal_gb": 16, "bandwidth_gb_s": 500, "bf16_tflops": 60}
    with pytest.raises(PlanError) as refused:
        state_of({"model": "Llama-3.1-8B", "gpu": numbers})
    assert refused.value.key == "gpu"


def test_a_hub_id_outside_the_list_leads_to_its_file() -> None:
    address = "https://huggingface.co/Qwen/Coder/resolve/main/config.json"
    assert problem({"model": "Qwen/Coder"})["link"] == address
    for name in ("javascript:alert(1)", "a/b/c", 'a/"><b', "../..", "Qwen/Qwen3-8B", "a/b.json"):
        assert config_address({"model": name}) == ""
    assert problem({"model": "what is this"})["link"] == ""


def test_settings_of_another_method_are_left_out() -> None:
    state = {"method": "lora", "lora_rank": "64", "base": "nf4"}
    assert read_state(state) == {"method": "lora", "lora_rank": "64"}
    assert read_state(state | {"method": ""}) == {}


def test_a_flag_that_is_on_by_itself_can_be_taken_off_and_no_other_is_kept_as_off() -> None:
    assert read_state({"outer_apart": False, "paged": False}) == {"outer_apart": "false"}
    for state, apart in (({}, True), ({"outer_apart": "false"}, False)):
        assert read_job(read_state({"gpus": "8", **state})).cluster.outer_apart is apart


def test_numbers_may_be_written_with_commas() -> None:
    assert read_state({"seq_len": "16,384"}) == {"seq_len": "16384"}


def test_a_patch_of_a_job_becomes_flat() -> None:
    patch = {
        "recipe": {"method": "lora", "lora": {"rank": 8, "targets": ["q_proj", "v_proj"]}},
        "cluster": {"gpus": 4},
    }
    assert patched({"master": "null"}, patch) == {
        "method": "lora",
        "lora_rank": "8",
        "lora_targets": "q_proj,v_proj",
        "master": "null",
        "gpus": "4",
    }
    with pytest.raises(PlanError, match="no setting"):
        patched({}, {"recipe": {"colour": "blue"}})


def test_sizes_keep_one_unit_until_they_are_too_small_for_it() -> None:
    gib = 2**30
    assert format_size(12.345 * gib, "GiB") == "12.3\u00a0GiB"
    assert format_size(0, "GiB") == "0\u00a0GiB"
    assert format_size(4096, "GiB") == "4.00\u00a0KiB"
    assert format_size(4000, "GB") == "4.00\u00a0KB"
    assert (format_share(1, 8), format_share(1, 250), format_share(0, 0)) == (
        "12%",
        "0.4%",
        "0%",
    )


@given(st.floats(1e6, 1e18), st.sampled_from(["GiB", "GB"]))
def test_a_scale_holds_what_it_must_and_has_few_round_marks(largest: float, unit: str) -> None:
    most, found = byte_axis(largest, unit)
    assert largest * 0.999999 <= most <= 1.4 * largest
    assert found[0] == {"bytes": 0, "text": "0"}
    assert 2 <= len(found) <= 7
    assert float(str(found[-1]["bytes"])) <= most * 1.000001
    assert len({mark["text"] for mark in found}) == len(found)


def test_a_scale_stands_still_while_a_number_moves_a_little() -> None:
    assert byte_axis(101e9, "GB") == byte_axis(109e9, "GB")


def test_the_address_of_a_job_opens_that_job() -> None:
    folder = Path(__file__).parents[3] / "web" / "measurements"
    rows = [row for name in MEASURED for row in json.loads((folder / name).read_text("utf-8"))]
    jobs, opened = [row["job"] for row in rows if "job" in row], 0
    for job in jobs:
        with suppress(PlanError):  # no address says all of a few
            opened += read_job(parse_query(as_query(state_of(job)))) == Job.read(job)
    assert opened > 0.95 * len(jobs) > 100


def test_an_address_of_a_job_says_nothing_twice() -> None:
    assert state_of({"model": CATALOGUE["meta-llama/Llama-3.1-8B"].config, "gpu": "H100"}) == {
        "gpu": "H100 SXM",
        "attention": "sdpa",
        "kernels": "eager",
        "loss": "logits_fp32",
        "packed": "false",
        "outer_apart": "false",
    }
    with pytest.raises(PlanError, match="a job needs a model"):
        state_of({})

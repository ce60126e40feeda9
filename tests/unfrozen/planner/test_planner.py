"""The planner of the page, asked as the page asks it: a state in, all that is shown out."""

import json
from typing import Any

import pytest

from unfrozen.job import KEYS as JOB_KEYS
from unfrozen.job.cluster import Cluster
from unfrozen.job.recipe import Recipe
from unfrozen.model import ModelConfig
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan import plan
from unfrozen.planner import glance, view
from unfrozen.planner.controls import OFFERED, SLIDERS, open_questions
from unfrozen.planner.presets import PRESETS
from unfrozen.planner.state import SETTINGS, read_job

STATES: dict[str, dict[str, str]] = {
    preset.key: preset.apply({"seq_len": "1024"}) for preset in PRESETS
} | {
    "tight": {"gpu": "RTX 4090", "master": "null", "micro_batch": "4", "method": "lora"},
    "parallel": {"gpus": "8", "tensor_parallel": "4", "sharding": "zero1", "unit": "GB"},
    "no-gpu": {"gpu": ""},
    "positions": {"model": "openai-community/gpt2-xl", "gpu": "RTX 4090"},
}


def every(found: Any, key: str) -> Any:
    """All values of a key, wherever it stands in a view."""
    if isinstance(found, dict):
        for name, value in found.items():
            if name == key:
                yield value
            yield from every(value, key)
    elif isinstance(found, list):
        for value in found:
            yield from every(value, key)


def test_the_first_view_says_what_the_command_line_says() -> None:
    found: Any = view({})
    packed = {"attention": "flash", "kernels": "fused_block", "loss": "linear"}
    job = {"model": CATALOGUE[found["model"]].config, "gpu": found["gpu"], "recipe": packed}
    planned = plan(job)
    assert found["problem"] is None
    assert found["bar"]["total"]["bytes"] == planned.device_bytes
    assert plan(json.loads(found["commands"]["job"])).device_bytes == planned.device_bytes


@pytest.mark.parametrize("state", STATES.values(), ids=STATES)
def test_a_view_is_plain_json_and_never_empty_handed(state: dict[str, str]) -> None:
    found: Any = view(state)
    assert found["problem"] is None
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    for name in ("verdict", "bar", "timeline", "memory", "run", "solves", "commands", "facts"):
        assert found[name], name
    assert not [text for text in every(found, "text") if "nan" in text.lower()]


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({}, "reached the first layers: nearly every gradient is there"),
        ({"micro_batch": "8"}, "the head's alone exists"),
        (
            {"micro_batch": "8", "loss": "fused_linear"},
            "has begun: the first gradients are there",
        ),
        ({"micro_batch": "8", "checkpointing": "full"}, "gradients accumulate"),
        ({"kernels": "eager", "loss": "logits_fp32"}, "not one gradient exists yet"),
    ],
)
def test_what_is_reported_of_the_peak_is_what_its_parts_show(
    state: dict[str, str], said: str
) -> None:
    found: Any = glance(state)
    [peak] = [row for row in found["timeline"]["rows"] if row["peak"]]
    held = {part["key"]: part["bytes"] for part in peak["parts"]}
    most = max(held.values())
    assert said in found["timeline"]["sentence"]
    assert ("reached" in said) == (held["activations"] < 0.01 * most)
    assert ("not one" in said) == ("grads" not in held)


@pytest.mark.parametrize("state", STATES.values(), ids=STATES)
def test_parts_add_up_and_the_tallest_row_is_the_peak(state: dict[str, str]) -> None:
    found: Any = glance(state)
    bar, rows = found["bar"], found["timeline"]["rows"]
    assert sum(part["bytes"] for part in bar["parts"]) == bar["total"]["bytes"]
    assert bar["band"]["low"] <= bar["total"]["bytes"] <= bar["band"]["high"] <= bar["most"]
    for row in rows:
        assert sum(part["bytes"] for part in row["parts"]) == row["bytes"]
    [peak] = [row for row in rows if row["peak"]]
    assert peak["bytes"] == max(row["bytes"] for row in rows) <= found["timeline"]["most"]


@pytest.mark.parametrize("state", STATES.values(), ids=STATES)
def test_every_number_opens_its_formula_and_its_source(state: dict[str, str]) -> None:
    found: Any = glance(state)
    for part in [*found["bar"]["parts"], *found["memory"], *found["run"]]:
        why = part["why"]
        assert why["terms"], part["key"]
        assert why["sources"], part["key"]
        assert not [
            (label, formula, size)
            for label, formula, size in why["terms"]
            if not (label and formula and size)
        ]
        assert all(symbol and value for symbol, _, value in why["inputs"]), part["key"]


@pytest.mark.slow
@pytest.mark.parametrize("state", STATES.values(), ids=STATES)
def test_each_apply_button_does_what_its_line_says(state: dict[str, str]) -> None:
    found: Any = view(state)
    for change in found["advice"]:
        after: Any = glance(change["state"])
        assert after["problem"] is None, change["key"]
        assert after["bar"]["total"]["text"] == change["total"], change["key"]
        if change["fits"] is not None:
            assert (after["verdict"]["kind"] in ("yes", "narrow")) == change["fits"]


def test_a_gpu_without_bf16_is_planned_in_fp16_as_the_runner_trains() -> None:
    found: Any = glance({"model": "Qwen/Qwen2.5-0.5B", "gpu": "T4"})
    assert found["problem"] is None
    assert "--params fp32 --compute fp16" in found["commands"]["run"]
    assert found["commands"]["differs"] == []
    asked: Any = glance({"model": "Qwen/Qwen2.5-0.5B", "gpu": "T4", "params": "bf16"})
    assert "The T4 has no bf16." in asked["problem"]["text"]


@pytest.mark.parametrize("key", ["micro_batch", "seq_len"])
def test_the_largest_that_fits_is_the_largest(key: str) -> None:
    state = {"method": "qlora", "gpu": "RTX 4090", "checkpointing": "full"}
    found: Any = view(state)
    [solved] = [solve for solve in found["solves"] if solve["key"] == key]
    at_the_edge: Any = glance(solved["state"])
    assert at_the_edge["verdict"]["kind"] == "yes"
    beyond = {**solved["state"], key: str(int(solved["state"][key]) + 1)}
    assert glance(beyond)["verdict"]["kind"] in ("narrow", "no")  # type: ignore[index]


def test_the_fewest_gpus_fit_and_one_less_does_not() -> None:
    [*_, gpus] = view({})["solves"]  # type: ignore[misc]
    assert glance(gpus["state"])["verdict"]["kind"] in ("yes", "narrow")  # type: ignore[index]
    count = int(gpus["state"]["gpus"])
    fewer = gpus["state"] | {"gpus": str(count - 1)}
    assert glance(fewer)["verdict"]["kind"] in ("narrow", "no")  # type: ignore[index]


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.key)
def test_a_preset_is_marked_when_it_is_chosen_and_undoes_the_others(preset: Any) -> None:
    for start in ({}, {"moments": "int8", "master": "null"}, {"method": "qlora", "base": "int8"}):
        found: Any = glance(preset.apply(start))
        assert [each["key"] for each in found["presets"] if each["chosen"]] == [preset.key]


def test_no_preset_leaves_16_bit_weights_to_the_nearest() -> None:
    for preset in PRESETS:
        recipe = read_job(preset.apply({})).recipe
        assert recipe.params == "fp32" or recipe.master or recipe.rounds or recipe.lora, preset.key


def test_a_preset_leaves_batch_and_length_alone() -> None:
    state = {"seq_len": "8192", "micro_batch": "3", "checkpointing": "full"}
    for preset in PRESETS:
        assert state.items() <= preset.apply(state).items()


def test_every_setting_of_a_job_has_a_control_or_is_json_only() -> None:
    offered = {setting.key for group in OFFERED.values() for setting in group} | set(SLIDERS)
    offered |= {str(one["key"]) for one in open_questions({})}
    parts = {"model", "config", "gpu", "unit"}
    hidden = {key for key, setting in SETTINGS.items() if setting.json_only}
    assert offered | parts | hidden == set(SETTINGS)
    assert not offered & hidden
    recipe = {field for field in Recipe.__dataclass_fields__ if field != "lora"}
    assert recipe | set(Cluster.__dataclass_fields__) <= set(SETTINGS)
    assert JOB_KEYS == ("model", "recipe", "cluster", "gpu", "framework")


def test_every_label_is_a_noun_phrase_of_its_own_and_every_help_a_sentence() -> None:
    labels = [setting.label for setting in SETTINGS.values()]
    assert len(set(labels)) == len(labels)
    for setting in SETTINGS.values():
        assert setting.help.endswith("."), setting.key
        assert setting.help[0].isupper() or setting.help[0] == "`", setting.key
        assert len(setting.help.split()) >= 3, setting.key


@pytest.mark.slow
def test_every_choice_of_a_control_is_one_the_job_knows() -> None:
    checked = 0
    for key, setting in SETTINGS.items():
        for value in setting.choices:
            state = {key: value} | ({"method": "lora"} if "lora" in key else {})
            problem: Any = glance(state)["problem"]
            assert problem is None or "must be one of" not in problem["bound"], key
            checked += 1
    assert checked > 80


def test_a_setting_left_alone_shows_what_it_comes_out_as() -> None:
    found: Any = glance({"params": "fp32"})
    shown = {each["key"]: each for group in found["groups"] for each in group["settings"]}
    assert shown["compute"]["options"][0] == {"value": "", "label": "bf16 (default)"}
    assert shown["master"]["options"][0]["label"] == "none (default)"
    assert shown["kernels"]["options"][0]["label"] == "fused blocks (default)"
    assert shown["base"]["hidden"]
    assert [one["value"] for one in found["asked"]] == ["10,000,000", ""]
    typed: Any = glance({"tokens": "9000 x 3 x 300-4000"})
    assert typed["asked"][0]["value"] == "9,000 × 3 × 300-4,000"


@pytest.mark.parametrize(
    ("state", "label"),
    [
        ({"kernels": "eager"}, "fused blocks (default)"),
        ({"kernels": "fused_block", "checkpointing": "selective"}, "eager (default)"),
        ({"kernels": "fused_block", "model": "openai-community/gpt2"}, "eager (default)"),
    ],
)
def test_the_default_is_named_as_such_whatever_is_chosen(state: dict[str, str], label: str) -> None:
    found: Any = glance(state)
    [kernels] = [
        each for group in found["groups"] for each in group["settings"] if each["key"] == "kernels"
    ]
    assert kernels["value"] == state["kernels"]
    assert kernels["options"][0]["label"] == label
    assert [each["value"] for each in kernels["options"]].count(kernels["value"]) == 1


def test_a_choice_that_needs_another_has_no_default_to_name() -> None:
    found: Any = glance({"optimizer": "sgd", "moments": "null", "params": "fp32", "master": "null"})
    shown = {each["key"]: each for group in found["groups"] for each in group["settings"]}
    assert shown["moments"]["options"][0]["label"] == "none (default)"
    assert shown["optimizer"]["options"][0]["label"] == "default"


def test_every_model_of_the_list_can_be_planned_at_once(share: int) -> None:
    for hub_id in list(CATALOGUE)[::share]:
        found: Any = glance({"model": hub_id})
        assert found["problem"] is None, hub_id
        length = {slider["key"]: slider["value"] for slider in found["sliders"]}["seq_len"]
        positions = ModelConfig.from_hf(CATALOGUE[hub_id].config).architecture.positions
        assert length == str(min(2048, positions or 2048)), hub_id
        assert f"--seq-len {length} " in found["commands"]["run"], hub_id


def test_sizes_come_in_the_unit_that_was_asked_for() -> None:
    binary: Any = glance({})
    decimal: Any = glance({"unit": "GB"})
    assert binary["bar"]["total"]["text"].endswith("GiB")
    assert decimal["bar"]["total"]["text"].endswith("GB")
    assert decimal["bar"]["total"]["bytes"] == binary["bar"]["total"]["bytes"]
    texts = [part["text"] for part in decimal["bar"]["parts"]]
    assert not [text for text in texts if "i" in text]


def test_a_price_buys_a_cost() -> None:
    without = {number["key"] for number in glance({})["run"]}  # type: ignore[attr-defined]
    [cost] = [n for n in glance({"price": "2"})["run"] if n["key"] == "cost"]  # type: ignore[attr-defined]
    assert "cost" not in without
    assert ["price", "", "2.00"] in cost["why"]["inputs"]

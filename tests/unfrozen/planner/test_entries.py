"""What readers write is understood as they mean it, and what is refused is said in their words."""

import json
from pathlib import Path
from typing import Any, cast

import pytest

import unfrozen
from unfrozen.hardware import GPUS
from unfrozen.model import ModelConfig
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.planner import glance
from unfrozen.planner.controls import gpu_options
from unfrozen.planner.presets import PRESETS
from unfrozen.planner.state import (
    DEFAULTS,
    SETTINGS,
    parse_query,
    read_state,
    real_text,
    whole_text,
)

QWEN3 = CATALOGUE["Qwen/Qwen3-8B"].config
SIZES = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4} | {
    "intermediate_size": 128
}


@pytest.mark.parametrize(
    ("key", "text", "held"),
    [
        ("seq_len", "4k", "4096"),
        ("seq_len", "128K", "131072"),
        ("seq_len", "1e3", "1000"),
        ("seq_len", "16,384", "16384"),
        ("seq_len", "2·10³", "2000"),
        ("tokens", "10M", "10000000"),
        ("tokens", "1.5 B", "1500000000"),
        ("tokens", "1e9", "1000000000"),
        ("gpus", "1k", "1000"),
        ("grad_accum", "2.5", "2.5"),
        ("seq_len", "4 GB", "4 GB"),
        ("seq_len", "four", "four"),
        ("micro_batch", "1e30", "1e30"),
    ],
)
def test_a_whole_number_is_read_however_it_is_written(key: str, text: str, held: str) -> None:
    assert whole_text(key, text) == held
    assert read_state({key: text}) == ({} if held == DEFAULTS.get(key) else {key: held})


def test_a_price_may_have_a_decimal_comma() -> None:
    assert real_text("2,50") == "2.5"
    assert real_text("2.50") == "2.50"
    assert real_text("cheap") == "cheap"


@pytest.mark.parametrize("key", [key for key in DEFAULTS if DEFAULTS[key] and key != "gpu"])
def test_a_field_that_is_emptied_falls_back_to_its_default(key: str) -> None:
    assert read_state({key: ""}) == {}
    assert glance({key: "  "})["problem"] is None


def test_an_address_takes_the_names_that_the_command_line_takes() -> None:
    for name, gpu in (("H100", "H100 SXM"), ("rtx4090", "RTX 4090"), ("NVIDIA L4", "L4")):
        found: Any = glance(f"gpu={name}")
        assert found["problem"] is None
        assert found["gpu"] == gpu
    assert parse_query("gpu=A100-80GB") == {}
    mac: Any = glance("gpu=macbook m4 max 64gb")
    assert (mac["problem"], mac["gpu"]) == (None, "Apple M4 Max 64GB")
    assert mac["gpu"] in {option["value"] for option in gpu_options()}
    assert parse_query("gpu=2x4090") == {"gpu": "RTX 4090", "gpus": "2"}
    assert parse_query("gpu=2x4090&gpus=4") == {"gpu": "RTX 4090", "gpus": "4"}
    assert not [gpu for gpu in GPUS[:8] if read_state({"gpu": gpu.name})["gpu"] != gpu.name]
    assert parse_query("model=qwen3-8b") == {"model": "Qwen/Qwen3-8B"}
    assert parse_query("model=Llama-3.1-8B") == {}


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-8B"),
        ("Llama-2-7b-chat-hf", "meta-llama/Llama-2-7b-hf"),
        ("google/gemma-3-1b-it", "google/gemma-3-1b-pt"),
        ("Mistral-7B-Instruct-v0.3", "mistralai/Mistral-7B-v0.3"),
        ("microsoft/Phi-3-mini-4k-instruct", "microsoft/Phi-3-mini-4k-instruct"),
    ],
)
def test_a_model_trained_further_on_instructions_is_planned_as_its_base(
    name: str, base: str
) -> None:
    assert read_state({"model": name}).get("model", DEFAULTS["model"]) == base


@pytest.mark.parametrize(
    "name", ["Qwen/Qwen3-14B-Coder", "nobody/Llama-3.1-8B-Instruct", "llama", "Qwen/Qwen3-3B"]
)
def test_a_model_of_another_name_is_no_model_of_the_list(name: str) -> None:
    assert read_state({"model": name})["model"] == name
    found: Any = glance({"model": name})
    if name == "llama":  # of several
        assert found["problem"]["control"] == "model"
    else:
        assert found["facts"]["notes"][0].startswith(f"{name} is planned as")


KINDS = {
    "encoder": {"model_type": "bert", "architectures": ["BertForMaskedLM"]},
    "embedding": {**QWEN3, "architectures": ["Qwen3Model"]},
    "classifier": {**QWEN3, "architectures": ["Qwen3ForSequenceClassification"]},
    "seq2seq": {"model_type": "t5", "architectures": ["T5ForConditionalGeneration"]},
    "images": {"model_type": "vit", "image_size": 224, "patch_size": 16, **SIZES},
    "sound": {"model_type": "hubert", "conv_dim": [512], **SIZES},
    "unheard of": {"model_type": "other", "text_config": QWEN3},
    "unknown key": {**QWEN3, "per_layer_width": 8},
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_says_of_each_kind_of_model_what_the_terminal_says(kind: str) -> None:
    config = {"vocab_size": 1000, **SIZES, **KINDS[kind]}
    found: Any = glance({"config": json.dumps(config)})
    printed = str(unfrozen.plan(model=config, gpu="A100 80GB SXM"))
    assert found["problem"] is None
    assert found["facts"]["notes"]
    for note in found["facts"]["notes"]:
        assert note in " ".join(printed.split())
    assert found["facts"]["exact"] == f"{ModelConfig.from_hf(config).num_parameters:,}"


@pytest.mark.parametrize(
    "name", ["unsloth/Qwen3-8B-bnb-4bit", "owner/Hermes-Llama-3.1-8B", "Qwen/Qwen9-9B", "smollm3"]
)
def test_a_name_outside_the_list_is_planned_as_the_terminal_plans_it_where_the_hub_is_away(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    planned = unfrozen.plan(model=name)
    terminal, found = planned.to_dict(), cast("Any", glance({"model": name}))
    assert f", {found['facts']['size']}, " in str(planned)
    [note] = [note for note in found["facts"]["notes"] if note.startswith(name)]
    first, _, asked = note.partition("The hub has not been asked")
    assert terminal["source"]["note"].startswith(first)
    assert bool(asked) is bool(found["facts"]["link"]) is ("HF_HUB_OFFLINE" in str(terminal))


@pytest.mark.parametrize(
    ("state", "text"),
    [
        ("moments=null", "AdamW has moments. Choose fp32, bf16 or 8-bit."),
        ("optimizer=sgd&moments=fp32", "SGD has no moments. Set it to none (null)."),
        (
            "gpus=8&tensor_parallel=3",
            "“Tensor parallel size” · “Context parallel size” = 3 must divide it. "
            "Use a multiple of 3.",
        ),
        (
            "offload=params",
            "Weights can be offloaded under ZeRO-3 only. Set sharding to ZeRO-3.",
        ),
        (
            "compute=fp32",
            "16-bit weights compute in their own precision, bf16, or in fp8. "
            "Set it to bf16, or “Weight dtype” to fp32.",
        ),
    ],
)
def test_a_refusal_speaks_in_the_labels_of_the_controls(state: str, text: str) -> None:
    problem: Any = glance(state)["problem"]
    assert problem["text"] == text


def test_a_refusal_carries_the_label_of_its_control() -> None:
    for state, label in (
        ("method=lora&lora_rank=x", "LoRA rank"),
        ("seq_len=x", "Sequence length"),
        ("gpu=x", "GPU"),
        ("model=x", "Model"),
    ):
        problem: Any = glance(state)["problem"]
        assert problem["label"] == label
        assert problem["control"] in SETTINGS


def test_a_key_that_a_config_lacks_is_missing_and_not_nothing() -> None:
    lacking: Any = glance({"config": "{}"})["problem"]
    assert lacking["text"].startswith("model_type is missing. config.json must name")
    named: Any = glance({"config": '{"model_type": "nothing"}'})["problem"]
    assert named["text"].startswith("model_type is 'nothing'.")


def test_the_gpus_that_a_sharded_recipe_brought_go_with_it() -> None:
    recipes = {preset.key: preset for preset in PRESETS}
    sharded = recipes["fsdp"].apply({})
    assert sharded["gpus"] == "8"
    for key in recipes.keys() - {"fsdp"}:
        assert "gpus" not in recipes[key].apply(sharded)
    assert recipes["classic"].apply(recipes["fsdp"].apply({"gpus": "4"})) == {"gpus": "4"}


@pytest.mark.parametrize(
    ("state", "note"),
    [
        ("", "At one instant, the backward pass. Activations take"),
        ("kernels=eager&loss=logits_fp32", "the end of the forward pass. 13% of it is allocated"),
    ],
)
def test_the_list_of_the_peak_says_when_it_is_and_what_is_gone_by_then(
    state: str, note: str
) -> None:
    found: Any = glance(state)
    assert note in found["bar"]["note"]
    rows = {
        row["key"]: {part["key"]: part for part in row["parts"]}
        for row in found["timeline"]["rows"]
    }
    if state == "":
        assert rows["end_of_forward"]["activations"]["text"] in found["bar"]["note"]
        assert rows["backward"]["activations"]["text"] in found["bar"]["note"]

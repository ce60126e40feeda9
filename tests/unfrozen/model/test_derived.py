"""Families whose tensors were derived from transformers: the table, and what is read off it."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import AutoConfig
from transformers.models.auto import modeling_auto as auto
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

import unfrozen.model
from unfrozen.__main__ import main
from unfrozen.errors import ModelError
from unfrozen.model import ModelConfig, derived, structure
from unfrozen.model.blueprint import Tensor
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan import plan

TABLE = Path(unfrozen.model.__file__).with_name("derived.json")
MAPPINGS = (
    auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    auto.MODEL_FOR_CAUSAL_LM_MAPPING,
)
SMALL = {
    "hidden_size": 96,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 3,
    "vocab_size": 130,
}
CASES: dict[str, dict[str, Any]] = {
    "apertus": SMALL | {"head_dim": 20, "tie_word_embeddings": True},
    "afmoe": SMALL | {"num_experts": 4, "moe_intermediate_size": 24, "num_dense_layers": 1},
    "xglm": {"d_model": 96, "num_layers": 3, "attention_heads": 4, "ffn_dim": 40},
    "vaultgemma": SMALL | {"attention_bias": True},
    "bitnet": SMALL | {"attention_bias": True, "head_dim": 20},
    "cohere2_moe": SMALL
    | {"head_dim": 16, "num_hidden_layers": 6, "num_experts": 4, "first_k_dense_replace": 2},
    "hy_v3": SMALL | {"num_hidden_layers": 7, "num_experts": 4, "moe_intermediate_size": 24},
    "xlnet": {"d_model": 96, "n_layer": 3, "n_head": 6, "d_inner": 80, "vocab_size": 130},
    "bert-generation": {"is_decoder": True, "add_cross_attention": True, "num_hidden_layers": 3},
    "minicpmv4_7": {"merger_times": 3},
    "molmo2": {"adapter_config": {"vit_layers": [-1, -2, -3]}},
}


def built(model_type: str, config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the model that transformers builds of a config.json."""
    config_class = CONFIG_MAPPING[model_type]
    mapping = next(m for m in MAPPINGS if config_class in m)
    with torch.device("meta"):
        model = mapping[config_class](AutoConfig.for_model(model_type, **config))
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("model_type", CASES)
def test_tensors_are_those_of_transformers_for_a_config_that_was_not_traced(
    model_type: str,
) -> None:
    model = ModelConfig.from_hf({"model_type": model_type, **CASES[model_type]})
    assert {t.name: t.shape for t in model.tensors} == built(model_type, CASES[model_type])
    assert model.num_parameters == sum(tensor.size for tensor in model.tensors)


@pytest.mark.parametrize(
    ("model_type", "whole", "text"),
    [("kosmos-2", False, False), ("kosmos-2", False, True), ("paddleocr_vl", False, False)],
)
def test_a_head_is_the_embedding_where_the_config_or_the_one_inside_it_says_so(
    model_type: str, whole: bool, text: bool
) -> None:
    tie = "tie_word_embeddings"
    config = {tie: whole, "text_config": {tie: text}, "vision_config": {"num_hidden_layers": 2}}
    model = ModelConfig.from_hf({"model_type": model_type, **config})
    assert {t.name: t.shape for t in model.tensors} == built(model_type, config)


@pytest.mark.parametrize("model_type", ["bailing_hybrid", "dory"])
def test_a_config_as_transformers_writes_it_has_the_tensors_of_the_one_it_wrote(
    model_type: str,
) -> None:
    written = AutoConfig.for_model(model_type, num_hidden_layers=24).to_dict()
    found = ModelConfig.from_hf(written)
    del written["model_type"]
    assert {t.name: t.shape for t in found.tensors} == built(model_type, written)


@pytest.mark.parametrize(
    ("model_type", "words", "whole"),
    [
        (
            "afmoe",
            "Estimated: what its layers save, by the shapes of their tensors; its act",
            False,
        ),
        ("nowhere", "Estimated: its tensors, taken for those of a common decoder", True),
    ],
)
def test_a_plan_says_what_of_such_a_family_is_estimated_and_its_band_holds_it(
    model_type: str, words: str, whole: bool, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "job.json"
    job = {"model": {"model_type": model_type, **CASES.get(model_type, SMALL)}, "gpu": "H100"}
    file.write_text(json.dumps(job))
    assert main(["plan", str(file)]) == 0
    assert words in capsys.readouterr().out
    planned = plan(job)
    parts = planned.instants[planned.peak_instant]
    guessed = sum(parts.values()) if whole else parts["activations"]
    least, most = (edge * 2**30 for edge in planned.band_gib)
    assert most - least > 1.5 * guessed
    assert planned.safe_bytes - planned.beside_bytes > planned.needed_bytes + 0.8 * guessed


def test_an_estimate_above_the_memory_of_a_gpu_is_shown_as_it_is() -> None:
    given = {"model": {**CATALOGUE["Qwen/Qwen3-8B"].config, "model_type": "unheard_of"}}
    free = plan(given)
    tight = plan({**given, "gpu": "A100 80GB SXM"})
    assert tight.job.gpu is not None
    assert 0 < (tight.chance or 0) < 0.5
    assert tight.device_bytes > tight.allocated_bytes > tight.job.gpu.capacity_bytes
    assert tight.band_gib == free.band_gib


def test_every_family_that_transformers_maps_to_a_language_model_is_answered(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["plan", "--families", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["transformers"] == transformers.__version__
    kinds = {config_class.model_type for m in MAPPINGS for config_class in m}
    assert kinds <= answer["families"].keys()
    assert {*answer["families"].values()} <= {"exact", "traced", "bounded"}
    assert sum(answer["families"][kind] == "exact" for kind in kinds) >= 230


def test_the_table_is_small_enough_to_be_loaded_with_the_page() -> None:
    assert TABLE.stat().st_size < 500_000


def test_a_type_that_is_nowhere_is_a_decoder_of_its_sizes_or_is_refused() -> None:
    found = ModelConfig.from_hf({"model_type": "nowhere", **SMALL}).architecture
    assert found.counted == "bounded"
    assert (found.model_type, found.hidden) == ("nowhere", SMALL["hidden_size"])
    for key in ("hidden_size", "vocab_size", "num_hidden_layers"):
        with pytest.raises(ModelError, match=r"and \d+ more"):
            ModelConfig.from_hf({"model_type": "nowhere", **SMALL} | {key: None})


@pytest.mark.parametrize(
    ("key", "value"),
    [("num_hidden_layers", 10**9), ("hidden_size", "wide"), ("vocab_size", -4), ("head_dim", [])],
)
def test_keys_that_cannot_be_computed_with_are_refused(key: str, value: object) -> None:
    config = {"model_type": "apertus", **CASES["apertus"], key: value}
    with pytest.raises(ModelError):
        ModelConfig.from_hf(config)


def layer(at: str, shapes: dict[str, tuple[int, ...]]) -> list[Tensor]:
    return [Tensor(f"{at}.{name}", shape) for name, shape in shapes.items()]


ATTENTION = {
    "self_attn.q_proj.weight": (64, 48),
    "self_attn.k_proj.weight": (16, 48),
    "self_attn.v_proj.weight": (16, 48),
    "self_attn.o_proj.weight": (48, 64),
    "input_layernorm.weight": (48,),
}
EXPERTS = {"mlp.experts.gate_up_proj": (4, 40, 48), "mlp.experts.down_proj": (4, 48, 20)}


@pytest.mark.parametrize(
    ("model_type", "more", "key"),
    [
        ("llama", {"attention_bias": 2}, "attention_bias"),
        ("phimoe", {"lm_head_bias": "x", "num_local_experts": 4}, "lm_head_bias"),
        ("gpt2", {"n_layer": 2}, "num_hidden_layers"),
        ("opt", {"ffn_dim": 80, "word_embed_proj_dim": "x"}, "model_type"),
    ],
)
def test_what_the_table_reads_of_a_family_is_checked_as_what_its_reader_takes(
    model_type: str, more: dict[str, Any], key: str
) -> None:
    good = {k: v for k, v in more.items() if k != key and k in ("num_local_experts", "ffn_dim")}
    assert ModelConfig.from_hf({"model_type": model_type, **SMALL, **good}).num_parameters
    with pytest.raises(ModelError) as caught:
        ModelConfig.from_hf({"model_type": model_type, **more, **SMALL})
    assert caught.value.key == key


@pytest.mark.parametrize(
    ("model_type", "more"),
    [
        ("deepseek_v2", {"mlp_bias": True, "q_lora_rank": 24}),
        ("phi", {"head_dim": 20}),
        ("mpt", {"d_model": 96, "n_heads": 6, "n_layers": 3, "expansion_ratio": 3}),
        ("seed_oss", {"head_dim": None, "num_key_value_heads": None}),
    ],
)
def test_a_family_with_a_reader_has_the_tensors_of_transformers_for_odd_values(
    model_type: str, more: dict[str, Any]
) -> None:
    config = SMALL | more if model_type != "mpt" else {"vocab_size": 130, **more}
    with torch.device("meta"):
        real = transformers.AutoModelForCausalLM.from_config(
            AutoConfig.for_model(model_type, **config)
        )
    found = ModelConfig.from_hf({"model_type": model_type, **config})
    expected = {name: tuple(p.shape) for name, p in real.named_parameters()}
    assert {t.name: t.shape for t in found.tensors} == expected


@pytest.mark.parametrize("model_type", ["olmo2", "olmo3", "olmoe"])
def test_ranks_hold_the_norm_of_all_heads_whole(model_type: str) -> None:
    # as in transformers' plan, which gathers queries and keys before it
    model = ModelConfig.from_hf({"model_type": model_type, **SMALL, "num_experts": 8})
    whole, share = ({t.name: t.shape for t in m.tensors} for m in (model, model.split(2)))
    name = "model.layers.0.self_attn.q_norm.weight"
    assert share[name] == whole[name] == (96,)


def test_what_a_layer_is_follows_from_names_and_shapes() -> None:
    config = {"hidden_size": 48, "num_attention_heads": 8, "vocab_size": 99, "moe_k": 3}
    tensors = [
        Tensor("model.visual.patch.weight", (7, 7)),
        Tensor("model.text.embed.weight", (99, 48)),
        *layer("model.text.layers.0", {**ATTENTION, "mlp.down_proj.weight": (48, 30)}),
        *layer("model.text.layers.1", {**ATTENTION, **EXPERTS}),
        Tensor("lm_head.weight", (99, 48)),
    ]
    a = structure.read("any", config, tensors)
    assert (a.layers, a.hidden, a.heads, a.kv_heads, a.head_dim) == (2, 48, 8, 2, 8)
    assert (a.vocab, a.tied, a.ffn) == (99, False, 30)
    assert a.experts is not None
    assert (a.experts.count, a.experts.per_token, a.experts.ffn) == (4, 3, 20)
    assert not a.is_sparse(0)
    assert a.is_sparse(1)
    model = ModelConfig(a)
    assert model.num_parameters == sum(tensor.size for tensor in tensors)
    assert model.tower_parameters == 49
    halves = {t.name.removeprefix("model.text.layers.1."): t for t in model.split(2)._layer(1)}
    assert halves["self_attn.q_proj.weight"].shape == (32, 48)
    assert halves["self_attn.o_proj.weight"].shape == (48, 32)
    assert halves["mlp.experts.down_proj"].shape == (4, 48, 10)


def test_tensors_of_a_module_come_before_those_of_its_parts() -> None:
    names = ("a.b.weight", "a.scale", "a.c.weight", "d")
    ordered = structure.in_order([Tensor(name, (1,)) for name in names])
    assert [tensor.name for tensor in ordered] == ["d", "a.scale", "a.b.weight", "a.c.weight"]


@pytest.fixture
def derive(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The program that writes the table."""
    monkeypatch.syspath_prepend(Path(__file__).parents[3] / "docs/families")
    import derive

    yield derive
    for name in ("derive", "construct", "program", "symbols"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("model_type", ["arcee", "bloom"])
def test_a_family_derived_afresh_is_that_of_the_table(
    model_type: str, derive: Any, tmp_path: Path
) -> None:
    found = derive.Table(tmp_path)[model_type]
    config = derive.default_config(CONFIG_MAPPING[model_type]) | {"num_hidden_layers": 3}
    table = derived.table().entries
    again = derived.tensors_of(found, config, table)
    assert again == derived.tensors_of(table[model_type], config, table)


@pytest.mark.matrix
@pytest.mark.parametrize("model_type", sorted(n for n in derived.table().entries if ":" not in n))
def test_every_entry_is_right_for_random_configs(model_type: str, derive: Any) -> None:
    entries = derived.table().entries
    if model_type in derived.table().bounded:
        pytest.skip("the table says that it is not exact")
    family = derive.Family(model_type, derive.mapping_of(model_type))
    draw = random.Random("anew")
    assert derive.check(family, entries[model_type], entries, draw).problem == ""

"""Counts and tensor lists of every family against transformers, built on the meta device."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
)

from small_models import BOTH_WAYS, DECODERS, ENCODERS, SMALL
from unfrozen.model import ModelConfig, ModelError
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.model.families import READERS

pytestmark = pytest.mark.slow

Shapes = list[tuple[str, tuple[int, ...]]]


def built(model_type: str, config: dict[str, Any], kind: Any = AutoModelForCausalLM) -> Shapes:
    """Names and shapes of the model that transformers builds from this config.json."""
    with torch.device("meta"):
        model = kind.from_config(AutoConfig.for_model(model_type, **config))
    return [(name, tuple(parameter.shape)) for name, parameter in model.named_parameters()]


def counted(model_type: str, config: dict[str, Any]) -> Shapes:
    model = ModelConfig.from_hf({"model_type": model_type, **config})
    assert model.num_parameters == sum(tensor.size for tensor in model.tensors)
    assert model.num_tensors == len(model.tensors)
    shapes: Counter[tuple[int, ...]] = Counter()
    for tensor, count in model.counted_tensors:
        shapes[tensor.shape] += count
    assert shapes == Counter(tensor.shape for tensor in model.tensors)
    layers = sum(map(model.layer_parameters, range(model.architecture.layers)))
    assert model.num_parameters == model.outer_parameters + layers
    return [(tensor.name, tensor.shape) for tensor in model.tensors]


def named(cases: tuple[tuple[str, dict[str, Any]], ...]) -> list[Any]:
    """Each case under the name of its type and its place among those of that type."""
    names = [name for name, _ in cases]
    return [
        pytest.param(name, config, id=f"{name}-{names[: index + 1].count(name)}")
        for index, (name, config) in enumerate(cases)
    ]


@pytest.mark.parametrize(("model_type", "config"), named(DECODERS))
def test_names_shapes_and_order_of_a_decoder_are_those_of_transformers(
    model_type: str, config: dict[str, Any]
) -> None:
    assert counted(model_type, config) == built(model_type, config)


@pytest.mark.parametrize(("model_type", "config"), named(DECODERS))
def test_a_decoder_is_read_alike_from_what_transformers_writes_of_it(
    model_type: str, config: dict[str, Any]
) -> None:
    written = AutoConfig.for_model(model_type, **config).to_dict()
    found, again = (
        ModelConfig.from_hf({"model_type": model_type, **one}) for one in (config, written)
    )
    assert again.tensors == found.tensors
    assert again.architecture.windows == found.architecture.windows


GEMMA = {"model_type": "gemma4_text", **SMALL, "num_hidden_layers": 6, "head_dim": 16}
GEMMA |= {"hidden_size_per_layer_input": 0}
DENSE = {"per_layer_config": {}}
NARROW = {
    "per_layer_config": {
        **{f"{index:02}": {"num_key_value_heads": 1} for index in range(5)},
        "05": {"head_dim": 32},
    }
}


@pytest.mark.parametrize("own", [DENSE, NARROW, NARROW | {"global_head_dim": 64}])
def test_what_differs_by_layer_is_counted_layer_by_layer(own: dict[str, Any]) -> None:
    config = {key: value for key, value in (GEMMA | own).items() if key != "model_type"}
    assert counted("gemma4_text", config) == built("gemma4_text", config)


@pytest.mark.parametrize(
    ("model_type", "own", "key"),
    [
        ("gemma4_text", {"0": {"intermediate_size": 8}}, "per_layer_config.0"),
        ("gemma4_text", {"6": {"head_dim": 8}}, "per_layer_config"),
        ("gemma4_text", {"last": {"head_dim": 8}}, "per_layer_config"),
        ("gemma4_text", {"0": 8}, "per_layer_config"),
        ("gemma4_text", [8], "per_layer_config"),
        ("gemma4_text", {"0": {"head_dim": 0}}, "head_dim"),
        ("llama", {"1": {"intermediate_size": 8}}, "per_layer_config.1"),
    ],
)
def test_what_differs_by_layer_and_is_not_read_is_refused_by_name(
    model_type: str, own: object, key: str
) -> None:
    with pytest.raises(ModelError) as caught:
        ModelConfig.from_hf(GEMMA | {"model_type": model_type, "per_layer_config": own})
    assert caught.value.key == key


@pytest.mark.parametrize(("model_type", "config"), named(ENCODERS))
def test_an_encoder_has_the_tensors_of_its_masked_language_model(
    model_type: str, config: dict[str, Any]
) -> None:
    real = [shape for _, shape in built(model_type, config, AutoModelForMaskedLM)]
    assert sorted(shape for _, shape in counted(model_type, config)) == sorted(real)


@pytest.mark.parametrize(("model_type", "config"), named(BOTH_WAYS))
def test_t5_has_the_tensors_of_encoder_and_decoder(model_type: str, config: dict[str, Any]) -> None:
    real = built(model_type, config, AutoModelForSeq2SeqLM)
    assert sorted(counted(model_type, config)) == sorted(real)


def test_bert_that_names_its_masked_head_is_counted_with_it() -> None:
    sizes = {"hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 3}
    real = built("bert", sizes, AutoModelForMaskedLM)
    assert counted("bert", sizes | {"architectures": ["BertForMaskedLM"]}) == real


def test_every_family_is_among_the_small_models_or_in_the_catalogue() -> None:
    tried = {name for name, _ in (*DECODERS, *ENCODERS, *BOTH_WAYS)}
    tried |= {str(model.config["model_type"]) for model in CATALOGUE.values()}
    assert {*READERS} - tried == {"mllama_text_model", "gpt"}  # with the towers; of Megatron


@pytest.mark.parametrize("model_type", ["deepseek_v3", "granitemoehybrid", "nemotron_h", "lfm2"])
def test_the_largest_layer_is_that_of_the_largest_kind(model_type: str) -> None:
    config = next(config for name, config in DECODERS if name == model_type)
    model = ModelConfig.from_hf({"model_type": model_type, **config})
    each = [model.layer_parameters(index) for index in range(model.architecture.layers)]
    assert model.largest_layer == max(each) > min(each)
    assert sum(kind.layers for kind in model.kinds) == len(each)


def test_ranks_share_what_can_be_shared_and_repeat_the_rest() -> None:
    model = ModelConfig.from_hf(CATALOGUE["deepseek-ai/DeepSeek-V3"].config)
    share = model.split(8)
    whole, part = ({t.name: t.shape for t in one.layer_tensors(3)} for one in (model, share))
    at = "model.layers.3"
    assert part[f"{at}.self_attn.q_b_proj.weight"] == (128 // 8 * 192, 1536)
    assert part[f"{at}.self_attn.o_proj.weight"] == (7168, 128 // 8 * 128)
    assert part[f"{at}.mlp.experts.down_proj"] == (256, 7168, 2048 // 8)
    for name in ("self_attn.kv_a_proj_with_mqa.weight", "mlp.gate.weight"):
        assert part[f"{at}.{name}"] == whole[f"{at}.{name}"]


def test_a_larger_vocabulary_lengthens_embedding_and_head_alone() -> None:
    model = ModelConfig.from_hf(CATALOGUE["openai/gpt-oss-20b"].config)
    more = model.with_vocabulary(model.architecture.vocab + 10)
    assert more.num_parameters - model.num_parameters == 2 * 10 * 2880


anything = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)


@given(st.sampled_from((*DECODERS, *ENCODERS, *BOTH_WAYS)), st.data())
def test_any_value_under_any_key_is_counted_or_refused(
    case: tuple[str, dict[str, Any]], data: st.DataObject
) -> None:
    model_type, config = case
    key = data.draw(st.sampled_from(list(config)))
    value = data.draw(anything | st.lists(anything, max_size=6))
    try:
        model = ModelConfig.from_hf({"model_type": model_type, **config, key: value})
    except ModelError:
        return
    assert model.num_parameters > 0

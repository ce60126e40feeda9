"""Which module reads a config.json of which type, and the architecture that it comes to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Final, NamedTuple

from unfrozen.data_files import read_json
from unfrozen.errors import ModelError
from unfrozen.model import bert, gpt2, gpt_neox, llama, megatron
from unfrozen.model.architecture import ENCODERS, Architecture, Tensor
from unfrozen.model.blueprint import Blueprint
from unfrozen.model.families import READERS
from unfrozen.model.fields import Fields
from unfrozen.model.towers import WRAPPERS
from unfrozen.model.windows import windows


class _Style(NamedTuple):
    read: Callable[[str, Fields], Architecture]
    before: Callable[[Architecture], Iterator[Tensor]]
    layer: Callable[[Architecture, int], Iterator[Tensor]]
    after: Callable[[Architecture], Iterator[Tensor]]


STYLES: Final[dict[str, _Style]] = {
    model_type: _Style(style.read, style.before, style.layer, style.after)
    for style in (llama, gpt2, gpt_neox, bert, megatron)
    for model_type in style.MODEL_TYPES
}

SAME: Final = {
    "kimi_k2": "deepseek_v3",
    "minicpm": "llama",
    "qwen2_vl_text": "qwen2",
    "qwen2_5_vl_text": "qwen2",
    "qwen3_vl_text": "qwen3",
    "qwen3_vl_moe_text": "qwen3_moe",
    "glm4v_text": "glm4",
    "glm4v_moe_text": "glm4_moe",
}
"""Types whose tensors are, but for defaults, those of another."""

CONFIG_DEFAULTS: Final[dict[str, dict[str, object]]] = read_json("model/defaults.json")["defaults"]
"""By model type and key, what transformers takes for a key that a config.json leaves out."""

SUPPORTED: Final = (*STYLES, *READERS, *SAME, *WRAPPERS)
"""Every `model_type` that can be counted exactly."""

# the heads that are counted, by the names of transformers' classes
_HEADS: Final = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
_CLASSIFIERS: Final = ("ForSequenceClassification", "ForMaskedLM", "ForPreTraining", "BertModel")
_MASKED: Final = ("ForMaskedLM", "Model", "ForPreTraining")
_NAMED: Final = 16  # of them in a message
_SIZES: Final = ("hidden_size", "num_hidden_layers", "vocab_size", "d_model", "dim", "n_layer")


def read(config: Mapping[str, object]) -> Architecture:
    """The architecture of a raw config.json. Raises ModelError for one that cannot be counted."""
    return _read(_model_type(config), config)


def _read(model_type: str, config: Mapping[str, object], nested: bool = False) -> Architecture:
    """The architecture of a config; one that is nested in another may leave out what is usual."""
    known: Mapping[str, object] = CONFIG_DEFAULTS.get(model_type, {})
    model_type = SAME.get(model_type, model_type)
    if model_type in WRAPPERS and not _is_text_alone(config):
        text = WRAPPERS[model_type].text(config)
        kind = str(text["model_type"])
        if kind not in SAME and kind not in STYLES and kind not in READERS:
            raise _unknown("text_config.model_type", kind)
        inner = drawn(_read(kind, text, nested=True))
        return WRAPPERS[model_type].read(Fields(config), inner)
    if model_type in WRAPPERS:
        text = WRAPPERS[model_type].text(config)
        return _read(str(text["model_type"]), text, nested=True)
    if not nested:  # a file that names no size is not the file of a model
        known = {key: value for key, value in known.items() if key not in _SIZES}
    fields = Fields(config, known if nested or model_type in READERS else {})
    reader = READERS[model_type] if model_type in READERS else STYLES[model_type].read
    found = reader(model_type, fields)
    return replace(found, windows=windows(model_type, fields, found.layers))


def _is_text_alone(config: Mapping[str, object]) -> bool:
    """Whether the file of a vision-language model says that it is of its language model only."""
    classes = config.get("architectures")
    return isinstance(classes, list) and bool(classes) and str(classes[0]).endswith("ForCausalLM")


def drawn(a: Architecture) -> Architecture:
    """The architecture with its tensors listed, which a larger model puts under its own names."""
    if a.blueprint:
        return a
    style = STYLES[a.model_type]
    order = [int(a.is_sparse(index)) for index in range(a.layers)]
    at = "model.layers.{}"
    kinds = []
    for kind in (0, 1):
        index = order.index(kind) if kind in order else 0
        prefix = f"{at.format(index)}."
        layer = style.layer(a, index)
        kinds.append([replace(t, name=t.name.removeprefix(prefix)) for t in layer])
    return replace(a, blueprint=Blueprint(style.before(a), kinds, order, style.after(a), at))


def _model_type(config: Mapping[str, object]) -> str:
    value = config.get("model_type")
    if value is None:
        raise ModelError("model_type", "nothing", "config.json must name its model type", _remedy())
    if not isinstance(value, str) or value not in SUPPORTED:
        raise _unknown("model_type", value, isinstance(config.get("text_config"), Mapping))
    classes = config.get("architectures")
    if not (isinstance(classes, list) and classes):
        return value
    heads: tuple[str, ...] = _CLASSIFIERS if value == "bert" else _HEADS
    heads += _MASKED if value in ENCODERS else ()
    if value not in WRAPPERS and not str(classes[0]).endswith(heads):
        bound = "only causal language models are counted, and this class has another head"
        raise ModelError("architectures", classes[0], bound, "name the …ForCausalLM class")
    return value


def _unknown(key: str, value: object, inside: bool = False) -> ModelError:
    bound = "this architecture cannot be counted exactly yet"
    remedy = f"pass its text_config alone; {_remedy()}" if inside else _remedy()
    return ModelError(key, value, bound, remedy)


def _remedy() -> str:
    return f"supported are {', '.join(SUPPORTED[:_NAMED])} and {len(SUPPORTED) - _NAMED} more"

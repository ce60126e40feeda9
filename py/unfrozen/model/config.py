"""From a Hugging Face config.json to the exact tensors of the model it names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Final, NamedTuple

from unfrozen.errors import ModelError
from unfrozen.model import bert, gpt2, gpt_neox, llama, megatron
from unfrozen.model.architecture import ENCODERS, Architecture, Tensor
from unfrozen.model.blueprint import Blueprint
from unfrozen.model.families import READERS
from unfrozen.model.fields import Fields
from unfrozen.model.published.defaults import DEFAULTS
from unfrozen.model.towers import WRAPPERS


class _Style(NamedTuple):
    read: Callable[[str, Fields], Architecture]
    before: Callable[[Architecture], Iterator[Tensor]]
    layer: Callable[[Architecture, int], Iterator[Tensor]]
    after: Callable[[Architecture], Iterator[Tensor]]


_STYLES: Final[dict[str, _Style]] = {
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

SUPPORTED: Final = (*_STYLES, *READERS, *SAME, *WRAPPERS)
"""Every `model_type` that can be counted exactly."""

# the heads that are counted, by the names of transformers' classes
_HEADS: Final = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
_CLASSIFIERS: Final = ("ForSequenceClassification", "ForMaskedLM", "ForPreTraining", "BertModel")
_MASKED: Final = ("ForMaskedLM", "Model", "ForPreTraining")
_SIZES: Final = ("hidden_size", "num_hidden_layers", "vocab_size", "d_model", "dim", "n_layer")


class Kind(NamedTuple):
    """Layers of one kind: the number of the first, how many there are, and what each holds."""

    first: int
    layers: int
    parameters: int
    sparse: bool


@dataclass(frozen=True)
class ModelConfig:
    """A model that can be counted exactly; `from_hf` reads it from a config.json."""

    architecture: Architecture

    def __hash__(self) -> int:
        """Computed once: plans of one model are looked up by it."""
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash(self.architecture)

    @classmethod
    def from_hf(cls, config: Mapping[str, object]) -> ModelConfig:
        """Read a raw config.json, as published, of one of the `SUPPORTED` model types.

        Keys that do not change the tensors are ignored; missing optional keys take the defaults
        of transformers. Raises ModelError, naming key, value, bound and remedy, for a missing or
        wrong key, for sizes that do not divide and for an architecture that is not supported.
        """
        if not isinstance(config, Mapping):
            raise ModelError("model", config, "it must be an object", "pass a config.json")
        return cls(_read(_model_type(config), config))

    @cached_property
    def tensors(self) -> tuple[Tensor, ...]:
        """Every trainable tensor, named, shaped and ordered as in transformers' model.

        As `named_parameters()` does, it lists a tied head once, as the embedding.
        """
        layers = (t for index in range(self.architecture.layers) for t in self._layer(index))
        return (*self._before, *layers, *self._after)

    @cached_property
    def num_parameters(self) -> int:
        """Trainable parameters, each counted once: equal to the real model's, exactly."""
        inside = sum(kind.layers * kind.parameters for kind in self.kinds)
        return self.outer_parameters + inside

    @cached_property
    def outer_parameters(self) -> int:
        """Parameters outside the layers: embeddings, last norm, an untied head, towers."""
        return sum(tensor.size for part in (self._before, self._after) for tensor in part)

    @cached_property
    def tower_parameters(self) -> int:
        """Of them, those of what sees pictures."""
        written = self.architecture.blueprint
        parts = (*written.before, *written.after) if written else ()
        return sum(t.size for t in parts if written and written.is_tower(t))

    @cached_property
    def num_tensors(self) -> int:
        """How many trainable tensors there are."""
        inside = sum(kind.layers * len(self.layer_tensors(kind.first)) for kind in self.kinds)
        return len(self._before) + len(self._after) + inside

    @cached_property
    def layer_matrices(self) -> int:
        """Parameters of the first layer that belong to matrices: all but norms and biases."""
        return sum(tensor.size for tensor in self.layer_tensors(0) if len(tensor.shape) > 1)

    @cached_property
    def layer_linears(self) -> int:
        """Parameters of the linear layers of a layer, the mean of all: no stacked experts."""
        each = ((kind.layers, self.layer_tensors(kind.first)) for kind in self.kinds)
        total = sum(n * sum(t.size for t in found if len(t.shape) == 2) for n, found in each)
        return total // self.architecture.layers

    @cached_property
    def largest_matrix(self) -> int:
        """Elements of the largest matrix inside a layer."""
        layers = (self.layer_tensors(kind.first) for kind in self.kinds)
        return max(t.size for layer in layers for t in layer if len(t.shape) > 1)

    @cached_property
    def largest_tensor(self) -> int:
        """Elements of the largest tensor."""
        layers = (self.layer_tensors(kind.first) for kind in self.kinds)
        return max(t.size for part in (self._before, self._after, *layers) for t in part)

    @cached_property
    def largest_layer(self) -> int:
        """Parameters of the largest layer."""
        return max(kind.parameters for kind in self.kinds)

    @cached_property
    def sparse_layers(self) -> int:
        """How many layers route their tokens to experts."""
        return sum(kind.layers for kind in self.kinds if kind.sparse)

    @cached_property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of its layers, in the order in which they come first."""
        found: dict[object, list[int]] = {}
        for index in range(self.architecture.layers):
            found.setdefault(self._key(index), []).append(index)
        return tuple(
            Kind(
                where[0],
                len(where),
                sum(tensor.size for tensor in self.layer_tensors(where[0])),
                self.architecture.is_sparse(where[0]),
            )
            for where in found.values()
        )

    def with_vocabulary(self, rows: int) -> ModelConfig:
        """The same model with an embedding, and an untied head, of so many rows."""
        return ModelConfig(self.architecture.with_vocabulary(rows))

    def split(self, ranks: int) -> ModelConfig:
        """What one of `ranks` tensor-parallel ranks holds; ModelError where sizes do not divide."""
        return self if ranks == 1 else _split(self, ranks)

    def layer_tensors(self, index: int) -> tuple[Tensor, ...]:
        """The tensors of layer `index`, from 0."""
        return tuple(self._layer(index))

    def layer_parameters(self, index: int) -> int:
        """Parameters of layer `index`."""
        return self._sizes[self._key(index)]

    def _key(self, index: int) -> object:
        """What tells layers of different tensors, or different sizes, apart."""
        a = self.architecture
        drawn = a.blueprint.order[index] if a.blueprint else 0
        return drawn, a.order[index] if a.order else 0, a.is_sparse(index)

    @cached_property
    def _sizes(self) -> dict[object, int]:
        return {self._key(kind.first): kind.parameters for kind in self.kinds}

    @cached_property
    def _before(self) -> tuple[Tensor, ...]:
        a = self.architecture
        return a.blueprint.before if a.blueprint else (*_STYLES[a.model_type].before(a),)

    @cached_property
    def _after(self) -> tuple[Tensor, ...]:
        a = self.architecture
        return a.blueprint.after if a.blueprint else (*_STYLES[a.model_type].after(a),)

    def _layer(self, index: int) -> Iterator[Tensor]:
        a = self.architecture
        if a.blueprint:
            return a.blueprint.layer(index)
        return _STYLES[a.model_type].layer(a, index)


@lru_cache(maxsize=1024)
def _split(model: ModelConfig, ranks: int) -> ModelConfig:
    return ModelConfig(model.architecture.split(ranks))


def _read(model_type: str, config: Mapping[str, object], nested: bool = False) -> Architecture:
    """The architecture of a config; one that is nested in another may leave out what is usual."""
    known: Mapping[str, object] = DEFAULTS.get(model_type, {})
    model_type = SAME.get(model_type, model_type)
    if model_type in WRAPPERS and not _is_text_alone(config):
        text = WRAPPERS[model_type].text(config)
        kind = str(text["model_type"])
        if kind not in SAME and kind not in _STYLES and kind not in READERS:
            raise _unknown("text_config.model_type", kind)
        inner = drawn(_read(kind, text, nested=True))
        return WRAPPERS[model_type].read(Fields(config), inner)
    if model_type in WRAPPERS:
        text = WRAPPERS[model_type].text(config)
        return _read(str(text["model_type"]), text, nested=True)
    if not nested:  # a file that names no size is not the file of a model
        known = {key: value for key, value in known.items() if key not in _SIZES}
    if model_type in READERS:
        return READERS[model_type](model_type, Fields(config, known))
    return _STYLES[model_type].read(model_type, Fields(config, known if nested else {}))


def _is_text_alone(config: Mapping[str, object]) -> bool:
    """Whether the file of a vision-language model says that it is of its language model only."""
    classes = config.get("architectures")
    return isinstance(classes, list) and bool(classes) and str(classes[0]).endswith("ForCausalLM")


def drawn(a: Architecture) -> Architecture:
    """The architecture with its tensors listed, which a larger model puts under its own names."""
    if a.blueprint:
        return a
    style = _STYLES[a.model_type]
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
    return f"supported are {', '.join(SUPPORTED)}"

"""From a Hugging Face config.json to the exact tensors of the model it names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Final, NamedTuple

from unfrozen.errors import ModelError
from unfrozen.model import bert, gpt2, gpt_neox, llama, megatron
from unfrozen.model.architecture import Architecture, Experts, Tensor
from unfrozen.model.fields import Fields


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

SUPPORTED: Final = tuple(_STYLES)
"""Every `model_type` that can be counted exactly."""

# the heads that are counted, by the names of transformers' classes
_HEADS: Final = ("ForCausalLM", "LMHeadModel")
_CLASSIFIERS: Final = ("ForSequenceClassification", "ForMaskedLM", "ForPreTraining", "BertModel")


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
        model_type = _model_type(config)
        return cls(_STYLES[model_type].read(model_type, Fields(config)))

    @cached_property
    def tensors(self) -> tuple[Tensor, ...]:
        """Every trainable tensor, named, shaped and ordered as in transformers' model.

        As `named_parameters()` does, it lists a tied head once, as the embedding.
        """
        layers = map(self.layer_tensors, range(self.architecture.layers))
        before, after = self._ends
        return (*before, *(tensor for layer in layers for tensor in layer), *after)

    @cached_property
    def _ends(self) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """The tensors before and after the layers, as far as this part of a model has them."""
        a, style = self.architecture, _STYLES[self.architecture.model_type]
        before = tuple(style.before(a)) if a.has_embedding else ()
        return before, tuple(style.after(a)) if a.has_head else ()

    @cached_property
    def num_parameters(self) -> int:
        """Trainable parameters, each counted once: equal to the real model's, exactly."""
        sparse, layers = self.sparse_layers, self.architecture.layers
        in_layers = (layers - sparse) * self._layer_size(False) + sparse * self._layer_size(True)
        return self.outer_parameters + in_layers

    @cached_property
    def outer_parameters(self) -> int:
        """Parameters outside the layers: embeddings, last norm, an untied head."""
        return sum(tensor.size for part in self._ends for tensor in part)

    @cached_property
    def expert_parameters(self) -> int:
        """Parameters of all experts that tokens are routed to."""
        if not self.sparse_layers:
            return 0
        index = next(i for i in range(self.architecture.layers) if self.architecture.is_sparse(i))
        layer = self.layer_tensors(index)
        return self.sparse_layers * sum(t.size for t in layer if _of_experts(t))

    @cached_property
    def num_tensors(self) -> int:
        """How many trainable tensors there are."""
        a = self.architecture
        if a.experts:
            return len(self.tensors)
        return sum(map(len, self._ends)) + a.layers * len(self.layer_tensors(0))

    @cached_property
    def layer_matrices(self) -> int:
        """Parameters of the first layer that belong to matrices: all but norms and biases."""
        return sum(t.size for t in self.layer_tensors(0) if len(t.shape) > 1)

    @cached_property
    def layer_linears(self) -> int:
        """Parameters of the linear layers of the first layer: its matrices but stacked experts."""
        return sum(t.size for t in self.layer_tensors(0) if len(t.shape) == 2)

    @cached_property
    def largest_matrix(self) -> int:
        """Elements of the largest matrix inside a layer."""
        kinds = {self.architecture.is_sparse(i): i for i in range(self.architecture.layers)}
        layers = (self.layer_tensors(index) for index in kinds.values())
        return max(t.size for layer in layers for t in layer if len(t.shape) > 1)

    @cached_property
    def largest_tensor(self) -> int:
        """Elements of the largest tensor."""
        a = self.architecture
        kinds = (
            {a.is_sparse(index): index for index in range(a.layers)} if a.experts else {False: 0}
        )
        parts = [*self._ends, *map(self.layer_tensors, kinds.values())]
        return max(tensor.size for part in parts for tensor in part)

    @cached_property
    def largest_layer(self) -> int:
        """Parameters of the largest layer."""
        return max(self._layer_size(False), self._layer_size(True))

    @cached_property
    def sparse_layers(self) -> int:
        """How many layers route their tokens to experts."""
        return sum(map(self.architecture.is_sparse, range(self.architecture.layers)))

    def with_vocabulary(self, rows: int) -> ModelConfig:
        """The same model with an embedding, and an untied head, of so many rows."""
        return ModelConfig(replace(self.architecture, vocab=rows))

    def split(self, ranks: int, sharers: int = 1, own: int | None = None) -> ModelConfig:
        """What one of `ranks` tensor-parallel ranks holds; ModelError where sizes do not divide.

        `sharers` and `own` ranks share out the experts and each of them, see `Architecture.split`.
        """
        alone = ranks == sharers == (own or 1) == 1
        return self if alone else _split(self, ranks, sharers, own)

    def only(self, layers: tuple[int, ...], *, embedding: bool, head: bool) -> ModelConfig:
        """These layers of the model, with or without what stands at its ends."""
        return _part(self, layers, embedding, head)

    def layer_tensors(self, index: int) -> tuple[Tensor, ...]:
        """The tensors of layer `index`, from 0; of experts that are shared out those of a card."""
        a = self.architecture
        tensors = _STYLES[a.model_type].layer(a, index)
        experts = a.experts
        if experts is None or (experts.sharers == 1 and experts.widths[0] == experts.widths[1]):
            return tuple(tensors)
        return tuple(
            _held(tensor, experts) if _of_experts(tensor) else tensor for tensor in tensors
        )

    def layer_parameters(self, index: int) -> int:
        """Parameters of layer `index` (dense and sparse layers differ, others do not)."""
        return self._layer_size(self.architecture.is_sparse(index))

    def _layer_size(self, sparse: bool) -> int:
        return self._layer_sizes[sparse]

    @cached_property
    def _layer_sizes(self) -> dict[bool, int]:
        """Parameters of a layer without and with experts, 0 where there is none."""
        a, found = self.architecture, {False: 0, True: 0}
        for sparse in found:
            index = next((i for i in range(a.layers) if a.is_sparse(i) == sparse), None)
            if index is not None:
                found[sparse] = sum(tensor.size for tensor in self.layer_tensors(index))
        return found


@lru_cache(maxsize=1024)
def _split(model: ModelConfig, ranks: int, sharers: int, own: int | None) -> ModelConfig:
    return ModelConfig(model.architecture.split(ranks, sharers, own))


@lru_cache(maxsize=4096)
def _part(model: ModelConfig, layers: tuple[int, ...], embedding: bool, head: bool) -> ModelConfig:
    return ModelConfig(model.architecture.only(layers, embedding=embedding, head=head))


def _of_experts(tensor: Tensor) -> bool:
    """Whether a tensor stacks a matrix of each expert."""
    return ".experts." in tensor.name


def _held(tensor: Tensor, experts: Experts) -> Tensor:
    """A stack of matrices of all experts cut to those, and to the width, that a card holds."""
    shape, wide = [experts.held, *tensor.shape[1:]], (experts.ffn, 2 * experts.ffn)
    cut = next((place for place, size in enumerate(shape) if place and size in wide), 0)
    if cut:  # exactly one, where the model is as wide as an expert
        shape[cut] = shape[cut] // experts.ffn * experts.held_ffn
    return Tensor(tensor.name, tuple(shape))


def _model_type(config: Mapping[str, object]) -> str:
    value = config.get("model_type")
    remedy = f"supported are {', '.join(SUPPORTED)}"
    if value is None:
        raise ModelError("model_type", "nothing", "config.json must name its model type", remedy)
    if not isinstance(value, str) or value not in _STYLES:
        bound = "this architecture cannot be counted exactly yet"
        if isinstance(config.get("text_config"), Mapping):
            remedy = f"pass its text_config alone; {remedy}"
        raise ModelError("model_type", value, bound, remedy)
    classes = config.get("architectures")
    heads = _CLASSIFIERS if value == "bert" else _HEADS
    if isinstance(classes, list) and classes and not str(classes[0]).endswith(heads):
        bound = "only causal language models are counted, and this class has another head"
        raise ModelError("architectures", classes[0], bound, "name the …ForCausalLM class")
    return value

"""From a Hugging Face config.json to the exact tensors of the model it names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import NamedTuple

from unfrozen.errors import ModelError
from unfrozen.model.architecture import Architecture, Tensor
from unfrozen.model.shared_out import copied_head, held, of_experts
from unfrozen.model.styles import STYLES, SUPPORTED, read

__all__ = ["SUPPORTED", "Kind", "ModelConfig"]


class Kind(NamedTuple):
    """Layers of one kind: the number of the first, how many there are, and what each holds."""

    first: int
    layers: int
    parameters: int
    sparse: bool


@dataclass(frozen=True)
class ModelConfig:
    """A model that can be counted exactly; `from_hf` reads it from a config.json.

    `frozen` parameters more stand beside it, which never train: those of a tower.
    """

    architecture: Architecture
    frozen: int = 0

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
        return cls(read(config))

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
        if written is None:
            return 0
        parts = (*self._before, *self._after)
        return sum(t.size for t in parts if written.is_tower(t))

    @cached_property
    def expert_parameters(self) -> int:
        """Parameters of all experts that tokens are routed to."""
        sparse = [kind for kind in self.kinds if kind.sparse]
        layers = ((kind.layers, self.layer_tensors(kind.first)) for kind in sparse)
        return sum(n * sum(t.size for t in layer if of_experts(t)) for n, layer in layers)

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
        return replace(self, architecture=self.architecture.with_vocabulary(rows))

    @property
    def language(self) -> ModelConfig:
        """Its language model, beside what sees pictures and does not train."""
        return _language(self) if self.tower_parameters else self

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
        return tuple(self._layer(index))

    def layer_parameters(self, index: int) -> int:
        """Parameters of layer `index`."""
        return self._sizes[self._key(index)]

    def _key(self, index: int) -> object:
        """What tells layers of different tensors, or different sizes, apart."""
        a = self.architecture
        drawn = a.blueprint.order[a.number(index)] if a.blueprint else 0
        return drawn, a.order[index] if a.order else 0, a.is_sparse(index)

    @cached_property
    def _sizes(self) -> dict[object, int]:
        return {self._key(kind.first): kind.parameters for kind in self.kinds}

    @cached_property
    def _before(self) -> tuple[Tensor, ...]:
        a = self.architecture
        if not a.has_embedding:
            return ()
        return a.blueprint.before if a.blueprint else (*STYLES[a.model_type].before(a),)

    @cached_property
    def _after(self) -> tuple[Tensor, ...]:
        a = self.architecture
        if not a.has_head:
            return ()
        if a.blueprint is None:
            return (*STYLES[a.model_type].after(a),)
        heads = any(tensor.vocabulary for tensor in a.blueprint.after)
        own = () if a.tied or heads or a.has_embedding else (copied_head(a),)
        return (*a.blueprint.after, *own)

    def _layer(self, index: int) -> Iterator[Tensor]:
        a = self.architecture
        if a.blueprint:
            tensors = a.blueprint.layer(a.number(index))
        else:
            tensors = STYLES[a.model_type].layer(a, index)
        experts = a.experts
        if experts is None or (experts.sharers == 1 and experts.widths[0] == experts.widths[1]):
            return tensors
        return (held(tensor, experts) if of_experts(tensor) else tensor for tensor in tensors)


@lru_cache(maxsize=1024)
def _split(model: ModelConfig, ranks: int, sharers: int, own: int | None) -> ModelConfig:
    return replace(model, architecture=model.architecture.split(ranks, sharers, own))


@lru_cache(maxsize=4096)
def _part(model: ModelConfig, layers: tuple[int, ...], embedding: bool, head: bool) -> ModelConfig:
    found = model.architecture.only(layers, embedding=embedding, head=head)
    return ModelConfig(found, model.frozen if embedding else 0)


@lru_cache(maxsize=1024)
def _language(model: ModelConfig) -> ModelConfig:
    a = model.architecture
    assert a.blueprint is not None
    alone = replace(a, vision=None, blueprint=a.blueprint.without_towers())
    return ModelConfig(alone, model.tower_parameters)

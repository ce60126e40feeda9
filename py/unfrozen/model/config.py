"""From a Hugging Face config.json to the exact tensors of the model that it names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Final, NamedTuple

from unfrozen.data_files import read_json
from unfrozen.errors import ModelError
from unfrozen.model import derived, structure, tasks, traced
from unfrozen.model.architecture import Architecture, Counted, Experts, Tensor
from unfrozen.model.attention_windows import windows
from unfrozen.model.families import READERS
from unfrozen.model.families.encoders import with_classifier
from unfrozen.model.families.state_space import nemotron_words
from unfrozen.model.fields import Fields
from unfrozen.model.unknown_keys import unknown_keys
from unfrozen.model.vision_language import WRAPPERS

SAME: Final = {
    "kimi_k2": "deepseek_v3",
    "minicpm": "llama",
    "xlm-roberta": "roberta",
    "camembert": "roberta",
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

SUPPORTED: Final = (*READERS, *SAME, *WRAPPERS)
"""Every `model_type` whose layers were traced; others are in `derived.table`."""

_ALIKE: Final = (
    *("hidden_size", "num_hidden_layers", "num_attention_heads"),
    *("intermediate_size", "vocab_size"),
)
_NAMED: Final = 16  # of them in a message
_SIZES: Final = ("hidden_size", "num_hidden_layers", "vocab_size", "d_model", "dim", "n_layer")


def read_architecture(config: Mapping[str, object]) -> Architecture:
    """Return the architecture of a raw config.json. Raises ModelError."""
    if (kind := tasks.other_kind(config)) and not has_family(config.get("model_type")):
        return _read_encoder(kind, config)
    model_type = _model_type(config)
    known = model_type in SUPPORTED
    found = _read(model_type, config) if known else _read_derived(model_type, config)
    if not has_family(model_type):
        return found
    unknown = unknown_keys(config, SAME.get(model_type, model_type))
    return replace(tasks.with_task(found, config), unknown_keys=unknown)


def _read_encoder(kind: str, config: Mapping[str, object]) -> Architecture:
    """Return the architecture of an encoder of images or sound, by its sizes. Raises ModelError."""
    alike = tasks.as_encoder(config)
    name = str(config.get("model_type") or config.get("_class_name"))
    if alike is None:
        bound = f"it is {kind}: neither its layers nor its loss are those of a language model"
        raise ModelError("model_type", name, bound, "plan a language model, or its text encoder")
    found = _read("bert", alike)
    saved = f"its tensors, taken for those of {kind} of its sizes, and what its layers save"
    task = f"{kind[:1].upper()}{kind[1:]}: planned with a classifier, by positions of an image."
    task = task if "image" in kind else task.replace(", by positions of an image", "")
    return replace(found, model_type=name, estimated=saved, counted="bounded", task=task)


def families() -> dict[str, str]:
    """Return how each `model_type` is counted: "exact", or "bounded" where some configs are not."""
    table = derived.table()
    found = dict.fromkeys((*SUPPORTED, *(name for name in table.entries if ":" not in name)))
    bounded = {*table.bounded, *table.without} - {*SUPPORTED}
    return {name: "bounded" if name in bounded else "exact" for name in (*found, *bounded)}


def has_family(model_type: object) -> bool:
    """Return whether a `model_type` is counted, exactly or not."""
    table = derived.table()
    known = (SUPPORTED, table.entries, table.without)
    return isinstance(model_type, str) and any(model_type in names for names in known)


def _read_derived(model_type: str, config: Mapping[str, object]) -> Architecture:
    """Return the architecture of a family whose tensors were derived from transformers, or are
    traced now where they were not. Raises ModelError.
    """
    table, problem, tensors = derived.table(), Exception(), list[Tensor]()
    counted: Counted = "bounded" if model_type in table.bounded else "exact"
    try:
        entry = table.entries[model_type]
        own = derived.tensors_of(entry, config, table.entries)
        whole, tensors = derived.whole_config(entry, config, table.entries), own
    except (KeyError, derived.NotDerived) as error:
        problem = error
    note = ""
    if not tensors or counted == "bounded":
        try:
            version, whole, tensors = traced.trace(config)
            counted, note = "traced", f"Its tensors are those that transformers {version} builds."
        except traced.NotTraced as error:
            note = f"Not traced: {error}." if str(error) else ""
    if not tensors and isinstance(problem, derived.NotComputed) and counted == "exact":
        bound = f"its tensors cannot be counted: {problem}"
        raise ModelError("model_type", model_type, bound, "copy the model's config.json")
    if not tensors:
        return replace(_read_alike(model_type, config, problem), counted_by=note)
    structure.check_sizes(tensors)
    found = replace(structure.read(model_type, whole, tensors), counted=counted, counted_by=note)
    some = f"some of its tensors, and {found.estimated}"
    return replace(found, estimated=some) if counted == "bounded" else found


def _read_alike(model_type: str, config: Mapping[str, object], error: Exception) -> Architecture:
    """Return the architecture of a decoder with the sizes of a config whose tensors are not known.

    Raises ModelError where it names no sizes.
    """
    sizes = structure.sizes(config)
    if missing := [key for key in _ALIKE if key not in sizes]:
        if not has_family(model_type):
            raise _unknown("model_type", model_type, isinstance(config.get("text_config"), Mapping))
        bound = f"without it a {model_type} cannot be estimated"
        if isinstance(error, derived.NotDerived):
            bound += f"; {error}"
        raise ModelError(missing[0], "nothing", bound, "copy the model's config.json")
    like = "qwen3_moe" if "num_experts" in sizes else "llama"
    if like == "llama":
        sizes["hidden_size"] -= sizes["hidden_size"] % sizes["num_attention_heads"]
    found = _read(like, sizes)
    words = (
        "its tensors, taken for those of a common decoder of its sizes, and what its layers save"
    )
    text = structure.text_config(config)
    seen = windows(model_type, Fields(text), found.layers)
    found = replace(found, estimated=words, counted="bounded", **structure.soft_caps(text))
    return replace(found, model_type=model_type, windows=seen)


def _read(model_type: str, config: Mapping[str, object], nested: bool = False) -> Architecture:
    """Return the architecture of a config; a nested one may leave out sizes."""
    known: Mapping[str, object] = CONFIG_DEFAULTS.get(model_type, {})
    model_type = SAME.get(model_type, model_type)
    if model_type in WRAPPERS and not _is_text_alone(config):
        text = WRAPPERS[model_type].text(config)
        kind = str(text["model_type"])
        if kind not in SAME and kind not in READERS:
            raise _unknown("text_config.model_type", kind)
        return WRAPPERS[model_type].read(model_type, config, _read(kind, text, nested=True))
    if model_type in WRAPPERS:
        text = WRAPPERS[model_type].text(config)
        return _read(str(text["model_type"]), text, nested=True)
    if not nested and model_type != "bert":  # a file that names no size is not the file of a model
        known = {key: value for key, value in known.items() if key not in _SIZES}
    fields = Fields(config, known)
    found = READERS[model_type](model_type, fields)
    if model_type == "nemotron_h":
        config = {**config, "layers_block_type": nemotron_words(fields)}
    if not found.blueprint.order:
        found = structure.with_tensors(found, {**known, **config})
        found = with_classifier(found) if found.labels else found
    if model_type != "gemma4_text":  # whose reader takes what differs by layer
        fields.layers("per_layer_config", found.layers, ())
    return replace(found, windows=windows(model_type, fields, found.layers))


def _is_text_alone(config: Mapping[str, object]) -> bool:
    """Return whether the config of a vision-language model describes its language model only."""
    classes = config.get("architectures")
    return isinstance(classes, list) and bool(classes) and str(classes[0]).endswith("ForCausalLM")


def _model_type(config: Mapping[str, object]) -> str:
    value = config.get("model_type")
    if value is None:
        raise ModelError("model_type", "nothing", "config.json must name its model type", _remedy())
    if not isinstance(value, str):
        raise _unknown("model_type", value)
    return value


def _unknown(key: str, value: object, inside: bool = False) -> ModelError:
    bound = "this architecture cannot be counted exactly yet"
    remedy = f"pass its text_config alone; {_remedy()}" if inside else _remedy()
    return ModelError(key, value, bound, remedy)


def _remedy() -> str:
    more = len(families()) - _NAMED
    return f"supported are {', '.join(SUPPORTED[:_NAMED])} and {more} more"


def copied_head(a: Architecture) -> Tensor:
    """Return the head of a stage whose tied embedding is on another stage."""
    return Tensor("lm_head.weight", (a.vocab, a.hidden))


def is_expert_stack(tensor: Tensor) -> bool:
    """Return whether a tensor stacks a matrix of each expert."""
    return ".experts." in tensor.name


def local_experts(tensor: Tensor, experts: Experts) -> Tensor:
    """Return a stack of experts' matrices cut to the experts, and to the width, on one GPU."""
    shape, wide = [experts.local_count, *tensor.shape[1:]], (experts.ffn, 2 * experts.ffn)
    cut = next((place for place, size in enumerate(shape) if place and size in wide), 0)
    if cut:  # exactly one, where the model is as wide as an expert
        shape[cut] = shape[cut] // experts.ffn * experts.local_ffn
    return Tensor(tensor.name, tuple(shape))


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
        """Return the hash, which is computed once: plans of one model are looked up by it."""
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
        return cls(read_architecture(config))

    @cached_property
    def tensors(self) -> tuple[Tensor, ...]:
        """Every trainable tensor, named, shaped and ordered as in transformers' model.

        As `named_parameters()` does, it lists a tied head once, as the embedding.
        """
        layers = (t for index in range(self.architecture.layers) for t in self._layer(index))
        return (*self.before, *layers, *self.after)

    @cached_property
    def counted_tensors(self) -> tuple[tuple[Tensor, int], ...]:
        """Those outside the layers and of one layer of each kind, with how many of it there are."""
        outside = [(tensor, 1) for tensor in (*self.before, *self.after)]
        inside = ((t, kind.layers) for kind in self.kinds for t in self.layer_tensors(kind.first))
        return (*outside, *inside)

    @cached_property
    def num_parameters(self) -> int:
        """Trainable parameters, each counted once: equal to the real model's, exactly."""
        inside = sum(kind.layers * kind.parameters for kind in self.kinds)
        return self.outer_parameters + inside

    @cached_property
    def outer_parameters(self) -> int:
        """Parameters outside the layers: embeddings, last norm, an untied head, towers."""
        return sum(tensor.size for part in (self.before, self.after) for tensor in part)

    @cached_property
    def tower_parameters(self) -> int:
        """Of them, those of the vision encoder and its projector."""
        parts = (*self.before, *self.after)
        return sum(t.size for t in parts if self.architecture.blueprint.is_tower(t))

    @cached_property
    def expert_parameters(self) -> int:
        """Parameters of all experts that tokens are routed to."""
        sparse = [kind for kind in self.kinds if kind.sparse]
        layers = ((kind.layers, self.layer_tensors(kind.first)) for kind in sparse)
        return sum(n * sum(t.size for t in layer if is_expert_stack(t)) for n, layer in layers)

    @cached_property
    def num_tensors(self) -> int:
        """How many trainable tensors there are."""
        inside = sum(kind.layers * len(self.layer_tensors(kind.first)) for kind in self.kinds)
        return len(self.before) + len(self.after) + inside

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
    def largest_linear(self) -> int:
        """Elements of the largest linear layer, of which stacked experts are one each."""
        layers = (self.layer_tensors(kind.first) for kind in self.kinds)
        shapes = (t.shape for layer in layers for t in layer if len(t.shape) > 1)
        return max(shape[-2] * shape[-1] for shape in shapes)

    @cached_property
    def largest_tensor(self) -> int:
        """Elements of the largest tensor."""
        layers = (self.layer_tensors(kind.first) for kind in self.kinds)
        return max(t.size for part in (self.before, self.after, *layers) for t in part)

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
        """Return the same model with another number of rows of the embedding and untied head."""
        return replace(self, architecture=self.architecture.with_vocabulary(rows))

    @property
    def language(self) -> ModelConfig:
        """Its language model, beside its frozen vision encoder."""
        return _language(self) if self.tower_parameters else self

    def split(self, ranks: int, expert_parallel: int = 1, own: int | None = None) -> ModelConfig:
        """Return what one of `ranks` tensor-parallel ranks holds; ModelError where sizes do not
        divide.

        See `Architecture.split` for `expert_parallel` and `own`.
        """
        alone = ranks == expert_parallel == (own or 1) == 1
        return self if alone else _split(self, ranks, expert_parallel, own)

    def only(self, layers: tuple[int, ...], *, embedding: bool, head: bool) -> ModelConfig:
        """Return these layers of the model, with or without embedding and head."""
        return _part(self, layers, embedding, head)

    def layer_tensors(self, index: int) -> tuple[Tensor, ...]:
        """Return the tensors of layer `index`, from 0; of sharded experts, those on one GPU."""
        return tuple(self._layer(index))

    def layer_parameters(self, index: int) -> int:
        """Return the number of parameters of layer `index`."""
        return self._sizes[self._key(index)]

    def _key(self, index: int) -> object:
        """Return a key that is equal for layers with equal tensors."""
        a = self.architecture
        kind = a.blueprint.order[a.number(index)]
        return kind, a.order[index] if a.order else 0, a.is_sparse(index)

    @cached_property
    def _sizes(self) -> dict[object, int]:
        return {self._key(kind.first): kind.parameters for kind in self.kinds}

    @cached_property
    def before(self) -> tuple[Tensor, ...]:
        """The tensors before the layers: embeddings, towers."""
        a = self.architecture
        return a.blueprint.before if a.has_embedding else ()

    @cached_property
    def after(self) -> tuple[Tensor, ...]:
        """The tensors after the layers: the last norm, an untied head."""
        a = self.architecture
        if not a.has_head:
            return ()
        heads = any(tensor.vocabulary for tensor in a.blueprint.after)
        own = () if a.tied or heads or a.has_embedding else (copied_head(a),)
        return (*a.blueprint.after, *own)

    def _layer(self, index: int) -> Iterator[Tensor]:
        a = self.architecture
        tensors = a.blueprint.layer(a.number(index))
        experts = a.experts
        if experts is None or (
            experts.expert_parallel == 1 and experts.widths[0] == experts.widths[1]
        ):
            return tensors
        return (
            local_experts(tensor, experts) if is_expert_stack(tensor) else tensor
            for tensor in tensors
        )


@lru_cache(maxsize=1024)
def _split(model: ModelConfig, ranks: int, expert_parallel: int, own: int | None) -> ModelConfig:
    return replace(model, architecture=model.architecture.split(ranks, expert_parallel, own))


@lru_cache(maxsize=4096)
def _part(model: ModelConfig, layers: tuple[int, ...], embedding: bool, head: bool) -> ModelConfig:
    found = model.architecture.only(layers, embedding=embedding, head=head)
    return ModelConfig(found, model.frozen if embedding else 0)


@lru_cache(maxsize=1024)
def _language(model: ModelConfig) -> ModelConfig:
    a = model.architecture
    alone = replace(a, vision=False, blueprint=a.blueprint.without_towers())
    return ModelConfig(alone, model.tower_parameters)

"""Vision-language models by their `model_type`: vision encoder, projector, language model.

Encoder and projector are those that were derived from the `…ForConditionalGeneration` classes of
transformers (`derived`), the language model is that of its own type. The head is tied as the whole
model's file says, not as that of its language model does. Tensor parallelism leaves encoder and
projector whole on each GPU: the `base_model_tp_plan` of transformers names matrices of the language
model alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final, NamedTuple

from unfrozen.errors import ModelError
from unfrozen.model import derived, structure
from unfrozen.model.architecture import Architecture
from unfrozen.model.fields import Fields


class Wrapper(NamedTuple):
    """One kind of vision-language model."""

    text_type: str
    model_at: str = "model.language_model"
    tied: bool = False
    head_at: str = "lm_head"
    inner_ties: bool = False  # also where only the file of the language model says so

    def text(self, config: Mapping[str, object]) -> dict[str, object]:
        """Return the config of the language model, tied as the whole is; ModelError without one."""
        found = config.get("text_config")
        if found is None and "hidden_size" in config:  # as Qwen2-VL's file was first written
            found = {**config, "model_type": self.text_type}
        if not isinstance(found, Mapping):
            bound = "a model that sees pictures has a language model"
            raise ModelError("text_config", found, bound, "copy it from the model's config.json")
        text = dict(found)
        text.setdefault("model_type", self.text_type)
        text.pop("architectures", None)
        tied = config.get("tie_word_embeddings")
        tied = self.tied if tied is None else tied
        if self.inner_ties and not tied:
            tied = text.get("tie_word_embeddings") or False
        return text | {"tie_word_embeddings": tied}

    def read(
        self, model_type: str, config: Mapping[str, object], text: Architecture
    ) -> Architecture:
        """Return the whole model, around the architecture of its language model."""
        given = Fields(config).inner("vision_config")
        entries = derived.table().entries
        entry = entries[model_type]
        known = [n.removeprefix("base:") for n in entries if n.startswith("base:")]
        known.append(entry["defaults"]["vision_config"]["model_type"])
        kind = given.get("model_type", known[-1])
        if kind not in (*known, model_type):
            bound = f"towers that are counted are {', '.join(known)}"
            raise ModelError("vision_config.model_type", kind, bound, "pass text_config alone")
        whole = {**config, "text_config": self.text(config)}
        try:
            tensors = derived.tensors_of(entry, whole, entries, without=("text_config",))
        except derived.NotDerived as error:
            raise ModelError(
                "vision_config", kind, str(error), "copy it from config.json"
            ) from None
        structure.check_sizes(tensors)
        inside = tuple(f"{name}." for name in (self.model_at, self.head_at))
        ordered = [replace(t, cut=None) for t in structure.in_order(tensors)]
        begins = next(i for i, t in enumerate(ordered) if t.name.startswith(inside[0]))
        before, after = (
            [t for t in part if not t.name.startswith(inside)]
            for part in (ordered[:begins], ordered[begins:])
        )
        written = text.blueprint.under(self.model_at, before, after, self.head_at)
        caps = text.caps_logits and model_type != "gemma3"  # whose class as a whole leaves it out
        return replace(text, blueprint=written, vision=True, caps_logits=caps)


_IDEFICS: Final = Wrapper("llama", "model.text_model")
_TIED: Final[dict[str, str]] = {
    **{"gemma3": "gemma3_text", "paligemma": "gemma", "internvl": "qwen2", "mistral3": "mistral"},
    **{"lfm2_vl": "lfm2", "cohere2_vision": "cohere2"},
}
_UNTIED: Final[dict[str, str]] = {
    **{"llava_next": "llama", "llava_onevision": "qwen2", "mllama": "mllama_text_model"},
    **{"glm4v_moe": "glm4v_moe_text", "qwen3_5": "qwen3_5_text"},
    **{"qwen3_5_moe": "qwen3_5_moe_text", "qwen2_vl": "qwen2_vl_text"},
    **{"qwen2_5_vl": "qwen2_5_vl_text", "qwen3_vl": "qwen3_vl_text"},
    **{"qwen3_vl_moe": "qwen3_vl_moe_text"},
}

WRAPPERS: Final[dict[str, Wrapper]] = {
    **{name: Wrapper(text) for name, text in _UNTIED.items()},
    **{name: Wrapper(text, tied=True) for name, text in _TIED.items()},
    "llava": Wrapper("llama", inner_ties=True),
    "glm4v": Wrapper("glm4v_text", inner_ties=True),
    "smolvlm": _IDEFICS,
    "idefics3": _IDEFICS,
    "llama4": Wrapper("llama4_text", "language_model.model", head_at="language_model.lm_head"),
}
"""By `model_type`."""

"""Vision-language models by their `model_type`: vision encoder, projector, language model.

Names, order and defaults are those of the `…ForConditionalGeneration` classes of transformers 5.24.
The head is tied as the whole model's file says, not as that of its language model does. Tensor
parallelism leaves encoder and projector whole on each GPU: the `base_model_tp_plan` of transformers
names matrices of the language model alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final, NamedTuple

from unfrozen.errors import ModelError
from unfrozen.model import modules, vision_encoders
from unfrozen.model.architecture import Architecture, Vision
from unfrozen.model.blueprint import Tensor
from unfrozen.model.fields import Fields
from unfrozen.model.vision_encoders import VISION_ENCODERS, VisionEncoder


class Projector(NamedTuple):
    """The projector from a vision tower of `patches` to the model: its tensors, and its tokens."""

    tensors: list[Tensor]
    tokens: int


class Wrapper(NamedTuple):
    """One kind of vision-language model."""

    text_type: str
    tower_type: str
    join: Callable[[Fields, VisionEncoder, int], Projector]
    tower_at: str = "model.vision_tower"
    model_at: str = "model.language_model"
    tied: bool = False
    tower: Callable[[str, Fields], VisionEncoder] | None = None
    fixed: bool = True
    head_at: str = "lm_head"
    projector_last: bool = False
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

    def read(self, fields: Fields, text: Architecture) -> Architecture:
        """Return the whole model, around the architecture of its language model."""
        given = fields.inner("vision_config")
        if not given:
            bound = "a model that sees pictures has a tower"
            raise ModelError("vision_config", None, bound, "copy it, or pass text_config alone")
        seen = Fields(given)
        kind = given.get("model_type", self.tower_type)
        build = self.tower or VISION_ENCODERS.get(str(kind))
        if build is None:
            bound = f"towers that are counted are {', '.join(VISION_ENCODERS)}"
            raise ModelError("vision_config.model_type", kind, bound, "pass text_config alone")
        tower = build(self.tower_at, seen)
        projector = self.join(fields, tower, text.hidden)
        assert text.blueprint is not None
        encoder, joint = (
            [replace(t, cut=None) for t in part.tensors] for part in (tower, projector)
        )
        written = text.blueprint.under(
            self.model_at,
            _ordered([*encoder, *([] if self.projector_last else joint)]),
            joint if self.projector_last else (),
            self.head_at,
        )
        size = sum(t.size for t in (*tower.tensors, *projector.tensors))
        vision = Vision(
            hidden=tower.hidden,
            layers=tower.layers,
            heads=tower.heads,
            ffn=tower.ffn,
            patches=tower.patches,
            tokens=projector.tokens,
            parameters=size,
            projector=sum(t.size for t in projector.tensors),
            gated=tower.gated,
            fixed=self.fixed,
        )
        capped = text.caps_logits and self.text_type != "gemma3_text"  # only Gemma 3 alone is
        return replace(text, blueprint=written, vision=vision, caps_logits=capped)


def _ordered(tensors: list[Tensor]) -> list[Tensor]:
    """Return the projector's tensors with the newline embedding first."""
    return sorted(tensors, key=lambda t: not t.name.endswith("image_newline"))


_AT: Final = "model.multi_modal_projector"


def _llava(fields: Fields, tower: VisionEncoder, hidden: int) -> Projector:
    layers = fields.length("vision_feature_layer", 1)
    bias = fields.flag("multimodal_projector_bias", True)
    found = modules.linear(f"{_AT}.linear_1", hidden, layers * tower.hidden, bias)
    return Projector(found + modules.linear(f"{_AT}.linear_2", hidden, hidden, bias), tower.patches)


def _llava_next(fields: Fields, tower: VisionEncoder, hidden: int) -> Projector:
    """Return the tokens of five pictures: the whole and its quarters."""
    line = Tensor("model.image_newline", (hidden,))
    return Projector([line, *_llava(fields, tower, hidden).tensors], 5 * tower.patches)


def _gemma3(fields: Fields, tower: VisionEncoder, hidden: int) -> Projector:
    found = [Tensor(f"{_AT}.mm_input_projection_weight", (tower.hidden, hidden))]
    tokens = fields.integer("mm_tokens_per_image", default=256)
    return Projector(found + modules.norm(f"{_AT}.mm_soft_emb_norm", tower.hidden), tokens)


def _paligemma(fields: Fields, tower: VisionEncoder, hidden: int) -> Projector:
    out = fields.integer("projection_dim", default=hidden)
    return Projector(modules.linear(f"{_AT}.linear", out, tower.hidden, True), tower.patches)


def _internvl(fields: Fields, tower: VisionEncoder, hidden: int) -> Projector:
    each = int(1 / fields.number("downsample_ratio", 0.5)) ** 2
    found = modules.norm(f"{_AT}.layer_norm", each * tower.hidden, True)
    found += modules.linear(f"{_AT}.linear_1", hidden, each * tower.hidden, True)
    found += modules.linear(f"{_AT}.linear_2", hidden, hidden, True)
    return Projector(found, tower.patches // each)


def _mistral3(fields: Fields, tower: VisionEncoder, hidden: int) -> Projector:
    each = fields.integer("spatial_merge_size", default=2) ** 2
    bias = fields.flag("multimodal_projector_bias", False)
    found = modules.norm(f"{_AT}.norm", tower.hidden)
    found += modules.linear(f"{_AT}.patch_merger.merging_layer", tower.hidden, each * tower.hidden)
    layers = fields.length("vision_feature_layer", 1)
    found += modules.linear(f"{_AT}.linear_1", hidden, layers * tower.hidden, bias)
    found += modules.linear(f"{_AT}.linear_2", hidden, hidden, bias)
    return Projector(found, tower.patches // each)


def _idefics3(fields: Fields, tower: VisionEncoder, hidden: int) -> Projector:
    each = fields.integer("scale_factor", default=2) ** 2
    name = "model.connector.modality_projection.proj"
    return Projector(modules.linear(name, hidden, each * tower.hidden), tower.patches // each)


def _lfm2(fields: Fields, tower: VisionEncoder, hidden: int) -> Projector:
    each = fields.integer("downsample_factor", default=2) ** 2
    inner, bias = (
        fields.integer("projector_hidden_size", default=2560),
        fields.flag("projector_bias", True),
    )
    wide = each * tower.hidden
    found = (
        modules.norm(f"{_AT}.layer_norm", wide, True)
        if fields.flag("projector_use_layernorm", True)
        else []
    )
    found += modules.linear(f"{_AT}.linear_1", inner, wide, bias)
    return Projector(
        found + modules.linear(f"{_AT}.linear_2", hidden, inner, bias), tower.patches // each
    )


def _cohere2(fields: Fields, tower: VisionEncoder, hidden: int) -> Projector:
    each, inner = (
        fields.integer("downsample_factor", default=2) ** 2,
        fields.integer("alignment_intermediate_size", default=36864),
    )
    found = modules.linear(f"{_AT}.linear_1", inner, each * tower.hidden, True)
    return Projector(
        found + modules.linear(f"{_AT}.linear_2", hidden, inner // 2, True), tower.patches // each
    )


def _llama4(fields: Fields, tower: VisionEncoder, hidden: int) -> Projector:
    seen = Fields(fields.inner("vision_config"))
    into = seen.integer("vision_output_dim", default=7680)
    bias = seen.flag("multi_modal_projector_bias", False)
    found = modules.linear("multi_modal_projector.linear_1", hidden, into, bias)
    return Projector(found, int(tower.patches * seen.number("pixel_shuffle_ratio", 0.5) ** 2))


def _within(_: Fields, __: VisionEncoder, ___: int) -> Projector:
    """Return no projector."""
    return Projector([], vision_encoders.MERGED_TOKENS)


def _mllama(fields: Fields, _: VisionEncoder, hidden: int) -> Projector:
    """Return one token: the cross-attention layers read the picture itself."""
    into = Fields(fields.inner("vision_config")).integer("vision_output_dim", default=7680)
    return Projector(modules.linear(_AT, hidden, into, True), 1)


def _shallow(at: str, fields: Fields) -> VisionEncoder:
    return vision_encoders.qwen3(at, fields, ())


def _merging(text_type: str, tower: Callable[[str, Fields], VisionEncoder]) -> Wrapper:
    """Return a model whose tower merges its patches itself."""
    return Wrapper(text_type, "", _within, "model.visual", tower=tower, fixed=False)


_IDEFICS: Final = Wrapper(
    "llama", "idefics3_vision", _idefics3, "model.vision_model", "model.text_model"
)

WRAPPERS: Final[dict[str, Wrapper]] = {
    "llava": Wrapper("llama", "clip_vision_model", _llava, inner_ties=True),
    "llava_next": Wrapper("llama", "clip_vision_model", _llava_next),
    "llava_onevision": Wrapper("qwen2", "siglip_vision_model", _llava_next),
    "gemma3": Wrapper("gemma3_text", "siglip_vision_model", _gemma3, tied=True),
    "paligemma": Wrapper("gemma", "siglip_vision_model", _paligemma, tied=True),
    "internvl": Wrapper("qwen2", "internvl_vision", _internvl, tied=True),
    "mistral3": Wrapper("mistral", "pixtral", _mistral3, tied=True),
    "smolvlm": _IDEFICS._replace(tower_type="smolvlm_vision"),
    "idefics3": _IDEFICS,
    "lfm2_vl": Wrapper("lfm2", "siglip2_vision_model", _lfm2, tied=True, fixed=False),
    "cohere2_vision": Wrapper("cohere2", "siglip_vision_model", _cohere2, tied=True),
    "llama4": Wrapper(
        "llama4_text",
        "llama4_vision_model",
        _llama4,
        "vision_model",
        "language_model.model",
        head_at="language_model.lm_head",
    ),
    "mllama": Wrapper(
        "mllama_text_model",
        "mllama_vision_model",
        _mllama,
        "model.vision_model",
        projector_last=True,
    ),
    "qwen2_vl": _merging("qwen2_vl_text", vision_encoders.qwen2),
    "qwen2_5_vl": _merging("qwen2_5_vl_text", vision_encoders.qwen2_5),
    "qwen3_vl": _merging("qwen3_vl_text", vision_encoders.qwen3),
    "qwen3_vl_moe": _merging("qwen3_vl_moe_text", vision_encoders.qwen3),
    "qwen3_5": _merging("qwen3_5_text", _shallow),
    "qwen3_5_moe": _merging("qwen3_5_moe_text", _shallow),
    "glm4v": _merging("glm4v_text", vision_encoders.glm4v)._replace(inner_ties=True),
    "glm4v_moe": _merging("glm4v_moe_text", vision_encoders.glm4v),
}
"""By `model_type`."""

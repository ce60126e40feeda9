"""Models that do not predict the next token: their heads, kinds, and a sentence for each.

A classifier or an embedding model is counted without the head over the vocabulary. Encoders of
images and of sound are counted by their sizes, as BERT is, which is an estimate and called one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from unfrozen.model.architecture import ENCODERS, Architecture, Tensor
from unfrozen.model.blueprint import Blueprint

CAUSAL: Final = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
"""Ends of the names of classes whose loss is that of the next token."""
MASKED: Final = ("ForMaskedLM", "ForPreTraining")
_SOUND: Final = ("feat_extract", "conv_dim", "num_mel_bins")
_SIZES: Final = (
    *("hidden_size", "num_hidden_layers", "num_attention_heads"),
    "intermediate_size",
)


def class_name(config: Mapping[str, object]) -> str:
    """Return the first class that a config names; "" where it names none."""
    classes = config.get("architectures")
    return str(classes[0]) if isinstance(classes, list) and classes else ""


def other_kind(config: Mapping[str, object]) -> str:
    """Return what a model is whose input is no text, as words; "" for another one."""
    if "_class_name" in config or "_diffusers_version" in config:
        return "a diffusion model"
    if isinstance(config.get("vision_config"), Mapping) and "projection_dim" in config:
        return "a contrastive model of images and texts"
    if "vocab_size" in config and not any(key.startswith(_SOUND) for key in config):
        return ""
    if "image_size" in config or "patch_size" in config:
        return "an encoder of images"
    sound = any(key.startswith(_SOUND) for key in config) and "decoder_layers" not in config
    return "an encoder of sound" if sound else ""


def as_encoder(config: Mapping[str, object]) -> dict[str, Any] | None:
    """Return the config of a BERT of the sizes of an encoder of images or sound; None without."""
    if not all(isinstance(config.get(key), int) for key in _SIZES):
        return None
    image, patch = config.get("image_size"), config.get("patch_size")
    found = {key: config[key] for key in _SIZES} | {"type_vocab_size": 1, "vocab_size": 1}
    if isinstance(image, int) and isinstance(patch, int) and 0 < patch <= image:
        found |= {"max_position_embeddings": (image // patch) ** 2 + 1}
        found |= {"vocab_size": 3 * patch**2}  # as many weights as the matrix that takes a patch
    return found | {"model_type": "bert", "architectures": ["BertForSequenceClassification"]}


def with_task(found: Architecture, config: Mapping[str, object]) -> Architecture:
    """Return an architecture with the head of its class, and what it is made for as text."""
    name = class_name(config)
    if found.model_type in ENCODERS or found.model_type == "bert":
        if found.labels or not name or name.endswith((*MASKED, *CAUSAL)):
            return replace(found, task=_task(found, name))
    elif not name or name.endswith(CAUSAL) or found.vision:
        halves = config.get("is_encoder_decoder") or "decoder_layers" in config
        return replace(found, task=_HALVES) if halves else found
    labels, classes = config.get("num_labels"), config.get("id2label")
    count = len(classes) if isinstance(classes, Mapping) else labels
    count = count if isinstance(count, int) and 0 < count < 10**6 else 2
    b = found.blueprint
    after = [tensor for tensor in b.after if not tensor.vocabulary]
    if not name.endswith("Model"):
        after.append(Tensor("score.weight", (count, found.hidden)))
    written = Blueprint(b.before, b.kinds, b.order, after, b.at, b.towers)
    headless = replace(found, tied=True, labels=count, blueprint=written)
    return replace(headless, task=_task(headless, name))


def _task(found: Architecture, name: str) -> str:
    if found.model_type in _ENCODER_DECODERS:
        return _HALVES
    if name.endswith("Model"):
        return (
            "A model without a head, as embedding models are: planned without logits; contrastive"
            " training passes each text of a pair through it, so count them as sequences."
        )
    if found.labels:
        return f"A classifier ({found.labels} classes): planned without logits over the vocabulary."
    return "A masked language model: planned with the logits of every position, masked or not."


_ENCODER_DECODERS: Final = ("t5", "mt5", "umt5")
_HALVES: Final = (
    "An encoder with a decoder: both are planned at the sequence length, the answer's too."
)

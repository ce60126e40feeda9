"""Models that predict no next token: what they are is said, and their own heads are counted."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers

import unfrozen
from small_models import SMALL
from unfrozen.errors import ModelError, PlanError
from unfrozen.model import ModelConfig

ENCODER: dict[str, Any] = {
    **{"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12},
    "intermediate_size": 3072,
}
CLASSES = [
    ("llama", "LlamaForSequenceClassification", "A classifier (3 classes)"),
    ("llama", "LlamaModel", "A model without a head"),
    ("qwen2", "Qwen2ForTokenClassification", "A classifier (3 classes)"),
    ("qwen3", "Qwen3Model", "A model without a head"),
    ("apertus", "ApertusModel", "A model without a head"),
]


@pytest.mark.parametrize(("kind", "name", "says"), CLASSES, ids=[each[1] for each in CLASSES])
def test_another_head_is_counted_and_said(kind: str, name: str, says: str) -> None:
    config = {"model_type": kind, **SMALL, "head_dim": 16, "architectures": [name]}
    config["id2label"] = {"0": "a", "1": "b", "2": "c"}
    real = transformers.AutoConfig.for_model(**config)
    real.num_labels = 3
    with torch.device("meta"):
        model = getattr(transformers, name)(real)
    biases = 3 if "TokenClassification" in name else 0
    counted = sum(p.numel() for p in model.parameters()) - biases
    found = ModelConfig.from_hf(config)
    assert found.num_parameters == counted
    planned = unfrozen.plan(model=config, gpu="RTX 4090")
    assert says in " ".join(str(planned).split())
    assert not any("logits_loss" in at for at in planned.to_dict()["instants"].values())


OTHERS = [
    ("answerdotai/ModernBERT-base", "A masked language model"),
    ("google-t5/t5-base", "An encoder with a decoder"),
    (
        {"model_type": "whisper", "architectures": ["WhisperForConditionalGeneration"]}
        | {"d_model": 384, "encoder_layers": 4, "decoder_layers": 4, "num_mel_bins": 80}
        | {"encoder_attention_heads": 6, "decoder_attention_heads": 6, "encoder_ffn_dim": 1536}
        | {"decoder_ffn_dim": 1536, "vocab_size": 51865},
        "An encoder with a decoder",
    ),
    (
        {"model_type": "vit", "image_size": 224, "patch_size": 16, **ENCODER},
        "An encoder of images: planned with a classifier, by positions of an image.",
    ),
    ({"model_type": "hubert", "conv_dim": [512], **ENCODER}, "An encoder of sound"),
    (
        {"model_type": "bert", "vocab_size": 30522, "architectures": ["BertModel"], **ENCODER},
        "A model without a head, as embedding models are",
    ),
]


@pytest.mark.parametrize(("model", "says"), OTHERS, ids=[each[1][:30] for each in OTHERS])
def test_what_is_no_causal_model_is_planned_and_said_and_has_no_command(
    model: Any, says: str
) -> None:
    planned = unfrozen.plan(model=model, gpu="RTX 4090")
    text = " ".join(str(planned).split())
    assert says in text
    assert says in planned.to_dict()["task"]
    assert "accelerate launch" not in text
    with pytest.raises(PlanError, match="no command here trains it"):
        unfrozen.plan(model=model, gpus="RTX 4090", data="10 x 1 x 100")


def test_an_encoder_of_images_is_as_large_and_as_long_as_it_is() -> None:
    planned = unfrozen.plan(model=OTHERS[3][0])
    assert "1 × 197 tokens" in str(planned)
    real = transformers.ViTConfig(**OTHERS[3][0])  # type: ignore[arg-type]
    with torch.device("meta"):
        size = sum(p.numel() for p in transformers.ViTForImageClassification(real).parameters())
    counted = ModelConfig.from_hf(OTHERS[3][0]).num_parameters  # type: ignore[arg-type]
    assert counted == pytest.approx(size, rel=0.01)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"_class_name": "FluxTransformer2DModel", "num_layers": 19}, "a diffusion model"),
        (
            {"model_type": "clip", "projection_dim": 768, "vision_config": {}, "text_config": {}},
            "a contrastive model of images and texts",
        ),
    ],
)
def test_what_cannot_be_planned_is_called_what_it_is(config: dict[str, Any], says: str) -> None:
    with pytest.raises(ModelError, match=f"it is {says}"):
        ModelConfig.from_hf(config)


def test_a_causal_model_is_planned_without_a_word() -> None:
    assert not ModelConfig.from_hf({"model_type": "llama", **SMALL}).architecture.task

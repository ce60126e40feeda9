"""Every image-text type of the installed transformers: text trains it, or it is refused by name.

Two layers of its published sizes, under fake tensors: no weight has memory.
"""

from contextlib import suppress
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as TYPES,
)

from conftest import matrix
from gpu_runner.data.feed import Batch, Targets
from gpu_runner.errors import ModelLoadError
from gpu_runner.memory.tracing import fake_tensors
from gpu_runner.model.load import Source, check_reads_text, class_of, vocabulary_of
from gpu_runner.model.loss import loss_sum
from gpu_runner.model.sharded_load import skeleton
from gpu_runner.world import blocks_of, freeze_encoders, trained_weights

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

REFUSED = (
    *("blip", "blip-2", "idefics", "instructblip", "instructblipvideo", "kosmos-2", "molmo2"),
    *("nemotron_h_omni", "pi0", "florence2", "pix2struct", "pp_formulanet", "t5gemma2", "udop"),
    "vision-encoder-decoder",
)
"""What does not train on text alone, or does not go on with it."""
UNREACHED = (
    *("dots3_note", "ernie4_5_vl_moe", "git", "hy_v4_vl", "inkling2_loop", "mistral_large4"),
)
"""What has weights that text does not reach: a run names them in its first step, and ends."""
UNBUILT = {
    **dict.fromkeys(("fast_vlm", "gemma3n", "perception_lm"), "needs timm"),
    **dict.fromkeys(
        (
            *("aya_vision", "chameleon", "cohere_compass", "deepseek_ocr2", "diffusion_gemma"),
            *("emu3", "evolla", "glm46v", "glm4v", "glm4v_moe", "glmga", "granite4_vision"),
            *("hunyuan_vl", "inkling_mm_model", "qwen3_omni_moe_thinker", "step3p7"),
        ),
        "its defaults are those of no model",
    ),
}
"""What transformers makes no model of that fits here, and why."""


def configured(family: str) -> Any:
    """Its configuration with two layers of text, where they can be chosen."""
    kind: Any = CONFIG_MAPPING[family]
    whole = kind()
    text = whole.get_text_config()
    if text is whole:
        return kind(num_hidden_layers=2) if getattr(whole, "num_hidden_layers", 0) else whole
    sizes = {"num_hidden_layers": 2, "model_type": text.model_type}
    with suppress(Exception):  # it takes no such section
        return kind(text_config=sizes)
    return whole


def fake(model: Any, mode: FakeTensorMode) -> None:
    """Give a model fake tensors in place of its own."""
    made: dict[nn.Parameter, nn.Parameter] = {}
    for module in model.modules():
        for name, weight in module._parameters.items():
            if weight is not None:
                if weight not in made:
                    made[weight] = nn.Parameter(torch.empty(weight.shape, dtype=weight.dtype))
                module._parameters[name] = made[weight]
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = mode.from_tensor(buffer)


@pytest.mark.parametrize(
    "family", matrix([name for name in TYPES if name not in UNBUILT], "idefics2", "molmo2")
)
def test_text_trains_it_or_it_is_refused_by_name(family: str) -> None:
    config = configured(family)
    refused = ""
    try:
        vocabulary_of(config)
        source = Source("directory", family, family)
        model = skeleton(source, config, torch.bfloat16, {}).train()
        mode = FakeTensorMode(allow_non_fake_inputs=True)
        with fake_tensors(mode):
            fake(model, mode)
            check_reads_text(family, model)
            freeze_encoders(model)
            ids, targets = torch.zeros(2, 12, dtype=torch.long), torch.zeros(6, dtype=torch.long)
            chosen = Targets(torch.zeros_like(targets), targets)
            loss_sum(model, Batch(ids, ids, 6, chosen=chosen))[0].backward()
    except ModelLoadError as error:
        refused = str(error)
    assert bool(refused) == (family in REFUSED), refused
    if refused:
        return
    assert type(model).__name__ == TYPES[family]
    assert class_of(config)._model_mapping[type(config)] is type(model)
    missed = [name for name, weight in trained_weights(model).items() if weight.grad is None]
    assert bool(missed) == (family in UNREACHED), missed
    assert len(blocks_of(model)) == 2


def test_what_is_not_tried_is_there() -> None:
    assert set(TYPES) > {*REFUSED, *UNREACHED, *UNBUILT}

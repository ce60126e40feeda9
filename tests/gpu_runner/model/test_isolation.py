"""Every decoder that the planner knows, as the runner makes it: rows do not see each other, nor
what follows, and it learns. By gradients, which are exactly 0 from what was not seen."""

from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from conftest import matrix
from gpu_runner.data.examples import Example
from gpu_runner.data.feed import collate, pack
from gpu_runner.model import attention
from gpu_runner.model.head import head_path
from gpu_runner.model.loss import loss_sum
from small_models import DECODERS
from unfrozen.model import ModelConfig
from unfrozen.runner import packs

pytestmark = pytest.mark.slow

FIRST = Example((5, 6, 7, 8, 9, 10), (False,) * 6)
SECOND = Example(
    (11, 12, 13, 14, 15, 16, 17, 18), (False, True, True, True, False, False, False, False)
)
FAMILIES = dict(reversed(DECODERS))
KINDS = (  # one of each way of attending, and of those that do not pack
    *("llama", "gpt_oss", "gemma3n_text", "cohere2", "glm4", "olmoe"),
    *("mamba2", "jamba", "qwen3_next", "deepseek_v3", "bloom", "gpt2"),
)


def reached(model: Any, batch: Any) -> Tensor:
    """(B, T): how much the loss of a batch follows from each token that it reads."""
    seen: list[Tensor] = []

    def keep(_: Any, __: Any, embedded: Tensor) -> None:
        embedded.retain_grad()
        seen.append(embedded)

    head_path(model, batch.input_ids)
    hook = model.get_input_embeddings().register_forward_hook(keep)
    loss_sum(model, batch)[0].backward()
    hook.remove()
    assert seen[0].grad is not None
    return seen[0].grad.abs().sum(-1)


def made(family: str) -> tuple[Any, bool]:
    """A model of random weights with the attention that the runner gives it; whether it packs."""
    config = transformers.AutoConfig.for_model(family, **FAMILIES[family])
    shape = ModelConfig.from_hf({"model_type": family, **FAMILIES[family]})
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config, **attention.arguments_for(shape))
    return model.eval(), packs(shape.architecture)


@pytest.mark.parametrize("family", matrix(FAMILIES, *KINDS, "gemma4_text"))
def test_the_loss_of_a_row_follows_from_what_stands_before_it_in_the_row(family: str) -> None:
    model, packed = made(family)
    if packed:
        found = reached(model, pack([FIRST, SECOND], 0))[0]
        other, own = found[:6], found[6:]
    else:
        rows = reached(model, collate([FIRST, SECOND], 0))
        other, own = rows[0], rows[1]
    assert not other.any()
    assert own[:3].all()
    assert not own[4:].any()


def test_a_model_whose_states_go_on_is_not_packed() -> None:
    kept = {family for family in FAMILIES if not made(family)[1]}
    assert {"mamba2", "jamba", "lfm2", "qwen3_next", "deepseek_v3", "nemotron", "bloom"} <= kept
    assert not kept & {"gpt_oss", "olmoe", "gemma3n_text", "glm4", "cohere2"}

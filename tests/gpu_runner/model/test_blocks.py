import random
import shutil
from typing import Any

import pytest
import torch
import transformers

import tiny_families
from gpu_runner.config.bounds import Checkpointing
from gpu_runner.data.examples import Example
from gpu_runner.data.feed import pack
from gpu_runner.errors import ModelLoadError, UsageError
from gpu_runner.model import blocks
from gpu_runner.model.loss import loss_sum
from gpu_runner.model.offload import Offload

DRAW = random.Random(2)
ROWS = [
    Example(tuple(DRAW.randrange(1, 264) for _ in range(n)), (False, *[True] * (n - 1)))
    for n in (40, 90, 60)
]


class Saved:
    """Counts the bytes that autograd keeps for the backward pass, each storage once."""

    def __init__(self) -> None:
        self.storages: dict[int, torch.UntypedStorage] = {}

    def keep(self, tensor: torch.Tensor) -> torch.Tensor:
        self.storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    def bytes_beside(self, model: Any) -> int:
        weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
        return sum(s.nbytes() for place, s in self.storages.items() if place not in weights)


def passed(model: Any) -> tuple[float, list[torch.Tensor], int]:
    """Loss, gradients, and the bytes kept between forward and backward."""
    saved = Saved()
    with torch.autograd.graph.saved_tensors_hooks(saved.keep, lambda tensor: tensor):
        total, count = loss_sum(model, pack(ROWS, 0))
    kept = saved.bytes_beside(model)
    (total / count).backward()
    return float(total.detach()), [p.grad for p in model.parameters()], kept


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen3"])
@pytest.mark.parametrize("kind", ["selective", "full"])
def test_what_is_computed_again_is_the_same(family: str, kind: Checkpointing) -> None:
    plain, other = tiny_families.model(family), tiny_families.model(family)
    blocks.prepare(other, kind, compiled=False)
    loss, gradients, kept = passed(plain)
    again, same, less = passed(other)
    assert again == loss
    for one, two in zip(gradients, same, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-7)
    assert less < 0.7 * kept


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the compiler, about itself
@pytest.mark.skipif(shutil.which("g++") is None, reason="without g++ nothing can be compiled")
@pytest.mark.matrix  # train/test_compiled.py compiles in every run
@pytest.mark.parametrize("kind", ["none", "selective"])
def test_what_is_compiled_computes_the_same(kind: Checkpointing) -> None:
    plain, other = tiny_families.model("llama"), tiny_families.model("llama")
    blocks.prepare(other, kind, compiled=True)
    loss, gradients, _ = passed(plain)
    again, same, _ = passed(other)
    assert again == pytest.approx(loss, rel=1e-6)
    for one, two in zip(gradients, same, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-6)


def test_a_dropout_that_is_no_share_is_refused_before_the_first_step() -> None:
    model = tiny_families.model("llama")
    model.config.attention_dropout = 5
    with pytest.raises(ModelLoadError, match=r"attention_dropout is 5; it must be from 0 to 1"):
        blocks.check(model.config)


def test_a_dropout_within_the_configuration_of_a_vision_language_model_is_refused_too() -> None:
    config = transformers.LlavaConfig()
    config.text_config.attention_dropout = 5
    with pytest.raises(ModelLoadError, match=r"attention_dropout is 5; it must be from 0 to 1"):
        blocks.check(config)


def test_the_window_of_a_model_is_found_by_the_name_that_its_type_has_for_it() -> None:
    assert blocks.positions_of(transformers.GPT2Config(n_positions=77)) == 77
    assert blocks.positions_of(transformers.MptConfig(max_seq_len=78)) == 78
    assert (
        blocks.positions_of(transformers.LlavaConfig(text_config={"max_position_embeddings": 79}))
        == 79
    )
    assert blocks.positions_of(transformers.BloomConfig()) is None


def test_a_model_that_cannot_be_checkpointed_is_refused() -> None:
    class Stubborn(torch.nn.Module):
        def gradient_checkpointing_enable(self, arguments: object) -> None:
            raise ValueError(f"no gradient checkpointing with {arguments}")

    with pytest.raises(UsageError, match=r"no gradient checkpointing.*checkpointing = none"):
        blocks.prepare(Stubborn(), "full", compiled=False)


def test_activations_come_back_from_the_host_unchanged() -> None:
    model = tiny_families.model("llama")
    _, gradients, _ = passed(model)
    gradients = [gradient.clone() for gradient in gradients]
    model.zero_grad()
    with Offload(model)():
        total, count = loss_sum(model, pack(ROWS, 0))
    (total / count).backward()
    for one, parameter in zip(gradients, model.parameters(), strict=True):
        assert torch.equal(one, parameter.grad)

"""Steps measured tensor by tensor on a CPU, beside what was predicted for their heaviest shape."""

from typing import Any

import pytest

from conftest import matrix
from gpu_runner.config.load import resolve
from gpu_runner.data.feed import BatchShape, Feed
from gpu_runner.memory.formula import build_recipe, heaviest_micro_batch, predict
from measured_steps import ROWS, Case, measure
from unfrozen.model import ModelConfig

TIED = {"tie_word_embeddings": True}


@pytest.mark.slow
@pytest.mark.parametrize("packing", [False, True])
@pytest.mark.parametrize(
    "choices",
    matrix(
        [
            {"loss": "full"},
            {"loss": "chunked"},
            {"loss": "linear"},
            {"checkpointing": "full"},
            {"checkpointing": "selective"},
            {"checkpointing": "selective", "compute": "bf16"},
            {"compute": "bf16"},
            {"compute": "bf16", "checkpointing": "full"},
            {"fused": False},
            {"fused": False, "compute": "bf16"},
            {"fused": False, "checkpointing": "full"},
            {"grad_accum": 2},
            {"grad_accum": 2, "checkpointing": "full"},
            {"optimizer": "sgd"},
            {"optimizer_in_backward": True, "clip": 0.0},
        ],
        {"loss": "chunked"},
        {"checkpointing": "selective", "compute": "bf16"},
        {"compute": "bf16"},
        {"fused": False, "checkpointing": "full"},
        {"grad_accum": 2},
        {"optimizer_in_backward": True, "clip": 0.0},
    ),
    ids=str,
)
def test_a_step_needs_what_was_predicted(choices: dict[str, Any], packing: bool) -> None:
    found = measure(Case({"packing": packing, **choices}, sizes=TIED))
    assert abs(found.error) <= 0.03


@pytest.mark.slow
def test_packing_lowers_the_peak() -> None:
    padded, packed = (measure(Case({"packing": packing})) for packing in (False, True))
    assert packed.peak_bytes < 0.9 * padded.peak_bytes


def test_every_choice_reaches_the_memory_model() -> None:
    config = resolve(
        {
            "model": "x",
            "data": "y",
            "loss": "chunked",
            "checkpointing": "selective",
            "optimizer": "sgd",
            "momentum": 0.9,
            "compile": True,
            "optimizer_in_backward": True,
            "grad_accum": 1,
            "clip": 0.0,
        }
    )
    found = build_recipe(config, "fp32", BatchShape(1, 10, 5))
    assert (found.loss, found.checkpointing, found.kernels) == ("chunked", "selective", "eager")
    assert (found.optimizer, found.moments) == ("sgd_momentum", "fp32")
    assert found.optimizer_in_backward
    assert not found.activation_offload


def test_the_heaviest_step_is_not_the_first_where_another_is_as_heavy() -> None:
    feed = Feed(ROWS[:4], 0, 2, 2, 0)
    config = resolve({"model": "x", "data": "y"})
    number, _ = heaviest_micro_batch(feed, 40, None, config, "fp32")
    assert number > 1


def test_our_update_casts_a_large_tensor_in_slices() -> None:
    sizes = {"model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 1}
    sizes |= {"num_attention_heads": 32, "intermediate_size": 4096, "vocab_size": 128_000}
    model = ModelConfig.from_hf(sizes)
    config = resolve({"model": "x", "data": "y", "optimizer": "adafactor"})
    update = predict(model, config, "fp32", BatchShape(1, 10, 5)).instants["optimizer_step"]
    assert update["workspace"] == 2 * 4 * 2**22

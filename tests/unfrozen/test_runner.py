"""What the runner can do is said once: its choices, checks and predictions are made of it."""

from __future__ import annotations

from typing import Any

import pytest

from gpu_runner.config.load import resolve
from gpu_runner.config.schema import ALLOWED, RANGES
from gpu_runner.data.feed import BatchShape
from gpu_runner.errors import UsageError
from gpu_runner.memory import formula
from unfrozen import runner
from unfrozen.job.recipe import Recipe
from unfrozen.model import ModelConfig
from unfrozen.model.catalogue import CATALOGUE

MODELS = {
    "llama": {"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2},
    "gemma2": {"model_type": "gemma2", "hidden_size": 64, "num_hidden_layers": 2, "head_dim": 16},
    "gpt2": {"model_type": "gpt2", "n_embd": 64, "n_layer": 2, "n_head": 4},
    "phi": {"model_type": "phi", "hidden_size": 64, "num_hidden_layers": 2},
}
SIZES = {"num_attention_heads": 4, "intermediate_size": 128, "vocab_size": 128}


def model(name: str) -> ModelConfig:
    return ModelConfig.from_hf({**MODELS[name], **SIZES})


def predicted(name: str, **choices: Any) -> Recipe:
    """The recipe of a run on sequences of 32 tokens."""
    config = resolve({"model": "demo", "data": "x.jsonl", **choices})
    return formula.build_recipe(config, "fp32", BatchShape(4, 32, 100), model(name))


def test_its_words_are_those_of_the_command_line() -> None:
    assert ALLOWED["optimizer"] == runner.OPTIMIZERS
    assert ALLOWED["loss"] == tuple(runner.LOSSES)
    assert RANGES["micro_batch"] == (1, runner.MOST_AT_ONCE)
    assert RANGES["grad_accum"] == (1, runner.MOST_MICRO_BATCHES)
    assert RANGES["seq_len"] == runner.LENGTHS


@pytest.mark.parametrize("optimizer", runner.OPTIMIZERS)
@pytest.mark.parametrize("rounding", ["nearest", "kahan"])
def test_only_those_that_round_as_asked_may_be_asked_to(optimizer: str, rounding: str) -> None:
    choices = {"optimizer": optimizer, "rounding": rounding, "params": "bf16"}
    if rounding != "nearest" and optimizer not in runner.ROUNDED:
        with pytest.raises(UsageError, match=f"{optimizer} rounds to nearest"):
            predicted("llama", **choices)
        return
    found = predicted("llama", **choices)
    own = runner.optimizer(optimizer, "bf16", momentum=False, rounding=rounding)
    assert {key: getattr(found, key) for key in own} == own
    assert (own["step"] == "rows") is (rounding != "nearest" or optimizer in ("adafactor", "muon"))


def test_momentum_of_sgd_is_kept_in_the_width_of_the_weights() -> None:
    plain, kept = (
        runner.optimizer("sgd", "bf16", momentum=momentum, rounding="nearest")
        for momentum in (False, True)
    )
    assert (plain["optimizer"], plain["moments"]) == ("sgd", None)
    assert (kept["optimizer"], kept["moments"]) == ("sgd_momentum", "bf16")


@pytest.mark.parametrize(
    ("name", "choices", "attention", "kernels", "loss"),
    [
        ("llama", {}, "flash", "fused_block", "linear"),
        ("llama", {"fused": False, "loss": "full"}, "flash", "eager", "logits_fp32"),
        ("llama", {"compile": True, "device": "cuda"}, "efficient", "fused", "linear"),
        ("gemma2", {"device": "cuda"}, "flash", "eager", "logits_fp32"),  # our own operator
        ("llama", {"compile": True, "device": "cpu"}, "flash", "eager", "linear"),
        ("llama", {"checkpointing": "selective"}, "flash", "eager", "linear"),
        ("gpt2", {"loss": "chunked"}, "flash", "eager", "chunked"),
        ("gemma2", {"loss": "chunked"}, "flash", "eager", "logits_fp32"),
        ("phi", {}, "flash", "eager", "logits_fp32"),  # its head has a bias
    ],
)
def test_a_run_is_predicted_by_what_it_does(
    name: str, choices: dict[str, Any], attention: str, kernels: str, loss: str
) -> None:
    found = predicted(name, **choices)
    assert (found.attention, found.kernels, found.loss) == (attention, kernels, loss)


def test_the_catalogue_has_models_of_both_kinds() -> None:
    families = [ModelConfig.from_hf(entry.config).architecture for entry in CATALOGUE.values()]
    assert {runner.kernels(a, "none") for a in families} == {"fused_block", "eager"}

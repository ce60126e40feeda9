"""Model types that no formula knows: their traced step beside the same step with weights."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import tiny_llama
from conftest import matrix
from gpu_runner.config.load import resolve
from gpu_runner.data.feed import Feed
from gpu_runner.memory import tracing
from gpu_runner.memory.prediction import NotPredictable
from gpu_runner.memory.tracing import predict_by_tracing
from gpu_runner.memory.tracker import SilentMeter, measure_step
from gpu_runner.model import blocks
from gpu_runner.model.load import find, read_config
from gpu_runner.optim import optimizer as optim
from gpu_runner.train.loop import TrainingStep, train_step
from measured_steps import CPU, RATE, ROWS
from unfrozen.schedules import Schedule

PERSIMMON = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 172,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
}


@pytest.fixture
def persimmon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny Persimmon, a type the memory model does not know, and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model("persimmon", **PERSIMMON)
    place = tmp_path / "persimmon"
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(place)
    tiny_llama.tokenizer().save_pretrained(place)
    return place


@pytest.mark.slow
@pytest.mark.parametrize(
    "choices",
    matrix(
        [{}, {"checkpointing": "full", "optimizer": "muon"}, {"params": "bf16", "grad_accum": 3}],
        {"params": "bf16", "grad_accum": 3},
    ),
    ids=str,
)
def test_a_step_needs_what_its_trace_predicted(persimmon: Path, choices: dict[str, Any]) -> None:
    given = {"model": str(persimmon), "data": "y", "micro_batch": 8, "grad_accum": 1, **choices}
    config = resolve(given)
    source = find(str(persimmon))
    feed = Feed(ROWS, 0, config.micro_batch, config.grad_accum, 0)
    shape = max(feed.shapes(2), key=lambda found: found.rows * found.length)
    found = predict_by_tracing(source, config, config.params, shape)
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(
        persimmon, dtype=torch.bfloat16 if config.params == "bf16" else torch.float32
    ).train()
    blocks.prepare(model, config.checkpointing, compiled=False)
    choice = optim.OptimizerChoice(config.optimizer)
    optimizer = optim.build(model, lr=RATE, weight_decay=0.0, choice=choice)
    step = TrainingStep(model, optimizer, feed, Schedule("cosine", 9, RATE, 1), config.clip)
    train_step(step, 1, SilentMeter())
    with measure_step(model, optimizer, CPU, wanted=True) as (meter, memory):
        train_step(step, 2, meter)
    assert memory is not None
    assert found.peak_bytes == pytest.approx(memory.peak_bytes, rel=0.03)


@pytest.mark.slow
def test_a_trace_is_cached_and_a_damaged_cache_entry_is_traced_again(
    persimmon: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = resolve({"model": str(persimmon), "data": "y"})
    asked = find(str(persimmon)), config, "fp32", next(iter(Feed(ROWS, 0, 2, 1, 0).shapes(1)))
    found = predict_by_tracing(*asked)
    (kept,) = persimmon.parent.glob("cache/unfrozen/traced/*.json")
    kept.write_text(kept.read_text().replace("null", "1")[:-20])
    assert predict_by_tracing(*asked) == found
    assert json.loads(kept.read_text())["bytes_per_parameter"] == 16

    def never(*_: object) -> None:
        raise AssertionError("traced again")

    monkeypatch.setattr(tracing, "_trace", never)
    assert predict_by_tracing(*asked) == found
    other = asked[3]._replace(length=asked[3].length + 1)
    with pytest.raises(NotPredictable, match="AssertionError: traced again"):
        predict_by_tracing(*asked[:3], other)


def test_the_planner_does_not_know_this_type(persimmon: Path) -> None:
    assert read_config(find(str(persimmon)))[1] is None

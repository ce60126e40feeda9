"""The micro-batch that fits, for known model types and for those that are traced."""

from pathlib import Path

import pytest
import torch
import transformers

import tiny_llama
from gpu_runner.config.load import resolve
from gpu_runner.config.schema import TrainConfig
from gpu_runner.errors import UsageError
from gpu_runner.memory.prediction import NotPredictable, Prediction
from gpu_runner.memory.tracing import predict_by_tracing
from gpu_runner.plan import plan

PERSIMMON = {
    "vocab_size": 257,
    "hidden_size": 64,
    "intermediate_size": 172,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
}


@pytest.fixture
def persimmon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny Persimmon, a type the planner does not know, and an empty cache of traces."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    config = transformers.AutoConfig.for_model("persimmon", **PERSIMMON)
    place = tmp_path / "persimmon"
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(place)
    tiny_llama.tokenizer().save_pretrained(place)
    return place


@pytest.mark.slow
def test_an_unknown_model_type_is_traced_for_each_size(
    persimmon: Path, sums_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"model": str(persimmon), "data": str(sums_file), "general": (), "steps": 2}
    given |= {"micro_batch": 8, "grad_accum": 2}
    peaks = {}
    for rows in (16, 4, 1):
        sizes = {"micro_batch": rows, "grad_accum": 16 // rows}
        made = plan.make_plan(resolve({**given, **sizes}), trace=predict_by_tracing)
        assert made.prediction is not None
        peaks[rows] = made.prediction.peak_bytes
    assert peaks[16] > peaks[4] > peaks[1]
    monkeypatch.setattr(plan, "free_bytes", lambda *_: round(peaks[4] / 0.9) + 1)
    found = plan.make_plan(resolve({**given, "auto_micro_batch": True}), trace=predict_by_tracing)
    assert (found.config.micro_batch, found.config.grad_accum) == (4, 4)
    assert found.prediction is not None
    assert found.prediction.peak_bytes == peaks[4]


def refuse(*_: object) -> Prediction:
    raise NotPredictable("RuntimeError: no shapes")


def test_the_reason_why_a_step_cannot_be_traced_is_shown(persimmon: Path, sums_file: Path) -> None:
    given = {"model": str(persimmon), "data": str(sums_file), "general": ()}
    reason = r"its step cannot be traced \(RuntimeError: no shapes\)"
    with pytest.raises(UsageError, match=reason):
        plan.make_plan(resolve({**given, "auto_micro_batch": True}), trace=refuse)
    planned = plan.make_plan(resolve(given), trace=refuse)
    assert planned.prediction is None
    (remark,) = [text for text in planned.remarks() if "padded, not packed" in text]
    assert "its memory cannot be predicted (RuntimeError: no shapes)" in remark


@pytest.mark.parametrize(("free", "micro_batch"), [(900, 8), (500, 4), (120, 1), (1, 1)])
def test_the_largest_micro_batch_that_fits_is_chosen(
    free: int,
    micro_batch: int,
    persimmon: Path,
    sums_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def trace(_: object, config: TrainConfig, *__: object) -> Prediction:
        return Prediction({"load": {"params": 100 * config.micro_batch}}, 16)

    monkeypatch.setattr(plan, "free_bytes", lambda *_: free)
    given = {"model": str(persimmon), "data": str(sums_file), "general": ()}
    given |= {"micro_batch": 8, "grad_accum": 1, "auto_micro_batch": True}
    found = plan.make_plan(resolve(given), trace=trace).config
    assert (found.micro_batch, found.grad_accum) == (micro_batch, 8 // micro_batch)
    assert not found.auto_micro_batch


@pytest.mark.slow
def test_a_model_with_added_tokens_is_traced_with_them(persimmon: Path, sums_file: Path) -> None:
    given = {"model": str(persimmon), "data": str(sums_file), "general": (), "steps": 2}
    plain, grown = (
        plan.make_plan(resolve({**given, **more}), trace=predict_by_tracing).prediction
        for more in ({}, {"add_tokens": tuple(f"<{n}>" for n in range(100))})
    )
    assert plain is not None
    assert grown is not None
    more = grown.instants["load"]["params"] - plain.instants["load"]["params"]
    assert more == 100 * 64 * 4 * 2  # embedding and head
    assert torch.get_default_dtype() == torch.float32

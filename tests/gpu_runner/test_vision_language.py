"""Vision-language models by the command line: the language model is trained, the rest stays."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForImageTextToText
from typer.testing import CliRunner

import causal_types
import run_process
import tiny_families
import tiny_llama
from conftest import matrix
from gpu_runner.cli.application import application
from gpu_runner.data.feed import collate, pack
from gpu_runner.errors import ExitCode, ModelLoadError
from gpu_runner.model import blocks
from gpu_runner.model.load import class_of, vocabulary_of
from gpu_runner.model.loss import loss_sum
from gpu_runner.world import trained_weights
from measured_steps import ROWS
from run_process import events
from unfrozen import runner
from unfrozen.model import ModelConfig

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

SEEN = ("vision", "visual", "projector", "connector", "embed_tokens_extend")
"""Parts of the names of weights that pictures pass."""


def typed(*words: object) -> str:
    """What a command prints, which must succeed."""
    found = CliRunner(env={"COLUMNS": "300"}).invoke(application(), [str(word) for word in words])
    assert found.exit_code == ExitCode.OK, (found.output, found.exception)
    return found.output


def train(model: Path, data: Path, runs: Path, *more: object) -> Path:
    """The directory of a run of two steps."""
    typed(
        *("train", "--model", model, "--data", data, "--general", "none", "--runs", runs),
        *("--steps", "2", "--sample-tokens", "2", *more),
    )
    (run,) = runs.iterdir()
    return run


def weights(folder: Path) -> dict[str, bytes]:
    """The bytes of every tensor in the files of a model."""
    found = load_file(folder / "model.safetensors")
    return {name: tensor.view(torch.uint8).numpy().tobytes() for name, tensor in found.items()}


def assert_whole(made: Path, source: Path) -> None:
    """What was trained has the names, the encoder and the class of what was published."""
    before, after = weights(source), weights(made)
    assert after.keys() == before.keys()
    moved = {name for name in before if before[name] != after[name]}
    assert moved == {name for name in before if not any(part in name for part in SEEN)}
    kind = class_of(AutoConfig.from_pretrained(made))
    model, report = kind.from_pretrained(made, output_loading_info=True)
    assert not [what for what in ("missing", "unexpected", "mismatched") if report[f"{what}_keys"]]
    assert type(model).__name__ in json.loads((source / "config.json").read_text())["architectures"]


@pytest.mark.parametrize("family", tiny_families.SEEING)
def test_each_kind_is_loaded_trained_saved_and_loaded_again(
    family: str, sums_file: Path, tmp_path: Path
) -> None:
    source = tiny_families.write_seeing(tmp_path / family, family)
    run = train(source, sums_file, tmp_path / "runs")
    assert_whole(run / "model", source)
    (start, *_), (*_, end) = (
        [event for event in events(run) if event["kind"] == kind]
        for kind in ("run.start", "run.end")
    )
    assert start["model"]["num_trained"] < start["model"]["num_parameters"]
    assert end["summary"]["memory_ratio"] == pytest.approx(1, abs=0.15)


def test_encoders_within_a_decoder_stay_too(sums_file: Path, tmp_path: Path) -> None:
    source = tmp_path / "phi4_multimodal"
    causal_types.model(source.name).save_pretrained(source)
    tiny_llama.tokenizer(chat=True).save_pretrained(source)
    assert_whole(train(source, sums_file, tmp_path / "runs") / "model", source)


@pytest.mark.parametrize("family", tiny_families.SEEING)
def test_its_loss_and_gradients_are_those_of_transformers_row_by_row(family: str) -> None:
    model = tiny_families.seeing(family, "eager")
    torch.stack([loss_sum(model, collate([row], 0), "full")[0] for row in ROWS]).sum().backward()
    exact = {name: weight.grad for name, weight in trained_weights(model).items()}
    a = ModelConfig.from_hf(model.config.to_dict()).language.architecture
    own = tiny_families.seeing(family)
    blocks.prepare(own, "none", compiled=False, fused=runner.kernels(a, "none") == "fused_block")
    loss_sum(own, (pack if runner.packs(a) else collate)(ROWS, 0))[0].backward()
    largest = max(float(one.abs().max()) for one in exact.values() if one is not None)
    for name, weight in trained_weights(own).items():
        assert weight.grad is not None
        torch.testing.assert_close(weight.grad, exact[name], rtol=2e-4, atol=1e-5 * largest)


@pytest.mark.parametrize("family", matrix(tiny_families.SEEING, "smolvlm"))
def test_what_follows_a_run_takes_its_model_too(
    family: str, sums_file: Path, tmp_path: Path
) -> None:
    source = tiny_families.write_seeing(tmp_path / family, family)
    runs = tmp_path / "runs"
    run = train(source, sums_file, runs, "--set", "save_every=1")
    assert run.name in typed("ask", run.name, "1+1=", "--runs", runs, "--tokens", "2")
    typed("resume", run.name, "--runs", runs, "--steps", "3")
    assert events(run)[-1]["step"] == 3
    typed("blend", run.name, "--runs", runs, "--alpha", "0.5")
    typed("export", run.name, "--to", "hf", tmp_path / "hf", "--runs", runs)
    for made in (run / "model", run / "blend", tmp_path / "hf"):
        assert_whole(made, source)
    gguf = ["export", run.name, "--to", "gguf", str(tmp_path / "x.gguf"), "--runs", str(runs)]
    refused = CliRunner(env={"COLUMNS": "300"}).invoke(application(), gguf)
    assert refused.exit_code == ExitCode.USAGE
    assert f"model type {family} is not written as GGUF here" in refused.output


@pytest.mark.parametrize("family", matrix(tiny_families.SEEING, "gemma3"))
def test_two_processes_train_it_as_one_does(family: str, sums_file: Path, tmp_path: Path) -> None:
    source = tiny_families.write_seeing(tmp_path / family, family)
    alone = train(source, sums_file, tmp_path / "alone")
    words = ("train", "--model", source, "--data", sums_file, "--general", "none", "--steps", "2")
    more = ("--sample-tokens", "2", "--runs", tmp_path / "both", "--out", tmp_path / "model")
    both = run_process.runner(*map(str, (*words, *more)), processes=2)
    said, _ = both.communicate()
    assert both.returncode == 0, said
    assert_whole(tmp_path / "model", source)
    one, other = (
        load_file(at / "model.safetensors") for at in (alone / "model", tmp_path / "model")
    )
    for name, tensor in one.items():
        torch.testing.assert_close(other[name], tensor, rtol=1e-4, atol=1e-6)


def test_an_encoder_in_bf16_comes_back_to_the_byte(sums_file: Path, tmp_path: Path) -> None:
    source = tiny_families.write_seeing(tmp_path / "gemma3", "gemma3")
    tiny_families.seeing().to(torch.bfloat16).save_pretrained(source)
    run = train(source, sums_file, tmp_path / "runs", "--lr", "0.01")
    typed(
        "export",
        run.name,
        "--runs",
        tmp_path / "runs",
        "--to",
        "hf",
        tmp_path / "hf",
        "--dtype",
        "bf16",
    )
    assert_whole(tmp_path / "hf", source)


def test_the_files_of_its_processor_stay_beside_it(tmp_path: Path) -> None:
    source = tiny_families.write_seeing(tmp_path / "gemma3", "gemma3")
    files = {"processor_config.json": b'{"image_seq_length": 4}', "preprocessor_config.json": b"{}"}
    (source / "chat_template.jinja").unlink()
    files["chat_template.json"] = json.dumps({"chat_template": tiny_llama.CHAT}).encode()
    for name, content in files.items():
        (source / name).write_bytes(content)
    rows: list[dict[str, object]] = [
        {"messages": [{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": "!"}]}
        for n in range(20)
    ]
    data = tiny_llama.write_rows(tmp_path / "rows.jsonl", rows)
    run = train(source, data, tmp_path / "runs")
    assert {name: (run / "model" / name).read_bytes() for name in files} == files
    assert (run / "model" / "chat_template.jinja").read_text() == tiny_llama.CHAT
    card = (run / "model" / "README.md").read_text()
    assert "model = AutoModelForImageTextToText.from_pretrained(place)" in card


@pytest.mark.parametrize(
    "row",
    [
        {"images": ["cat.png"], "messages": [{"role": "user", "content": "?"}]},
        {"image": "cat.png", "prompt": "What is it?", "completion": " A cat."},
        {"messages": [{"role": "user", "content": [{"type": "image"}]}]},
    ],
)
def test_rows_with_pictures_are_refused(row: dict[str, Any], tmp_path: Path) -> None:
    source = tiny_families.write_seeing(tmp_path / "smolvlm", "smolvlm")
    data = tiny_llama.write_rows(tmp_path / "rows.jsonl", [row])
    words = ["train", "--model", str(source), "--data", str(data), "--runs", str(tmp_path / "runs")]
    found = CliRunner(env={"COLUMNS": "300"}).invoke(application(), words)
    assert found.exit_code == ExitCode.DATA
    assert "only text is trained" in found.output
    assert "leave such rows out with --skip-bad-rows" in found.output


def test_the_file_of_its_language_model_alone_is_loaded_alone() -> None:
    config = AutoConfig.for_model("qwen3_5")
    assert class_of(config) is AutoModelForImageTextToText
    config.architectures = ["Qwen3_5ForCausalLM"]
    assert class_of(config).__name__ == "AutoModelForCausalLM"


def test_a_model_that_reads_nothing_without_a_picture_is_refused_by_name(
    sums_file: Path, tmp_path: Path
) -> None:
    small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
    text = small | {"ffn_dim": 32, "word_embed_proj_dim": 32, "vocab_size": 264}
    text |= {"max_position_embeddings": 64, "model_type": "opt"}
    vision = small | {"intermediate_size": 32, "image_size": 28, "patch_size": 14}
    config = AutoConfig.for_model(
        "blip-2", text_config=text, vision_config=vision, qformer_config=small
    )
    AutoModelForImageTextToText.from_config(config).save_pretrained(tmp_path / "blip")
    tiny_llama.tokenizer().save_pretrained(tmp_path / "blip")
    words = ["train", "--model", str(tmp_path / "blip"), "--data", str(sums_file), "--steps", "1"]
    words += ["--general", "none", "--runs", str(tmp_path / "runs")]
    found = CliRunner(env={"COLUMNS": "400"}).invoke(application(), words)
    assert found.exit_code == ExitCode.MODEL
    assert "blip is a Blip2ForConditionalGeneration, which does not read text alone" in found.output
    assert "missing 1 required positional argument: 'pixel_values'" in found.output


@pytest.mark.parametrize(
    "family", ["florence2", "musicgen", "pi0", "udop", "vision-encoder-decoder"]
)
def test_a_model_that_does_not_go_on_with_text_is_refused_by_name(family: str) -> None:
    config = CONFIG_MAPPING[family]()
    with pytest.raises(ModelLoadError, match=f"of type {family} does not go on with the text"):
        vocabulary_of(config)

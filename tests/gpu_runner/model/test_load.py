import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
)
from typer.testing import CliRunner

import tiny_families
import tiny_llama
from gpu_runner.cli.application import application
from gpu_runner.errors import ExitCode, ModelLoadError
from gpu_runner.model import load as model
from gpu_runner.model.save import save

CPU = torch.device("cpu")


def load(path: Path) -> torch.nn.Module:
    source = model.find(str(path))
    model.read_config(source)
    loaded: torch.nn.Module = model.load(source, model.load_tokenizer(source), "fp32", CPU)
    return loaded


@pytest.fixture
def altered(model_dir: Path, tmp_path: Path) -> Path:
    """A copy of the model to break."""
    return Path(shutil.copytree(model_dir, tmp_path / "model"))


def change_config(path: Path, **changes: object) -> None:
    config = json.loads((path / "config.json").read_text("utf-8"))
    config |= changes
    kept = {key: value for key, value in config.items() if value != "gone"}
    (path / "config.json").write_text(json.dumps(kept), "utf-8")


def change_weights(path: Path, **changes: torch.Tensor | None) -> None:
    weights = load_file(path / "model.safetensors") | {
        name.replace("__", "."): tensor for name, tensor in changes.items()
    }
    kept = {name: tensor for name, tensor in weights.items() if tensor is not None}
    save_file(kept, path / "model.safetensors", metadata={"format": "pt"})


def test_a_directory_is_loaded_whole_and_trainable(model_dir: Path) -> None:
    loaded = load(model_dir)
    assert loaded.training
    assert all(p.requires_grad and p.dtype == torch.float32 for p in loaded.parameters())
    assert sum(p.numel() for p in loaded.parameters()) == 27_040


def test_the_count_of_unfrozen_is_that_of_the_model(model_dir: Path) -> None:
    _, shape = model.read_config(model.find(str(model_dir)))
    assert shape is not None
    assert shape.num_parameters == 27_040


def test_a_model_whose_layers_differ_is_loaded_from_what_was_saved_of_it(tmp_path: Path) -> None:
    sizes = tiny_families.SIZES | {"num_hidden_layers": 6, "hidden_size_per_layer_input": 8}
    config = AutoConfig.for_model("gemma4_text", **sizes, global_head_dim=16)
    tokenizer = tiny_llama.tokenizer()
    save(AutoModelForCausalLM.from_config(config), tokenizer, tmp_path)
    written = json.loads((tmp_path / "config.json").read_text("utf-8"))
    assert written["per_layer_config"] == {"5": {"head_dim": 16}}
    loaded = model.load(model.find(str(tmp_path)), tokenizer, "fp32", CPU)
    assert loaded.model.layers[5].self_attn.head_dim == 16


def test_gpt2_loads_too(tmp_path: Path) -> None:
    sizes = {"vocab_size": 264, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
    config = GPT2Config(**sizes, bos_token_id=0, eos_token_id=0)
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "m")
    tiny_llama.tokenizer().save_pretrained(tmp_path / "m")
    assert sum(p.numel() for p in load(tmp_path / "m").parameters()) > 0


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("/no/such/model", "no model at '/no/such/model': tried a directory and a .gguf file"),
        ("missing.gguf", "tried a directory and a .gguf file"),
    ],
)
def test_an_unknown_path_says_what_was_tried(name: str, said: str) -> None:
    with pytest.raises(ModelLoadError) as caught:
        model.find(name)
    assert said in str(caught.value)


def test_a_name_with_one_slash_is_a_hub_id() -> None:
    assert model.find("owner/name").kind == "hub"


def test_a_directory_without_a_config_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").touch()
    with pytest.raises(ModelLoadError, match=r"has no config.json.*Did you mean .*x.gguf"):
        model.find(str(tmp_path))


def test_another_file_is_no_model(sums_file: Path) -> None:
    with pytest.raises(ModelLoadError, match=r"but not a .gguf one"):
        model.find(str(sums_file))


def test_a_file_that_is_not_really_gguf_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"GGUF but not really")
    source = model.find(str(tmp_path / "x.gguf"))
    with pytest.raises(ModelLoadError, match=r"'x' cannot be loaded \(tried it as GGUF file x"):
        model.read_config(source)


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_config_that_is_no_object_is_refused(altered: Path, text: str) -> None:
    (altered / "config.json").write_text(text, "utf-8")
    with pytest.raises(ModelLoadError, match=r"config.json"):
        load(altered)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"num_key_value_heads": 8}, "num_key_value_heads: got 8; it must divide num_attention_h"),
        ({"rms_norm_eps": "a"}, "error for field 'rms_norm_eps': TypeError: .* expected float"),
        ({"head_dim": 7}, "'validate_rope': ValueError: RoPE requires an even rotary dimension"),
    ],
)
def test_a_value_that_cannot_be_is_reported_in_one_sentence(
    altered: Path, change: dict[str, Any], said: str
) -> None:
    change_config(altered, **change)
    with pytest.raises(ModelLoadError, match=said) as caught:
        load(altered)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["hidden_size", "model_type"])
def test_a_config_without_a_needed_key_names_it(altered: Path, key: str) -> None:
    change_config(altered, **{key: "gone"})
    with pytest.raises(ModelLoadError, match=key):
        load(altered)


def test_a_missing_weight_is_named(altered: Path) -> None:
    change_weights(altered, model__norm__weight=None)
    with pytest.raises(ModelLoadError, match=r"1 missing weights: model.norm.weight"):
        load(altered)


def test_an_unexpected_weight_is_named(altered: Path) -> None:
    change_weights(altered, model__extra__weight=torch.zeros(3))
    with pytest.raises(ModelLoadError, match=r"1 unexpected weights: model.extra.weight"):
        load(altered)


def test_a_weight_of_another_shape_is_refused(altered: Path) -> None:
    change_weights(altered, model__norm__weight=torch.zeros(16))
    with pytest.raises(ModelLoadError, match=r"model.norm.weight"):
        load(altered)


def test_a_tokenizer_larger_than_the_embedding_is_refused(altered: Path) -> None:
    bigger = tiny_llama.tokenizer()
    bigger.add_tokens([f"<extra{n}>" for n in range(20)])
    bigger.save_pretrained(altered)
    with pytest.raises(ModelLoadError, match="the tokenizer has 277 tokens, the embedding 264"):
        load(altered)


def test_a_model_without_a_tokenizer_is_refused(altered: Path) -> None:
    for file in altered.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(ModelLoadError, match="has no tokenizer: copy"):
        load(altered)


def test_a_saved_model_loads_in_transformers_unchanged(model_dir: Path, tmp_path: Path) -> None:
    source = model.find(str(model_dir))
    tokenizer = model.load_tokenizer(source)
    loaded = model.load(source, tokenizer, "fp32", CPU)
    save(loaded, tokenizer, tmp_path / "saved")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    for (name, one), (_, other) in zip(
        loaded.named_parameters(), again.named_parameters(), strict=True
    ):
        assert torch.equal(one, other), name
    kept = AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert kept("ab").input_ids == tokenizer("ab").input_ids


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, torch.Tensor]]:
    """A gpt-oss as it is published, and its experts' numbers."""
    folder = tmp_path_factory.mktemp("mxfp4")
    tiny_families.model("gpt_oss", **tiny_families.PACKED).save_pretrained(folder)
    tiny_llama.tokenizer().save_pretrained(folder)
    return folder, tiny_families.pack_experts(folder)


@pytest.mark.slow
def test_experts_in_mxfp4_are_unpacked(packed: tuple[Path, dict[str, torch.Tensor]]) -> None:
    folder, meant = packed
    loaded = load(folder)
    assert len(meant) == 4
    weights = dict(loaded.named_parameters())
    for name, numbers in meant.items():
        assert torch.equal(weights[name], numbers)
        assert weights[name].requires_grad
    assert getattr(loaded.config, "quantization_config", None) is None


@pytest.mark.slow
def test_a_run_on_mxfp4_plans_trains_resumes_and_saves_what_it_unpacks(
    packed: tuple[Path, dict[str, torch.Tensor]], sums_file: Path, tmp_path: Path
) -> None:
    folder, meant = packed
    typed = ["--model", str(folder), "--data", str(sums_file), "--general", "none", "--steps", "2"]
    typed += ["--sample-tokens", "0", "--save-every", "1", "--runs", str(tmp_path)]
    terminal = CliRunner(env={"COLUMNS": "400"})
    planned = terminal.invoke(application(), ["train", "--dry-run", *typed])
    assert "is published in MXFP4: it is unpacked to fp32 as it loads" in planned.output
    done = terminal.invoke(application(), ["train", *typed])
    assert done.exit_code == ExitCode.OK, done.output
    (run,) = tmp_path.iterdir()
    initial = load_file(run / "initial.safetensors")
    assert all(torch.equal(initial[name], numbers) for name, numbers in meant.items())
    further = terminal.invoke(application(), ["resume", str(run), "--steps", "3"])
    assert further.exit_code == ExitCode.OK, further.output
    saved = load(run / "model")
    assert getattr(saved.config, "quantization_config", None) is None
    moved = [name for name, one in saved.named_parameters() if not torch.equal(one, initial[name])]
    assert "model.layers.0.self_attn.sinks" in moved
    assert set(meant) <= set(moved)


def test_other_quantizations_are_refused_before_anything_is_loaded(altered: Path) -> None:
    change_config(altered, quantization_config={"quant_method": "gptq", "bits": 4})
    (altered / "model.safetensors").write_bytes(b"not read")
    with pytest.raises(ModelLoadError, match="is quantized by gptq: its weights cannot take small"):
        load(altered)

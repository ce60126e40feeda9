"""A model filled row by row is the model that transformers loads, and is refused as that is."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny_families
import tiny_llama
from gpu_runner.config.bounds import Precision
from gpu_runner.errors import ModelLoadError
from gpu_runner.model import load as model
from gpu_runner.model import sharded_load
from gpu_runner.model.sharded_load import WholeOnly
from gpu_runner.world.sharded_files import Shard, write

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
FAMILIES = {
    "llama-tied": ("llama", {"tie_word_embeddings": True}),
    "llama-untied": ("llama", {"tie_word_embeddings": False}),
    "gpt2": ("gpt2", {}),
    "gpt_neox": ("gpt_neox", {}),
    "gemma2": ("gemma2", {}),
    "gemma3": ("gemma3_text", {}),
    "phi3": ("phi3", {}),
    "mixtral": ("mixtral", {"tie_word_embeddings": False}),
    "qwen3_moe": ("qwen3_moe", {}),
    "qwen2_moe": ("qwen2_moe", {}),
    "gpt_oss": ("gpt_oss", {}),
    "gpt_oss-mxfp4": ("gpt_oss", tiny_families.PACKED),
}


def written(folder: Path, case: str) -> Path:
    """A model of a family, as one would download it."""
    family, changes = FAMILIES[case]
    tiny_families.model(family, "eager", **changes).save_pretrained(folder)
    tiny_llama.tokenizer().save_pretrained(folder)
    if case.endswith("mxfp4"):
        tiny_families.pack_experts(folder)
    return folder


def both(folder: Path, params: Precision = "fp32") -> tuple[Any, Any, sharded_load.UnfilledModel]:
    """The model as transformers loads it, and filled row by row."""
    source = model.find(str(folder))
    tokenizer = model.load_tokenizer(source)
    expected = model.load(source, tokenizer, params, CPU)
    found = sharded_load.begin(source, tokenizer, params)
    assert all(parameter.is_meta for parameter in found.model.parameters())
    found.fill(CPU)
    return expected, found.model, found


def assert_same(one: Any, other: Any) -> None:
    """To the last bit, buffers included; what is tied is tied."""
    for kind in ("named_parameters", "named_buffers"):
        expected, found = (dict(getattr(each, kind)()) for each in (one, other))
        assert list(expected) == list(found)
        for name, tensor in expected.items():
            assert found[name].dtype == tensor.dtype, name
            assert torch.equal(found[name], tensor), name
            assert found[name].requires_grad == tensor.requires_grad
    assert other.training
    assert type(one) is type(other)
    assert one.config.to_dict() | {"_name_or_path": ""} == other.config.to_dict() | {
        "_name_or_path": ""
    }
    assert one.generation_config.to_dict() == other.generation_config.to_dict()


@pytest.mark.parametrize("case", FAMILIES)
def test_every_family_is_the_same_to_the_last_bit(case: str, tmp_path: Path) -> None:
    expected, found, _ = both(written(tmp_path / "model", case))
    assert_same(expected, found)


@pytest.mark.parametrize("case", ["llama-tied", "gpt2", "mixtral"])
def test_16_bit_weights_are_cast_as_transformers_does(case: str, tmp_path: Path) -> None:
    expected, found, _ = both(written(tmp_path / "model", case), "bf16")
    assert_same(expected, found)


@pytest.mark.parametrize("case", ["llama-untied", "gpt2", "qwen3_moe", "gpt_oss-mxfp4"])
def test_what_is_saved_of_it_is_the_same(case: str, tmp_path: Path) -> None:
    """Names in the files too: experts one by one, as they were."""
    for name, made in zip(("one", "other"), both(written(tmp_path / "model", case)), strict=False):
        made.save_pretrained(tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "other").iterdir())
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "other" / file).read_bytes()


def test_a_model_in_several_files_is_read_from_all(tmp_path: Path) -> None:
    tiny_llama.model(tie_word_embeddings=False).save_pretrained(tmp_path, max_shard_size="50KB")
    tiny_llama.tokenizer().save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors.index.json").exists()
    expected, found, _ = both(tmp_path)
    assert_same(expected, found)


def test_every_byte_of_the_files_is_read_once(tmp_path: Path) -> None:
    folder = written(tmp_path / "model", "qwen3_moe")
    _, _, found = both(folder)
    sizes = sum(tensor.nbytes for tensor in load_file(folder / "model.safetensors").values())
    assert found.stored.bytes_read == sizes


def test_a_head_that_is_stored_beside_its_embedding_stays_tied(
    model_dir: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(model_dir, tmp_path / "model"))
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    expected, found, _ = both(folder)
    assert_same(expected, found)
    assert found.lm_head.weight is found.model.embed_tokens.weight


def test_shards_of_a_checkpoint_are_read_under_the_names_of_the_model(tmp_path: Path) -> None:
    folder = written(tmp_path / "model", "mixtral")
    expected, _, _ = both(folder)
    (folder / "model.safetensors").unlink()
    (folder / "weights").mkdir()
    for part in range(2):
        shards = {
            name: Shard(rows[part], part * len(rows[0]))
            for name, tensor in expected.named_parameters()
            if part < len(rows := tensor.detach().chunk(2))
        }
        write(folder / "weights" / f"{part}.safetensors", shards, {})
    source = model.Source("directory", "x", str(folder))
    found = sharded_load.begin(source, model.load_tokenizer(source), "fp32")
    found.fill(CPU)
    assert_same(expected, found.model)


def altered(folder: Path, **changes: torch.Tensor | None) -> Path:
    weights = load_file(folder / "model.safetensors") | {
        name.replace("__", "."): tensor for name, tensor in changes.items()
    }
    kept = {name: tensor for name, tensor in weights.items() if tensor is not None}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.mark.parametrize("case", ["llama-tied", "gpt2", "mixtral"])
@pytest.mark.parametrize("what", ["missing", "unexpected", "mismatched"])
def test_what_load_refuses_is_refused_in_the_same_words(
    what: str, case: str, tmp_path: Path
) -> None:
    folder = written(tmp_path / "model", case)
    names = list(load_file(folder / "model.safetensors"))
    name = next(n for n in names if n.endswith(("norm.weight", "ln_f.weight")))
    tensor = {"missing": None, "mismatched": torch.ones(7), "unexpected": torch.ones(3)}[what]
    altered(folder, **{name if what != "unexpected" else "model.extra.weight": tensor})
    source = model.find(str(folder))
    tokenizer = model.load_tokenizer(source)
    with pytest.raises(ModelLoadError) as expected:
        model.load(source, tokenizer, "fp32", CPU)
    with pytest.raises(ModelLoadError) as found:
        sharded_load.begin(source, tokenizer, "fp32")
    assert str(found.value) == str(expected.value)
    assert f"1 {what} weights" in str(found.value)


def test_a_missing_expert_is_refused(tmp_path: Path) -> None:
    folder = written(tmp_path / "model", "mixtral")
    names = [n for n in load_file(folder / "model.safetensors") if "experts.3." in n]
    altered(folder, **dict.fromkeys(names))
    source = model.find(str(folder))
    with pytest.raises((ModelLoadError, WholeOnly)):
        sharded_load.begin(source, model.load_tokenizer(source), "fp32")


def test_frequencies_that_older_files_hold_are_passed_over(model_dir: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(model_dir, tmp_path / "model"))
    altered(folder, model__layers__0__self_attn__rotary_emb__inv_freq=torch.ones(4))
    expected, found, _ = both(folder)
    assert_same(expected, found)


def change_config(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text("utf-8")) | changes
    (folder / "config.json").write_text(json.dumps(config), "utf-8")


def test_what_only_transformers_can_read_is_left_to_it(model_dir: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(model_dir, tmp_path / "model"))
    tokenizer = tiny_llama.tokenizer()
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    source = model.find(str(folder))
    with pytest.raises(WholeOnly, match="not safetensors files"):
        sharded_load.begin(source, tokenizer, "fp32")
    (folder / "other.safetensors").rename(folder / "model.safetensors")
    altered(folder, lm_head__weight=torch.ones(264, 32))
    with pytest.raises(WholeOnly, match="are tied, and differ in the files"):
        sharded_load.begin(source, tokenizer, "fp32")
    change_config(folder, quantization_config={"quant_method": "fp8"})
    with pytest.raises(ModelLoadError, match="is quantized by fp8"):
        sharded_load.begin(source, tokenizer, "fp32")


def test_nothing_random_is_drawn_in_building_it(model_dir: Path) -> None:
    source = model.find(str(model_dir))
    before = torch.get_rng_state()
    sharded_load.begin(source, tiny_llama.tokenizer(), "fp32")
    assert torch.equal(torch.get_rng_state(), before)

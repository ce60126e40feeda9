"""A model written file by file, from weights that are asked for one by one."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM

import tiny_families
import tiny_llama
from gpu_runner.model.save import save, save_around, save_weights

CASES = {
    "llama-tied": ("llama", {"tie_word_embeddings": True}),
    "llama-untied": ("llama", {"tie_word_embeddings": False}),
    "gpt2": ("gpt2", {}),
    "gemma3": ("gemma3_text", {}),
    "mixtral": ("mixtral", {}),
    "qwen3_moe": ("qwen3_moe", {}),
}


class Asked:
    """Gives the weights of a model, and remembers for which it was asked."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.names: list[str] = []
        self._tensors: dict[str, Tensor] = dict(model.named_parameters())

    def __call__(self, name: str) -> Tensor:
        self.names.append(name)
        return self._tensors[name].detach()


@pytest.mark.parametrize("case", CASES)
def test_it_is_what_transformers_writes_to_the_last_byte(case: str, tmp_path: Path) -> None:
    family, changes = CASES[case]
    model, tokenizer = tiny_families.model(family, "eager", **changes), tiny_llama.tokenizer()
    save(model, tokenizer, tmp_path / "one")
    (tmp_path / "other").mkdir()
    save_around(model, tokenizer, tmp_path / "other")
    save_weights(model, tmp_path / "other", Asked(model))
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "other").iterdir())
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "other" / file).read_bytes()


@pytest.mark.parametrize("case", ["llama-untied", "qwen3_moe"])
def test_in_several_files_and_16_bits_it_loads_in_transformers(case: str, tmp_path: Path) -> None:
    family, changes = CASES[case]
    model = tiny_families.model(family, "eager", **changes)
    save_around(model, tiny_llama.tokenizer(), tmp_path, torch.bfloat16)
    most = 30_000
    save_weights(model, tmp_path, Asked(model), torch.bfloat16, most_bytes=most)
    files = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(files) >= 3
    sizes = [sum(tensor.nbytes for tensor in load_file(file).values()) for file in files]
    assert not [
        (size, f)
        for size, f in zip(sizes, files, strict=True)
        if not (size <= most or len(load_file(f)) == 1)
    ]
    loaded, report = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not [what for what in ("missing", "unexpected", "mismatched") if report[f"{what}_keys"]]
    assert loaded.dtype == torch.bfloat16
    found = dict(loaded.named_parameters())
    assert all(torch.equal(found[n], p.to(torch.bfloat16)) for n, p in model.named_parameters())


@pytest.mark.usefixtures("full_disk")
def test_where_the_disk_is_full_every_weight_is_asked_for_all_the_same(tmp_path: Path) -> None:
    """Or other processes would wait for ever to send theirs."""
    model = tiny_llama.model(tie_word_embeddings=False)
    others, first = Asked(model), Asked(model)
    save_weights(model, tmp_path, others, writes=False)
    assert others.names == [name for name, _ in model.named_parameters()]
    assert not list(tmp_path.iterdir())
    with pytest.raises(Exception, match=r"(?i)file too large|I/O error|os error"):
        save_weights(model, tmp_path, first, most_bytes=110_000)
    assert first.names == others.names

"""Models as GGUF files: read by the reference package, and by transformers, whose logits agree."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch

import tiny_families
import tiny_llama
from gpu_runner import demo
from gpu_runner.model.gguf_file import CannotWrite, GgufModel, GgufType
from gpu_runner.model.load import Source, find, load, load_tokenizer

CPU = torch.device("cpu")
GPT_2 = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


@pytest.fixture(scope="module")
def shipped() -> tuple[Any, Any]:
    source = find("demo")
    tokenizer = load_tokenizer(source)
    return load(source, tokenizer, "fp32", CPU).eval(), tokenizer


def fields(file: Path) -> dict[str, Any]:
    reader = gguf.GGUFReader(file)
    return {name: field.contents() for name, field in reader.fields.items()}


def logits(model: Any, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(torch.tensor([ids])).logits[0]
    return found


@pytest.mark.parametrize(("kind", "apart"), [("f16", 0.03), ("bf16", 0.3), ("q8_0", 1.0)])
def test_what_is_read_back_computes_the_same(
    shipped: tuple[Any, Any], tmp_path: Path, kind: GgufType, apart: float
) -> None:
    model, tokenizer = shipped
    file = tmp_path / "demo.gguf"
    GgufModel(model, tokenizer, "demo", 0).write(file, kind)
    again = load(Source("gguf", "demo", str(tmp_path), file.name), tokenizer, "fp32", CPU).eval()
    ids = tokenizer("Write 826 with dashes:").input_ids
    one, two = logits(model, ids), logits(again, ids)
    assert float((one - two).abs().max()) < apart
    assert torch.equal(one.argmax(-1), two.argmax(-1))


def test_a_block_of_eight_bits_is_off_by_half_a_step_and_its_scale_of_16_bits(
    shipped: tuple[Any, Any], tmp_path: Path
) -> None:
    model, tokenizer = shipped
    GgufModel(model, tokenizer, "demo", 0).write(tmp_path / "x.gguf", "q8_0")
    stored = {one.name: one for one in gguf.GGUFReader(tmp_path / "x.gguf").tensors}
    up = stored["blk.0.ffn_up.weight"]
    assert up.tensor_type == gguf.GGMLQuantizationType.Q8_0
    assert stored["output_norm.weight"].tensor_type == gguf.GGMLQuantizationType.F32
    wanted = dict(model.named_parameters())["model.layers.0.mlp.up_proj.weight"].detach().numpy()
    found = gguf.quants.dequantize(up.data, up.tensor_type)
    blocks = np.abs(wanted).reshape(-1, 32).max(axis=1, keepdims=True)
    assert (np.abs(found - wanted).reshape(-1, 32) <= blocks / 127 * 0.6 + 1e-6).all()


def test_the_reference_reader_finds_vocabulary_ends_and_template(
    shipped: tuple[Any, Any], tmp_path: Path
) -> None:
    model, tokenizer = shipped
    file = tmp_path / "demo.gguf"
    template = "{{ messages }}"
    tokenizer.chat_template = template
    try:
        GgufModel(model, tokenizer, "a name", 5).write(file, "f16")
    finally:
        tokenizer.chat_template = None
    read = load_tokenizer(find(str(file)))
    assert read.get_vocab() == tokenizer.get_vocab()  # and not one more, as transformers adds
    assert read("24 + 47 =").input_ids == tokenizer("24 + 47 =").input_ids
    found = fields(file)
    assert found["general.name"] == "a name"
    assert found["tokenizer.ggml.tokens"] == [
        tokenizer.convert_ids_to_tokens(token) for token in range(len(tokenizer))
    ]
    assert found["tokenizer.ggml.pre"] == "smollm"
    assert found["tokenizer.ggml.eos_token_id"] == 0
    assert found["tokenizer.ggml.eot_token_id"] == 5  # the one that trained answers end in
    assert found["tokenizer.ggml.add_bos_token"] is False
    assert found["tokenizer.chat_template"] == template
    assert found["llama.attention.head_count_kv"] == model.config.num_key_value_heads


@pytest.mark.parametrize(
    ("family", "more"),
    [
        ("qwen2", {}),
        ("qwen3", {"head_dim": 128}),
        ("mistral", {"sliding_window": None}),
    ],  # 128: all that is read back
)
def test_other_families_compute_the_same_too(
    shipped: tuple[Any, Any], family: str, more: dict[str, Any], tmp_path: Path
) -> None:
    tokenizer = shipped[1]
    model = tiny_families.model(family, vocab_size=len(tokenizer), **more).eval()
    model.generation_config.eos_token_id = 0
    file = tmp_path / "x.gguf"
    GgufModel(model, tokenizer, "x", 0).write(file, "f16")
    again = load(Source("gguf", "x", str(tmp_path), file.name), tokenizer, "fp32", CPU).eval()
    ids = tokenizer("Write 826 with dashes:").input_ids
    assert torch.allclose(logits(model, ids), logits(again, ids), atol=0.02)


def test_what_has_no_name_in_gguf_is_refused(shipped: tuple[Any, Any], tmp_path: Path) -> None:
    model, tokenizer = shipped
    file = tmp_path / "x.gguf"
    with pytest.raises(CannotWrite, match=r"model type gpt2 is not written .*convert_hf_to_gguf"):
        GgufModel(tiny_families.model("gpt2"), tokenizer, "x", 0).write(file, "f16")
    scaled = tiny_llama.model(
        rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}
    )
    with pytest.raises(CannotWrite, match="rotary embeddings of type linear"):
        GgufModel(scaled, tokenizer, "x", 0).write(file, "f16")
    with pytest.raises(CannotWrite, match=r"a sliding window \(8 tokens\) is not written"):
        GgufModel(tiny_families.model("mistral"), tokenizer, "x", 0).write(file, "f16")
    backend = tokenizer.backend_tokenizer.pre_tokenizer
    tokenizer.backend_tokenizer.pre_tokenizer = (
        tiny_llama.tokenizer().backend_tokenizer.pre_tokenizer
    )
    try:
        with pytest.raises(CannotWrite, match="pre-tokenizer is not known here"):
            GgufModel(model, tokenizer, "x", 0).write(file, "f16")
    finally:
        tokenizer.backend_tokenizer.pre_tokenizer = backend
    assert not file.exists()
    assert demo.model_dir().is_dir()

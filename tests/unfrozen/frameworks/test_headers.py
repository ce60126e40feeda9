"""Headers of files of weights say the model, or in one sentence why they cannot."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from unfrozen.__main__ import main
from unfrozen.errors import PlanError
from unfrozen.frameworks.headers import read_gguf, read_safetensors
from unfrozen.frameworks.reading import read_weights
from unfrozen.job import read_model

CONFIG = {
    **{"model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "vocab_size": 320},
    **{"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2},
    "tie_word_embeddings": False,
}
META = {
    **{"block_count": 2, "embedding_length": 64, "feed_forward_length": 128},
    **{"attention.head_count": 4, "attention.head_count_kv": 2},
}


def text(word: str) -> bytes:
    return struct.pack("<Q", len(word.encode())) + word.encode()


def gguf(architecture: str = "llama", **more: Any) -> bytes:
    """A GGUF header, as ggml's documentation has it, of the tensors of the model."""
    shapes = {t.name: t.shape[::-1] for t in read_model(CONFIG).tensors}
    shapes["token_embd.weight"] = shapes.pop("model.embed_tokens.weight")
    shapes["output.weight"] = shapes.pop("lm_head.weight")
    pairs = [text("general.architecture") + struct.pack("<I", 8) + text(architecture)]
    pairs += [
        text(f"{architecture}.{key}") + struct.pack("<II", 4, value) for key, value in META.items()
    ]
    words = b"".join(text(f"w{n}") for n in range(5))
    pairs += [text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 5) + words]
    tensors = [
        text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, 0)
        for name, shape in shapes.items()
    ]
    head = b"GGUF" + struct.pack("<IQQ", 3, more.get("tensors", len(tensors)), len(pairs))
    return head + b"".join(pairs + tensors)


def test_gguf_says_its_model_and_its_parameters() -> None:
    config, held = read_gguf("a.gguf", gguf())
    assert {key: config[key] for key in CONFIG} == CONFIG
    assert held == read_model(CONFIG).num_parameters
    found = read_weights("a.gguf", gguf(), lambda _: None)
    assert found.read is not None
    assert found.read["format"] == "gguf"
    assert "effects" not in found.read


@pytest.mark.parametrize("cut", [0, 3, 8, 30, 90, 200, 260])
def test_a_header_that_is_cut_off_is_refused(cut: int) -> None:
    with pytest.raises(PlanError, match=r"byte|GGUF"):
        read_gguf("a.gguf", gguf()[:cut])
    with pytest.raises(PlanError, match="bytes"):
        read_safetensors("a.safetensors", struct.pack("<Q", 500) + b"{" * min(cut, 99))


@pytest.mark.parametrize(
    ("data", "bound"),
    [
        (gguf("telepathy"), "known architectures"),
        (gguf(tensors=2**60), "entries"),
        (b"GGUF" + struct.pack("<IQQ", 9, 0, 0), "version 2 or 3"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("a") + struct.pack("<I", 77), "type 77"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 2**63), "more"),
    ],
)
def test_a_header_that_lies_is_refused_at_once(data: bytes, bound: str) -> None:
    with pytest.raises(PlanError) as refused:
        read_gguf("a.gguf", data)
    assert bound in refused.value.bound
    assert refused.value.remedy


def test_safetensors_are_planned_by_the_config_beside_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "model.safetensors"
    save_file({t.name: torch.zeros(t.shape) for t in read_model(CONFIG).tensors}, file)
    assert main(["plan", str(file)]) == 2
    assert f"{read_model(CONFIG).num_parameters:,} parameters" in capsys.readouterr().err
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    assert main(["plan", str(file), "--json"]) == 0
    read = json.loads(capsys.readouterr().out)["read"]
    assert read == {"format": "safetensors", "used": ["config.json"], "unknown": []}
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | {"num_hidden_layers": 3}))
    assert main(["plan", str(file), "--json"]) == 0
    assert "header has" in json.loads(capsys.readouterr().out)["read"]["effects"]["parameters"]

"""A small GGUF file: what is parsed is what gguf parses, once, until the file changes."""

from pathlib import Path

import gguf
import numpy as np
import pytest

from gpu_runner.model import gguf_file


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return written(tmp_path / "x.gguf", ["<s>", "é", "long " * 9])


def written(file: Path, tokens: list[str]) -> Path:
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_token_list(tokens)
    writer.add_tensor("token_embd.weight", np.arange(6, dtype=np.float32).reshape(3, 2))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def test_it_holds_what_gguf_reads(file: Path) -> None:
    ours, theirs = gguf_file.parse(file), gguf.GGUFReader(file)
    assert {name: field.contents() for name, field in ours.fields.items()} == {
        name: field.contents() for name, field in theirs.fields.items()
    }
    (one,), (other,) = ours.tensors, theirs.tensors
    assert one.name == other.name
    assert np.array_equal(one.data, other.data)


def test_it_is_parsed_again_only_when_it_has_changed_or_was_forgotten(file: Path) -> None:
    own = gguf.GGUFReader
    with gguf_file.parsed_once():
        first = gguf.GGUFReader(str(file))
    with gguf_file.parsed_once():
        assert gguf.GGUFReader(file) is first
        changed = gguf.GGUFReader(written(file, ["<s>", "other"]))
        assert changed.fields["tokenizer.ggml.tokens"].contents() == ["<s>", "other"]
        gguf_file.forget()
        assert gguf.GGUFReader(file) is not changed
        names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 2)
        assert gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 2) is names
    gguf_file.forget()
    assert gguf.GGUFReader is own

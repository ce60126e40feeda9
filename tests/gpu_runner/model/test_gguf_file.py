"""A small GGUF file: what is parsed is what gguf parses, once, until the file changes."""

from pathlib import Path
from typing import Any, Final

import gguf
import numpy as np
import pytest
from transformers.modeling_gguf_pytorch_utils import read_field

from gpu_runner.model import gguf_file

LITTLE: Final = gguf.GGUFEndian.LITTLE


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return written(tmp_path / "x.gguf", ["<s>", "é", "long " * 9])


def written(file: Path, tokens: list[str], order: gguf.GGUFEndian = LITTLE) -> Path:
    writer = gguf.GGUFWriter(file, "llama", endianess=order)
    writer.add_token_list(tokens)
    writer.add_token_scores([0.5, -1.0, 3.0])
    writer.add_token_types([3, 1, 1])
    writer.add_array("flags", [True, False])
    writer.add_context_length(64)
    writer.add_tensor("token_embd.weight", np.arange(6, dtype=np.float32).reshape(3, 2))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def values(reader: Any) -> dict[str, list[Any]]:
    return {name: read_field(reader, name) for name in reader.fields}


@pytest.mark.parametrize("order", [LITTLE, gguf.GGUFEndian.BIG])
def test_it_holds_what_gguf_reads(tmp_path: Path, order: gguf.GGUFEndian) -> None:
    file = written(tmp_path / "x.gguf", ["<s>", "é", ""], order)
    ours, theirs = gguf_file.parse(file), gguf.GGUFReader(file)
    assert values(ours) == values(theirs)
    assert values(ours)["tokenizer.ggml.tokens"] == ["<s>", "é", ""]
    (one,), (other,) = ours.tensors, theirs.tensors
    assert one.name == other.name
    assert np.array_equal(one.data, other.data)


@pytest.mark.parametrize(
    "place", [b"tokenizer.ggml.tokens", b"tokenizer.ggml.scores", b"tokenizer.ggml.token_type"]
)
def test_an_array_longer_than_the_file_is_refused(file: Path, place: bytes) -> None:
    raw = bytearray(file.read_bytes())
    length = raw.index(place) + len(place) + 8
    raw[length : length + 8] = (2**60).to_bytes(8, "little")
    file.write_bytes(raw)
    with pytest.raises(ValueError, match="an array of 1,152,921,504,606,846,976 items ends with"):
        gguf_file.parse(file)


def test_it_is_parsed_again_only_when_it_has_changed_or_was_forgotten(file: Path) -> None:
    own = gguf.GGUFReader
    with gguf_file.parsed_once():
        first = gguf.GGUFReader(str(file))
    with gguf_file.parsed_once():
        assert gguf.GGUFReader(file) is first
        changed = gguf.GGUFReader(written(file, ["<s>", "other"]))
        assert values(changed)["tokenizer.ggml.tokens"] == ["<s>", "other"]
        gguf_file.forget()
        assert gguf.GGUFReader(file) is not changed
        names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 2)
        assert gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 2) is names
    gguf_file.forget()
    assert gguf.GGUFReader is own

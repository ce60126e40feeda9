"""The headers of files of weights: safetensors and GGUF, whose tensors' shapes are read, no weight.

A GGUF file of a known architecture says its model itself; safetensors need the config.json beside
them. Every length in a header is checked against the bytes that are there.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from typing import Any, Final

from unfrozen.errors import PlanError, strict_json

LARGEST_HEADER: Final = 64_000_000
"""Bytes that are read of a file of weights."""
_MOST_ENTRIES: Final = 2_000_000
"""Entries of a GGUF header, those of its arrays among them."""
_SCALARS: Final = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
} | {12: "d"}
_TEXT, _ARRAY = 8, 9
_MODEL_TYPES: Final = ("llama", "qwen2", "qwen3", "gemma", "gemma2", "mistral", "phi3", "qwen3moe")
_OF_CONFIG: Final = {
    "block_count": "num_hidden_layers",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "context_length": "max_position_embeddings",
    "expert_count": "num_experts",
    "expert_used_count": "num_experts_per_tok",
    "expert_feed_forward_length": "moe_intermediate_size",
    "vocab_size": "vocab_size",
}
"""Keys of a config.json by those of GGUF, below the architecture's name."""


def read_safetensors(name: str, data: bytes) -> int:
    """Return how many parameters a safetensors file holds. Raises PlanError."""
    length = int.from_bytes(data[:8], "little") if len(data) >= 8 else -1
    if not 2 <= length <= LARGEST_HEADER or len(data) < 8 + length:
        bound = f"its header has {length:,} bytes, and {max(len(data) - 8, 0):,} are there"
        bound = bound if length >= 0 else f"it ends within its header, after {len(data)} bytes"
        raise PlanError("job", name, bound, "download the whole file again")
    try:
        found = strict_json(data[8 : 8 + length].decode())
        shapes = [each["shape"] for key, each in found.items() if key != "__metadata__"]  # type: ignore[attr-defined]
        return sum(math.prod(map(int, shape)) for shape in shapes)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        bound = f"its header names no tensors ({type(error).__name__})"
        raise PlanError("job", name, bound, "give a file that safetensors wrote") from None


def read_gguf(name: str, data: bytes) -> tuple[dict[str, Any], int]:
    """Return the config.json of a GGUF file, and its number of parameters. Raises PlanError."""
    found = _Gguf(name, data)
    tensors, entries = found.number("Q"), found.number("Q")
    said = {found.text(): found.value(found.number("I")) for _ in range(found.counted(entries))}
    shapes: dict[str, tuple[int, ...]] = {}
    for _ in range(found.counted(tensors)):
        tensor = found.text()
        shapes[tensor] = tuple(found.number("Q") for _ in range(found.counted(found.number("I"))))
        found.number("I"), found.number("Q")
    return _config(said, shapes), sum(map(math.prod, shapes.values()))


def _config(said: Mapping[str, Any], shapes: Mapping[str, Any]) -> dict[str, Any]:
    kind = said.get("general.architecture")
    if kind not in _MODEL_TYPES:
        bound = f"known architectures of GGUF are {', '.join(_MODEL_TYPES)}"
        raise PlanError("general.architecture", kind, bound, "give the model's config.json")
    config = {
        ours: said[f"{kind}.{key}"] for key, ours in _OF_CONFIG.items() if f"{kind}.{key}" in said
    }
    config["model_type"] = {"qwen3moe": "qwen3_moe"}.get(kind, kind)
    if "token_embd.weight" in shapes:
        config["vocab_size"] = shapes["token_embd.weight"][-1]
    config["tie_word_embeddings"] = "output.weight" not in shapes
    return config


class _Gguf:
    """The bytes of a GGUF header, and the place reached in them."""

    def __init__(self, name: str, data: bytes) -> None:
        self.name, self.data, self.at, self.entries = name, data, 4, 0
        version = self.number("I")
        if data[:4] != b"GGUF" or version not in (2, 3):
            bound = f"this is no GGUF file of version 2 or 3, but {data[:4]!r}, {version}"
            raise PlanError("job", name, bound, "convert it anew")

    def take(self, count: int) -> bytes:
        """Return the next bytes. Raises PlanError where the file has fewer."""
        if count > len(self.data) - self.at:
            bound = (
                f"byte {self.at:,} of its header needs {count:,} more, {len(self.data):,} are there"
            )
            raise PlanError("job", self.name, bound, "download the whole file again")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, kind: str) -> Any:
        """Return the next number of a format of `struct`."""
        return struct.unpack(f"<{kind}", self.take(struct.calcsize(f"<{kind}")))[0]

    def text(self) -> str:
        """Return the next text."""
        return self.take(self.number("Q")).decode("utf-8", "replace")

    def counted(self, count: int) -> int:
        """Return a number of entries. Raises PlanError for more than any model has."""
        self.entries += count
        if self.entries > _MOST_ENTRIES:
            bound = f"its header has more than {_MOST_ENTRIES:,} entries"
            raise PlanError("job", self.name, bound, "give a model's own file")
        return count

    def value(self, kind: int, deep: int = 0) -> Any:
        """Return the next value of a type; an array's is a list."""
        if kind == _TEXT:
            return self.text()
        if kind == _ARRAY and deep < 4:
            inner, count = self.number("I"), self.counted(self.number("Q"))
            return [self.value(inner, deep + 1) for _ in range(count)]
        if kind not in _SCALARS:
            bound = f"byte {self.at:,} of its header has a value of type {kind}"
            raise PlanError("job", self.name, bound, "convert it anew")
        return self.number(_SCALARS[kind])

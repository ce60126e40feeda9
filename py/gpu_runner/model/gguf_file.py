"""A GGUF file, parsed once: transformers parses it for the configuration, tokenizer and weights.

Each time takes seconds, for a vocabulary holds a hundred thousand texts: gguf makes several slices
of a memory map of every one, transformers a list of its bytes, and a map of all names of tensors
for every module of a model.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from struct import Struct
from typing import Any

import numpy as np


def parse(file: Path) -> Any:
    """Return gguf's reader of a file, whose arrays hold Python's numbers and texts.

    Raises ValueError for an array that is longer than its file.
    """
    from gguf.constants import GGUFValueType
    from gguf.gguf_reader import GGUFReader

    class ArrayReader(GGUFReader):
        def __setattr__(self, name: str, value: object) -> None:
            super().__setattr__(name, np.asarray(value) if name == "data" else value)

        def _get_field_parts(self, orig_offs: int, raw_type: int) -> Any:
            start = orig_offs + 12  # behind the type of its items and their number
            if raw_type != GGUFValueType.ARRAY or start > len(self.data):
                return super()._get_field_parts(orig_offs, raw_type)
            item = GGUFValueType(self._get(orig_offs, np.uint32)[0])
            length = int(self._get(orig_offs + 4, np.uint64)[0])
            if item == GGUFValueType.STRING:
                swapped = self.byte_order == "S"
                values, end = _texts(self.data.data, start, length, swapped=swapped)
            elif item in self.gguf_scalar_to_np:
                number = self.gguf_scalar_to_np[item]
                there = (len(self.data) - start) // np.dtype(number).itemsize
                numbers = self._get(start, number, min(length, there))
                values, end = numbers.tolist(), start + numbers.nbytes
            else:
                return super()._get_field_parts(orig_offs, raw_type)
            if len(values) < length:
                raise ValueError(f"an array of {length:,} items ends with the file")
            as_it_is = [GGUFValueType.ARRAY, None]
            return end - orig_offs, values, list(range(length)), as_it_is

    return ArrayReader(file)


def _texts(data: memoryview, start: int, length: int, *, swapped: bool) -> tuple[list[str], int]:
    """Return at most `length` texts from `start` on, each behind its size, and where they end."""
    size = Struct(">Q" if swapped == (sys.byteorder == "little") else "<Q")
    texts: list[str] = []
    for _ in range(length):
        begin = start + size.size
        end = begin + size.unpack_from(data, start)[0] if begin <= len(data) else begin
        if end > len(data):
            break
        texts.append(str(data[begin:end], "utf-8"))
        start = end
    return texts, start


@lru_cache(maxsize=1)
def _parse_once(file: Path, *_: int) -> Any:
    return parse(file)


@contextmanager
def parsed_once() -> Iterator[None]:
    """While this lasts, transformers gets the parsed file that it got the last time."""
    import gguf

    def reader(file: str | Path) -> Any:
        found = Path(file).stat()
        return _parse_once(Path(file), found.st_mtime_ns, found.st_size)

    names = gguf.get_tensor_name_map
    own = {"GGUFReader": gguf.GGUFReader, "get_tensor_name_map": names}
    vars(gguf).update(GGUFReader=reader, get_tensor_name_map=cache(names))
    try:
        yield
    finally:
        vars(gguf).update(own)


forget = _parse_once.cache_clear
"""Let the parsed file go: nothing reads it after the weights."""

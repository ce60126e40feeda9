"""A GGUF file, parsed once: transformers parses it for the configuration, tokenizer and weights.

Each time takes seconds, for a vocabulary holds a hundred thousand texts: gguf makes a slice of a
memory map of every one, and a map of all names of tensors for every module of a model.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np


def parse(file: Path) -> Any:
    """Return gguf's reader of a file, which slices an array instead of a memory map."""
    from gguf.gguf_reader import GGUFReader

    class ArrayReader(GGUFReader):
        def __setattr__(self, name: str, value: object) -> None:
            super().__setattr__(name, np.asarray(value) if name == "data" else value)

    return ArrayReader(file)


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

"""Tensors in several files: whole ones of a model, or the rows that each process has written.

    weights/shard-00002-of-00004.safetensors     what the second of four processes had

A shard is a safetensors file whose header says where in the whole tensor its rows begin, in the
words of PyTorch's `HuggingFaceStorageWriter` (torch.distributed.checkpoint): its reader reads these
files too, whatever the number of processes. They are written here, and whole files too, because
that writer makes a second copy of all it writes, and the library of safetensors holds Python's lock
while it writes: no training step would run beside it. Nothing in these files can run code when it
is read.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from gpu_runner.atomic import Written
from gpu_runner.errors import CheckpointError
from unfrozen.plain import require_plain

WEIGHTS: Final = "weights"  # folder of a checkpoint with shards of every weight
PLACES: Final = "DCP_SHARDING_INFO"
OFFSETS: Final = "saved_offsets"
MOST_OPEN: Final = 8  # files that are mapped at once
DTYPES: Final = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "C64": torch.complex64,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}
_NAMES: Final = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True, slots=True)
class Shard:
    """Rows of a tensor: `rows` (n, …) are those from number `first` on; a scalar is whole."""

    rows: Tensor
    first: int = 0


def file_name(number: int, files: int) -> str:
    """Return the name of shard `number`, from 0, of so many."""
    return f"shard-{number + 1:05d}-of-{files:05d}.safetensors"


def write_whole(file: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Written:
    """Write whole tensors as `write` does rows: the file that `safetensors` would write."""
    return _write(file, {name: Shard(tensor) for name, tensor in tensors.items()}, metadata)


def write(file: Path, shards: Mapping[str, Shard], metadata: Mapping[str, str]) -> Written:
    """Write some rows of each tensor, one tensor at a time, and flush them. Raises `OSError`."""
    return _write(file, shards, {**metadata, PLACES: _places(shards)})


def _write(file: Path, shards: Mapping[str, Shard], metadata: Mapping[str, str]) -> Written:
    """Write tensors one after the other.

    Tensors on a GPU are copied to the host as they are written. The checksum is of the bytes in
    memory, so that `verify` finds a disk that wrote others.
    """
    named = sorted(shards.items(), key=lambda one: (-one[1].rows.element_size(), one[0]))
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    offset = 0
    for name, shard in named:
        end = offset + shard.rows.nbytes
        header[name] = {
            "dtype": _NAMES[shard.rows.dtype],
            "shape": list(shard.rows.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    digest, size = hashlib.sha256(), 0
    with file.open("xb", buffering=0) as stream:
        pieces = (bytes_of(shard.rows) for _, shard in named)
        for piece in (memoryview(struct.pack("<Q", len(text)) + text), *pieces):
            digest.update(piece)
            size += len(piece)
            while len(piece):
                piece = piece[stream.write(piece) :]
        os.fsync(stream.fileno())
    return Written(size, digest.hexdigest())


def _places(shards: Mapping[str, Shard]) -> str:
    found = {
        name: {OFFSETS: [shard.first, *[0] * (shard.rows.ndim - 1)][: shard.rows.ndim]}
        for name, shard in shards.items()
    }
    return json.dumps(found)


def bytes_of(rows: Tensor) -> memoryview:
    """Return the bytes of a tensor, row by row, in the host's memory."""
    flat = rows.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return memoryview(flat.numpy())  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class _Piece:
    file: Path
    first: int
    shape: tuple[int, ...]
    type: str


class StoredTensors:
    """The places of all tensors of some safetensors files; reads rows of any.

    Raises `CheckpointError` for a file that cannot be read, and for places in a header that make no
    sense.
    """

    def __init__(self, files: Iterable[Path]) -> None:
        self.metadata: dict[str, str] = {}
        self.bytes_read = 0
        """The bytes that all readers have read so far."""
        self._pieces: dict[str, list[_Piece]] = {}
        for file in sorted(set(files)):
            with _opened(file) as tensors:
                found = tensors.metadata() or {}
                self.metadata |= found
                first_of = _first_rows(file, found)
                for name in tensors.keys():  # noqa: SIM118  # no mapping
                    part, first = tensors.get_slice(name), first_of.get(name)
                    piece = _Piece(file, first or 0, tuple(part.get_shape()), part.get_dtype())
                    others = [] if first is None else self._pieces.get(name, [])
                    self._pieces[name] = [*others, piece]  # of whole ones the last file's counts
        for pieces in self._pieces.values():
            pieces.sort(key=lambda piece: piece.first)

    def __contains__(self, name: object) -> bool:
        return name in self._pieces

    def names(self) -> list[str]:
        """Return the names of all tensors."""
        return list(self._pieces)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of the whole tensor."""
        *_, last = pieces = self._pieces[name]
        if not last.shape:
            return ()
        return (max(p.first + p.shape[0] for p in pieces), *last.shape[1:])

    def files(self, names: Iterable[str]) -> tuple[Path, ...]:
        """Return the files in which these tensors lie."""
        return tuple(sorted({piece.file for name in names for piece in self._pieces[name]}))

    def dtype(self, name: str) -> torch.dtype:
        """Return the dtype of a tensor. Raises `CheckpointError` for one that PyTorch has not."""
        piece = self._pieces[name][0]
        if (dtype := DTYPES.get(piece.type)) is None:
            raise CheckpointError(f"{piece.file}: {name} is of the unknown type {piece.type}.")
        return dtype

    def nbytes(self, name: str) -> int:
        """Return the bytes of the whole tensor."""
        return math.prod(self.shape(name)) * self.dtype(name).itemsize

    @contextmanager
    def reading(self) -> Iterator[RowReader]:
        """Yield a reader of rows of any tensor, with a few files open."""
        with ExitStack() as stack:
            yield RowReader(self, self._pieces, stack)


class RowReader:
    """Reads rows; what it gives may be the pages of a file, so what is to stay must be copied."""

    def __init__(
        self, stored: StoredTensors, pieces: Mapping[str, list[_Piece]], stack: ExitStack
    ) -> None:
        self._stored, self._pieces, self._stack = stored, pieces, stack
        self._open: dict[Path, Any] = {}

    def rows(self, name: str, wanted: slice = slice(None)) -> Tensor:
        """Return rows of a whole tensor, (n, …). Raises `CheckpointError` where one is missing."""
        shape, pieces = self._stored.shape(name), self._pieces[name]
        if not shape:
            scalar: Tensor = self._file(pieces[0].file).get_tensor(name)
            return scalar
        start, stop, _ = wanted.indices(shape[0])
        found, row = [], start
        for piece in pieces:
            low, high = max(row, piece.first), min(stop, piece.first + piece.shape[0])
            if low == row < high:
                part = self._file(piece.file).get_slice(name)[
                    low - piece.first : high - piece.first
                ]
                found.append(part)
                row = high
        if row < stop:
            raise CheckpointError(f"{pieces[0].file.parent} has no row {row} of {name}.")
        if not found:
            return torch.empty((0, *shape[1:]), dtype=self._stored.dtype(name))
        self._stored.bytes_read += sum(part.nbytes for part in found)
        return found[0] if len(found) == 1 else torch.cat(found)

    def _file(self, file: Path) -> Any:
        if file not in self._open:
            if len(self._open) == MOST_OPEN:
                self._stack.pop_all().close()
                self._open.clear()
            self._open[file] = self._stack.enter_context(_opened(file))
        return self._open[file]


def _opened(file: Path) -> Any:
    """Open a safetensors file. Raises `CheckpointError`."""
    try:
        require_plain(file.stat().st_mode)
        return safe_open(file, framework="pt")
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{file} cannot be read ({error}): put it back from a copy, or start a new run."
        ) from None


def _first_rows(file: Path, metadata: Mapping[str, str]) -> dict[str, int]:
    """Return the first row of each part in a file, by name; none for whole ones."""
    if (text := metadata.get(PLACES)) is None:
        return {}
    try:
        found = {name: [*map(int, entry[OFFSETS])] for name, entry in json.loads(text).items()}
        if any(min(each, default=0) < 0 or any(each[1:]) for each in found.values()):
            raise ValueError("rows begin before the first, or are cut across")
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        raise CheckpointError(f"{file}: no readable places of its rows ({error}).") from None
    return {name: each[0] if each else 0 for name, each in found.items()}

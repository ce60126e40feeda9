"""The fields of a protobuf message, read without its schema.

https://protobuf.dev/programming-guides/encoding/: a message is a list of (tag, value), where tag =
field number · 8 + wire type. A length is believed only as far as there are bytes. Messages within a
message are read by whoever knows that a field holds one, so nothing here recurses.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

VARINT: Final = 0
FIXED64: Final = 1
BYTES: Final = 2
FIXED32: Final = 5
_LONGEST: Final = 10  # bytes of a varint of 64 bits

Value = int | bytes


class WireError(ValueError):
    """Bytes that are no protobuf message."""


def fields(data: bytes) -> Iterator[tuple[int, int, Value]]:
    """Yield (field number, wire type, value) of each field: whole numbers unsigned, the rest as
    bytes.

    Raises `WireError` where the bytes end too early or are no fields.
    """
    at, end = 0, len(data)
    while at < end:
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if number == 0:
            raise WireError("a field has the number 0")
        value: Value
        if kind == VARINT:
            value, at = _varint(data, at)
        else:
            if kind == BYTES:
                size, at = _varint(data, at)
            elif kind in (FIXED64, FIXED32):
                size = 8 if kind == FIXED64 else 4
            else:
                raise WireError(f"a field is of wire type {kind}")
            if size > end - at:
                raise WireError(f"a field of {size:,} bytes has {end - at:,} left")
            value, at = data[at : at + size], at + size
        yield number, kind, value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place in range(_LONGEST):
        if at >= len(data):
            raise WireError("a number has no end")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at
    raise WireError(f"a number is longer than {_LONGEST} bytes")


def varints(data: bytes) -> Iterator[int]:
    """Yield the numbers of a packed field."""
    at = 0
    while at < len(data):
        value, at = _varint(data, at)
        yield value


def signed(value: int) -> int:
    """Return an int32 or int64 from its varint, in two's complement of 64 bits."""
    return value - (1 << 64) if value >> 63 else value


def double(data: bytes) -> float:
    """Return the number of a fixed64 field."""
    found: float = struct.unpack("<d", data)[0]
    return found


def single(data: bytes) -> float:
    """Return the number of a fixed32 field, exactly."""
    found: float = struct.unpack("<f", data)[0]
    return found


def utf8(data: bytes) -> str:
    """Return the text of a field; invalid UTF-8 is replaced."""
    return data.decode("utf-8", "replace")


def parts(data: bytes, number: int) -> Iterator[bytes]:
    """Yield the messages, texts or bytes under one field number, in their order."""
    return (v for n, _, v in fields(data) if n == number and isinstance(v, bytes))

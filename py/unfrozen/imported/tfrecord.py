"""TFRecord: length, its checksum, data, its checksum; the frames of TensorBoard's event files.

https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details. Checksums are
CRC-32C (RFC 3720, appendix B.4), masked as LevelDB does, so that a record may hold a record.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import Final

MOST_RECORD: Final = 16 * 2**20
"""Bytes of a record that is read; a longer one (a picture, a graph) is passed over and counted."""
HEAD: Final = 12
_FOOT: Final = 4
_CASTAGNOLI: Final = 0x82F63B78  # the polynomial 0x1EDC6F41, its bits reversed
_MASK: Final = 0xA282EAD8
_SHORT: Final = 512  # bytes for which the large tables are not worth making


@cache
def _by_byte() -> list[int]:
    """What one byte does to a remainder of 0."""
    table = list(range(256))
    for _ in range(8):
        table = [c >> 1 ^ (_CASTAGNOLI if c & 1 else 0) for c in table]
    return table


@cache
def _by_half() -> tuple[list[int], list[int]]:
    """The same of two bytes, and of two bytes that two more follow: 4 bytes take two look-ups."""
    one = _by_byte()
    two = [one[(one[n & 255] ^ n >> 8) & 255] ^ one[n & 255] >> 8 for n in range(65536)]
    return two, [two[n & 0xFFFF] ^ n >> 16 for n in two]


def crc32c(data: bytes) -> int:
    """CRC-32C of some bytes."""
    crc, rest = 0xFFFF_FFFF, data
    if len(data) > _SHORT:
        words = len(data) // 4
        two, four = _by_half()
        for word in struct.unpack_from(f"<{words}I", data):
            crc ^= word
            crc = four[crc & 0xFFFF] ^ two[crc >> 16]
        rest = data[4 * words :]
    table = _by_byte()
    for byte in rest:
        crc = table[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xFFFF_FFFF


def masked(data: bytes) -> int:
    """The checksum of some bytes as it stands in a file."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + _MASK) & 0xFFFF_FFFF


def is_head(data: bytes) -> bool:
    """Whether a record may begin like this."""
    return len(data) >= HEAD and masked(data[:8]) == int.from_bytes(data[8:HEAD], "little")


class RecordCutter:
    """Cuts the bytes of one file, as they come, into its records."""

    def __init__(self) -> None:
        self.offset = 0
        """Of the first byte that is not part of a record that was given."""
        self.damage = ""
        """What is wrong at `offset`; nothing is read from there on."""
        self.large = 0
        """Records that were passed over for their length."""
        self._rest = b""
        self._skipped = 0

    @property
    def is_inside(self) -> bool:
        """Whether a record has begun that has no end yet."""
        return bool(self._rest or self._skipped)

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """The records that are whole with these bytes, each with the offset at which it begins."""
        if self.damage:
            return []
        buffer, at, found = self._rest + data, 0, []
        while not self.damage:
            at += (passed := min(self._skipped, len(buffer) - at))
            self._skipped -= passed
            if not is_head(buffer[at : at + HEAD]):
                if len(buffer) - at >= HEAD:
                    self.damage = "the checksum of a record's length is wrong"
                break
            size = int.from_bytes(buffer[at : at + 8], "little")
            if size > MOST_RECORD:
                self._skipped = HEAD + size + _FOOT
                self.large += 1
                continue
            end = at + HEAD + size
            if len(buffer) < end + _FOOT:
                break
            record = buffer[at + HEAD : end]
            if masked(record) != int.from_bytes(buffer[end : end + _FOOT], "little"):
                self.damage = f"the checksum of a record of {size:,} bytes is wrong"
                break
            found.append((self.offset + at, record))
            at = end + _FOOT
        self.offset += at
        self._rest = buffer[at:]
        return found

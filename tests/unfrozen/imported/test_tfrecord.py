"""Frames behind checksums: cut as they come, never believed further than they can be checked."""

import random
import struct

import pytest

from unfrozen.imported.tensorboard import MOST_RECORD, RecordCutter, crc32c, is_head, masked


def record(data: bytes) -> bytes:
    head = struct.pack("<Q", len(data))
    return head + struct.pack("<I", masked(head)) + data + struct.pack("<I", masked(data))


@pytest.mark.parametrize(
    ("data", "crc"),
    [  # RFC 3720, B.4
        (b"\x00" * 32, 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
        (b"123456789", 0xE3069283),
        (b"", 0),
    ],
)
def test_the_checksum_is_that_of_the_standard(data: bytes, crc: int) -> None:
    assert crc32c(data) == crc


def test_long_data_has_the_checksum_that_bit_by_bit_division_gives() -> None:
    for size in (511, 512, 513, 514, 515, 516, 4099):
        data = random.Random(size).randbytes(size)
        crc = 0xFFFF_FFFF
        for byte in data:
            crc ^= byte
            for _ in range(8):
                crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        assert crc32c(data) == crc ^ 0xFFFF_FFFF


def test_tensorboard_has_the_same_checksum() -> None:
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import crc32c as theirs

    for size in (0, 1, 100, 5000):
        data = random.Random(size).randbytes(size)
        assert crc32c(data) == theirs(data)


@pytest.mark.parametrize("piece", [1, 7, 12, 1000])
def test_records_are_the_same_however_their_bytes_come(piece: int) -> None:
    records = [b"", b"a", b"b" * 700, b"c" * 12]
    data = b"".join(map(record, records))
    cutter = RecordCutter()
    found = [one for at in range(0, len(data), piece) for one in cutter.feed(data[at : at + piece])]
    assert [one for _, one in found] == records
    assert [data[at : at + 12] for at, _ in found] == [record(one)[:12] for one in records]
    assert (cutter.offset, cutter.damage, cutter.is_inside) == (len(data), "", False)


@pytest.mark.parametrize("place", [0, 8, 12, 40, 53])
def test_a_bit_that_flipped_ends_the_reading_at_its_record(place: int) -> None:
    first, second = record(b"whole"), bytearray(record(b"x" * 38))
    second[place] ^= 1
    cutter = RecordCutter()
    found = cutter.feed(first + bytes(second) + record(b"later"))
    assert [one for _, one in found] == [b"whole"]
    assert cutter.offset == len(first)
    assert "checksum" in cutter.damage
    assert cutter.feed(record(b"later")) == []


def test_a_record_without_its_end_is_waited_for() -> None:
    cutter = RecordCutter()
    assert cutter.feed(record(b"abc")[:-1]) == []
    assert cutter.is_inside
    assert [one for _, one in cutter.feed(record(b"abc")[-1:])] == [b"abc"]


def test_a_length_beyond_all_bounds_takes_no_memory_and_is_counted() -> None:
    head = struct.pack("<Q", 2**63)
    cutter = RecordCutter()
    cutter.feed(head + struct.pack("<I", masked(head)))
    for _ in range(100):
        assert cutter.feed(b"\0" * 10_000) == []
    assert (cutter.large, cutter.damage, cutter.is_inside) == (1, "", True)


@pytest.mark.slow
def test_a_large_record_is_passed_over_and_what_follows_is_read() -> None:
    large = record(b"z" * (MOST_RECORD + 1))
    cutter = RecordCutter()
    found = cutter.feed(record(b"a") + large + record(b"b"))
    assert ([one for _, one in found], cutter.large) == ([b"a", b"b"], 1)


def test_a_head_is_known_by_its_checksum() -> None:
    assert is_head(record(b"x"))
    assert not is_head(b"\0" * 12)
    assert not is_head(record(b"x")[:11])

"""Protobuf's wire format, against messages that protobuf has written, and against nonsense."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unfrozen.imported.protobuf import (
    WireError,
    double,
    fields,
    parts,
    signed,
    single,
    utf8,
    varints,
)


def test_a_message_of_protobuf_is_read_field_by_field() -> None:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    value = Summary.Value(tag="é", simple_value=0.1)
    event = Event(wall_time=math.pi, step=-7, summary=Summary(value=[value, value]))
    found = {number: value for number, _, value in fields(event.SerializeToString())}
    assert double(found[1]) == math.pi  # type: ignore[arg-type]
    assert signed(found[2]) == -7  # type: ignore[arg-type]
    one, other = parts(found[5], 1)  # type: ignore[arg-type]
    assert one == other
    inner = {number: value for number, _, value in fields(one)}
    assert utf8(inner[1]) == "é"  # type: ignore[arg-type]
    assert single(inner[2]) == value.simple_value  # type: ignore[arg-type]


def test_packed_numbers_come_one_by_one() -> None:
    assert list(varints(b"\x01\xac\x02" + b"\xff" * 9 + b"\x01")) == [1, 300, 2**64 - 1]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"\x08", "a number has no end"),
        (b"\x08" + b"\xff" * 11, "longer than 10 bytes"),
        (b"\x12\x05ab", "a field of 5 bytes has 2 left"),
        (b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "has 0 left"),
        (b"\x09abc", "a field of 8 bytes has 3 left"),
        (b"\x0b", "wire type 3"),
        (b"\x00\x00", "number 0"),
    ],
)
def test_what_is_no_message_is_refused(data: bytes, problem: str) -> None:
    with pytest.raises(WireError, match=problem):
        list(fields(data))


@given(st.binary(max_size=200))
def test_any_bytes_are_fields_or_an_error(data: bytes) -> None:
    try:
        found = list(fields(data))
    except WireError:
        return
    assert sum(len(value) for _, _, value in found if isinstance(value, bytes)) <= len(data)

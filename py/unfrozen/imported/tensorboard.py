"""TensorBoard's event files: the scalars of one run, in one file or in several.

A file is a list of TFRecords: length, its checksum, data, its checksum
(https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details). Checksums are
CRC-32C (RFC 3720, appendix B.4), masked as LevelDB does it, so that a record may hold a record.

Field numbers are those of tensorboard/compat/proto: event.proto, summary.proto, tensor.proto and
types.proto. Numbers are `simple_value`s, and tensors of one element under the plugin "scalars"; the
first value of a tag names its plugin for all. Of a run that was started again, a session's START
says from which step on what was written before no longer counts.

torch's `SummaryWriter.add_scalars(tag, {key: …})` writes each key into a folder of its own below
that of the run, named after the tag and the key (torch/utils/tensorboard/writer.py).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from itertools import islice
from typing import Final

from unfrozen.errors import ForeignFileError, format_file_name
from unfrozen.imported.log import ForeignRun
from unfrozen.imported.points import Points
from unfrozen.imported.protobuf import (
    FIXED32,
    FIXED64,
    VARINT,
    WireError,
    double,
    fields,
    parts,
    signed,
    single,
    utf8,
    varints,
)
from unfrozen.imported.sanitize import text
from unfrozen.imported.tools import EXPECTED

MOST_RECORD: Final = 16 * 2**20
"""Bytes of a record that is read; a longer one (a picture, a graph) is passed over and counted."""
HEAD: Final = 12
_FOOT: Final = 4
_CASTAGNOLI: Final = 0x82F63B78  # the polynomial 0x1EDC6F41, its bits reversed
_MASK: Final = 0xA282EAD8
_SHORT: Final = 512  # bytes for which the large tables are not worth making


@cache
def _by_byte() -> list[int]:
    """Return the table of a CRC for one byte."""
    table = list(range(256))
    for _ in range(8):
        table = [c >> 1 ^ (_CASTAGNOLI if c & 1 else 0) for c in table]
    return table


@cache
def _by_half() -> tuple[list[int], list[int]]:
    """Return tables for two bytes, and for two bytes that two others follow."""
    one = _by_byte()
    two = [one[(one[n & 255] ^ n >> 8) & 255] ^ one[n & 255] >> 8 for n in range(65536)]
    return two, [two[n & 0xFFFF] ^ n >> 16 for n in two]


def crc32c(data: bytes) -> int:
    """Return CRC-32C of some bytes."""
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
    """Return the masked checksum of some bytes, as event files store it."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + _MASK) & 0xFFFF_FFFF


def is_head(data: bytes) -> bool:
    """Return whether a record may begin like this."""
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
        """Return the records that these bytes complete, each with the offset at which it begins."""
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


_WALL_TIME, _STEP, _VERSION, _SUMMARY, _SESSION = 1, 2, 3, 5, 7  # of Event
_TAG, _SIMPLE, _TENSOR, _METADATA = 1, 2, 8, 9  # of Summary.Value
_DTYPE, _CONTENT, _FLOATS, _DOUBLES, _INTS, _LONGS, _HALVES = (
    1,
    4,
    5,
    6,
    7,
    10,
    13,
)  # of TensorProto
_START: Final = 1  # of SessionLog.SessionStatus
_FORMATS: Final = {1: "<f", 2: "<d", 3: "<i", 9: "<q", 19: "<e"}  # of DataType, as content has them
_BFLOAT16: Final = 14
_BRAIN: Final = "brain.Event:"
_FINISHED: Final = "train/train_runtime"  # the last event of Trainer in its own TensorBoard log
_MOST_TAGS: Final = 10_000
_MOST_NOTES: Final = 20
_MOST_NAMES: Final = 12  # listed, of what was skipped


class EventFilesReader:
    """Reads the event files of one run, one after the other, in the order of their time."""

    def __init__(self) -> None:
        self.points = Points()
        self._counted: dict[str, int] = {}
        """The newest step of a tag as counted; −1 after a step that the file gives."""
        self._file = self._folder = ""
        self._cutter = RecordCutter()
        self._plugins: dict[str, str] = {}
        self._notes: list[str] = []
        self._others = 0
        self._other_names: dict[str, str] = {}  # tag → its plugin, of what is no scalar
        self._known = False  # the version record of an event file was read

    def begin(self, file: str) -> None:
        """Another file of the run: its name, for `add_scalars` behind that of its folder."""
        self._file, self._cutter, self._known = file, RecordCutter(), False
        self._folder = file.rpartition("/")[0]

    def feed(self, data: bytes) -> None:
        """Take the next bytes. Raises `ForeignFileError` for records that are no events."""
        for offset, record in self._cutter.feed(data):
            try:
                self._take(record, offset)
            except WireError as error:
                self._note(f"a record that is no event ({error})", offset)

    def end(self) -> None:
        """The file has no more bytes."""
        cutter = self._cutter
        if cutter.damage:
            self._note(f"{cutter.damage}: nothing was read from there on", cutter.offset)
        elif cutter.is_inside:
            note = "the file ends inside a record: it is still being written, or was cut short"
            self._note(note, cutter.offset)
        if cutter.large:
            note = f"{cutter.large:,} records of more than {MOST_RECORD:,} bytes were passed over"
            self._note(note)

    def run(self, digest: str) -> ForeignRun:
        """Return the run. Raises `ForeignFileError` where no number was found."""
        if not self.points.count:
            problem = f"no scalar is in it{''.join(f'. {note}' for note in self._notes)}"
            remedy = "pictures, texts and histograms are no curves: take a file that holds scalars"
            raise ForeignFileError(self._file, problem, remedy)
        last = self.points.last_step
        if self._others:
            self._note(
                f"{self._others:,} values that are no scalars were passed over{self._named()}"
            )
        over = _FINISHED in self.points.names
        return ForeignRun(
            "tensorboard",
            self.points,
            digest,
            last_step=last,
            status="finished" if over else "stopped",
            reason="" if over else "an event file does not say how its run ended",
            notes=self._notes,
        )

    def _named(self) -> str:
        """Return the skipped tags, with what they hold where the file says it."""
        names = [
            f"{tag} ({plugin})" if plugin else tag
            for tag, plugin in list(self._other_names.items())[:_MOST_NAMES]
        ]
        more = len(self._other_names) - len(names)
        names += [f"and {more:,} more"] if more else []
        return f": {', '.join(names)}" if names else ""

    def _note(self, note: str, offset: int | None = None) -> None:
        if len(self._notes) < _MOST_NOTES:
            where = "" if offset is None else f" at byte {offset:,}"
            self._notes.append(f"{format_file_name(self._file)}{where}: {note}")

    def _take(self, record: bytes, offset: int) -> None:
        time, step, start = 0.0, 0, False
        summaries: list[bytes] = []
        for number, kind, value in fields(record):
            if number == _WALL_TIME and kind == FIXED64 and isinstance(value, bytes):
                time = double(value)
            elif number == _STEP and isinstance(value, int):
                step = signed(value)
            elif isinstance(value, bytes):
                if number == _VERSION:
                    self._known = self._known or utf8(value).startswith(_BRAIN)
                elif number == _SUMMARY:
                    summaries.append(value)
                elif number == _SESSION:
                    start = any((n, v) == (1, _START) for n, _, v in fields(value))
        if not self._known:
            problem = "a TFRecord, but no event of TensorBoard"
            raise ForeignFileError(self._file, problem, EXPECTED, offset)
        if start:
            self.points.restart(step)
        for summary in summaries:
            for one in parts(summary, 1):
                self._take_value(one, step, time)

    def _take_value(self, data: bytes, step: int, time: float) -> None:
        tag, found, tensor = "", None, b""
        for number, kind, value in fields(data):
            if number == _SIMPLE and kind == FIXED32 and isinstance(value, bytes):
                found = single(value)
            elif isinstance(value, bytes):
                if number == _TAG:
                    tag = text(utf8(value))
                elif number == _TENSOR:
                    tensor = value
                elif number == _METADATA and len(self._plugins) < _MOST_TAGS:
                    plugin = (utf8(name) for p in parts(value, 1) for name in parts(p, 1))
                    self._plugins.setdefault(tag, next(plugin, ""))
        if found is None and tensor and self._plugins.get(tag) == "scalars":
            found = scalar(tensor)
        if found is None:
            self._others += 1
            if len(self._other_names) < _MOST_TAGS:
                self._other_names[tag] = text(self._plugins.get(tag, ""))
        else:
            key = scalars_key(self._folder, tag)
            tag = f"{tag}/{key}" if key else tag
            self.points.add(tag, self._count_step(tag, step), found, time)

    def _count_step(self, tag: str, step: int) -> int:
        """Return the step of a value; a writer without `global_step` counts each tag from 0."""
        if step or tag not in self._counted:
            if len(self._counted) < _MOST_TAGS:
                self._counted[tag] = -1 if step else 0
            return step
        self._counted[tag] += 1
        return self._counted[tag]


def scalars_key(folder: str, tag: str) -> str:
    """Return the key in the name of a folder that `add_scalars(tag, …)` made; "" for another."""
    begin = f"{tag.replace('/', '_')}_"
    return folder[len(begin) :] if tag and folder.startswith(begin) else ""


def first_tag(head: bytes) -> str:
    """Return the tag of the first summary in the first bytes of an event file; "" for none."""
    for _, record in RecordCutter().feed(head):
        with suppress(WireError):
            values = (value for summary in parts(record, _SUMMARY) for value in parts(summary, 1))
            for tag in (tag for value in values for tag in parts(value, _TAG)):
                return utf8(tag)
    return ""


def scalar(tensor: bytes) -> float | None:
    """Return the number in a TensorProto of one element; None for others. Raises `WireError`."""
    dtype, found = 0, list[float]()
    for number, kind, value in fields(tensor):
        if number == _DTYPE and isinstance(value, int):
            dtype = value
        else:
            found += _elements(dtype, number, kind, value)
        if len(found) > 1:
            return None
    return found[0] if found else None


def _elements(dtype: int, number: int, kind: int, value: int | bytes) -> Iterator[float]:
    """Yield the numbers of one field of a tensor, packed or alone; at most two."""
    if number == _CONTENT and isinstance(value, bytes):
        yield from _unpacked(dtype, value)
    elif number in (_FLOATS, _DOUBLES) and isinstance(value, bytes) and kind != VARINT:
        yield from _unpacked(1 if number == _FLOATS else 2, value)
    elif number in (_INTS, _LONGS, _HALVES):
        whole = iter((value,)) if isinstance(value, int) else varints(value)
        for one in islice(whole, 2):
            yield _half(dtype, one) if number == _HALVES else float(signed(one))


def _unpacked(dtype: int, data: bytes) -> Iterator[float]:
    if dtype == _BFLOAT16:
        yield from (
            _half(dtype, int.from_bytes(data[n : n + 2], "little"))
            for n in (0, 2)[: len(data) // 2]
        )
    elif (form := _FORMATS.get(dtype)) and data:
        size = struct.calcsize(form)
        if len(data) % size:
            raise WireError(f"a tensor of {len(data):,} bytes has elements of {size}")
        yield from (float(one) for (one,) in struct.iter_unpack(form, data[: 2 * size]))


def _half(dtype: int, bits: int) -> float:
    """Return a number of 16 bits: bfloat16 is the upper half of a float32."""
    if dtype == _BFLOAT16:
        return single(struct.pack("<HH", 0, bits & 0xFFFF))
    found: float = struct.unpack("<e", (bits & 0xFFFF).to_bytes(2, "little"))[0]
    return found

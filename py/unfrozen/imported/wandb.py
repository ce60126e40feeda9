"""run-….wandb: the file in which W&B stores a run on disk.

A header of 7 bytes, then blocks of 32 KiB of records in LevelDB's log format
(https://github.com/google/leveldb/blob/main/doc/log_format.md), but with a plain CRC-32 over type
and data. A record that crosses blocks comes in fragments. Each is a `Record` of
wandb/proto/wandb_internal.proto, whose field numbers stand below. After damage reading goes on at
the next block, as W&B does.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from typing import Any, Final

from unfrozen.errors import ForeignFileError, format_file_name, is_deep
from unfrozen.imported.log import ForeignRun
from unfrozen.imported.points import LAST_STEP, Points
from unfrozen.imported.protobuf import WireError, fields, parts, signed, utf8
from unfrozen.imported.sanitize import number, text, whole_number

MAGIC: Final = b":W&B\xe1\xbe\x00"
"""Name, 0xBEE1 and version 0 of the format."""
_BLOCK: Final = 32 * 1024
_HEAD: Final = 7
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
MOST_RECORD: Final = 16 * 2**20
_MOST_NOTES: Final = 20
_MOST_CONFIG: Final = 2000
_DEEPEST: Final = 4

_HISTORY, _SUMMARY, _CONFIG, _STATS, _METRIC, _RUN, _EXIT = 2, 3, 5, 7, 12, 17, 18  # of Record
_KEY, _NESTED, _JSON = 1, 2, 16  # of HistoryItem, SummaryItem, ConfigItem
_STEPS: Final = ("train/global_step", "trainer/global_step", "global_step")
"""Names under which Trainer and others log the optimizer step; W&B's own counts calls of `log`."""
_RESIDENT: Final = "proc.memory.rssMB"  # resident set in MiB, as W&B measures it


class OfflineRunReader:
    """Reads one run-….wandb."""

    def __init__(self, file: str) -> None:
        self.points = Points()
        self._file = file
        self._rest = b""
        self._offset = 0  # of the first byte of `_rest`
        self._record: bytearray | None = None  # fragments so far; None where none is open
        self._large = 0
        self._notes: list[str] = []
        self._others = 0
        self._step = 0
        self._by_step = False
        self._metrics: list[str] = []  # that `define_metric` names, in order
        self._step_metrics: dict[str, str] = {}  # name or pattern → the metric of its steps
        self._latest: dict[str, float] = {}  # of those metrics
        self._config: dict[str, Any] = {}
        self._summary: dict[str, Any] = {}
        self._name = ""
        self._exit: int | None = None
        self._time = 0.0

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        self._rest += data
        while len(self._rest) >= _BLOCK:
            self._take_block(self._rest[:_BLOCK], full=True)
            self._rest = self._rest[_BLOCK:]
            self._offset += _BLOCK

    def end(self) -> None:
        """The file has no more bytes."""
        self._take_block(self._rest, full=False)
        if self._record is not None:
            self._note("its last record has no end: it is still being written, or was cut short")

    def _take_block(self, block: bytes, *, full: bool) -> None:
        at = len(MAGIC) if self._offset == 0 else 0
        while len(block) - at >= _HEAD:
            size, kind = int.from_bytes(block[at + 4 : at + 6], "little"), block[at + 6]
            if kind == 0 and size == 0:
                return None  # zeros up to the end of the block
            data = block[at + _HEAD : at + _HEAD + size]
            where = self._offset + at
            if len(data) < size and not full:
                return self._note("the file ends inside a record", where)
            if len(data) < size:
                return self._damage(f"a record of {size:,} bytes leaves its block", where)
            if zlib.crc32(data, zlib.crc32(bytes([kind]))) != int.from_bytes(
                block[at : at + 4], "little"
            ):
                return self._damage("the checksum of a record is wrong", where)
            self._take_fragment(kind, data, where)
            at += _HEAD + size
        return None

    def _take_fragment(self, kind: int, data: bytes, where: int) -> None:
        if kind in (_FULL, _FIRST):
            self._record = bytearray(data)
        elif kind not in (_MIDDLE, _LAST):
            return self._damage(f"a record is of type {kind}", where)
        elif self._record is None:
            return None  # its beginning was damaged, and a note says so
        elif len(self._record) + len(data) > MOST_RECORD:
            self._large += 1
            self._record = None
            return None
        else:
            self._record += data
        if kind in (_FULL, _LAST):
            record, self._record = bytes(self._record), None
            try:
                self._take(record)
            except WireError as error:
                self._damage(f"a record that is no message ({error})", where)
        return None

    def _take(self, record: bytes) -> None:
        for kind, _, value in fields(record):
            if not isinstance(value, bytes):
                continue
            if kind == _HISTORY:
                self._take_history(value)
            elif kind == _STATS:
                self._take_stats(value)
            elif kind == _SUMMARY:
                self._summary |= _items(value, self._summary)
            elif kind == _CONFIG:
                self._config |= _items(value, self._config)
            elif kind == _METRIC:
                self._take_metric(value)
            elif kind == _RUN:
                self._take_run(value)
            elif kind == _EXIT:
                codes = (signed(v) for n, _, v in fields(value) if n == 1 and isinstance(v, int))
                self._exit = next(codes, 0)

    def _take_run(self, data: bytes) -> None:
        """Its name and its configuration; whose it is and where it ran stays out."""
        for kind, _, value in fields(data):
            if kind == 8 and isinstance(value, bytes):
                self._name = text(utf8(value), 200)
            elif kind == 4 and isinstance(value, bytes):
                self._config |= _items(value, self._config)

    def _take_metric(self, data: bytes) -> None:
        """Note what counts the steps of a metric, as `define_metric(name, step_metric=…)` says."""
        found = {number: value for number, _, value in fields(data)}
        given = found.get(1, found.get(2, b""))  # its name, or a pattern that ends in *
        name = utf8(given) if isinstance(given, bytes) else ""
        self._metrics.append(name)
        by, index = found.get(4), found.get(5)  # by its name, or as the n-th that was defined
        if isinstance(by, bytes):
            self._step_metrics[name] = utf8(by)
        elif isinstance(index, int) and 0 < index <= len(self._metrics):
            self._step_metrics[name] = self._metrics[index - 1]

    def _step_of(self, name: str, usual: int) -> int:
        """Return the step of a metric in the row that is read: its own, or the usual one."""
        by = self._step_metrics.get(name)
        if by is None:
            patterns = (p for p in self._step_metrics if p[-1:] == "*" and name.startswith(p[:-1]))
            by = self._step_metrics.get(max(patterns, key=len, default=""))
        step = self._latest.get(by or "", -1.0)
        return int(step) if by != name and 0 <= step <= LAST_STEP and step == int(step) else usual

    def _take_history(self, data: bytes) -> None:
        row = dict(_flat(_pairs(data, 1)))
        media = tuple(name.removesuffix("_type") for name in row if name.endswith("._type"))
        values: dict[str, float] = {}
        for name, value in row.items():
            found = None if media and name.startswith(media) else number(value)
            if found is None:
                self._others += 1
            else:
                values[name] = found
        counts = (
            signed(v)
            for p in parts(data, 2)
            for n, _, v in fields(p)
            if n == 1 and isinstance(v, int)
        )
        own = values.get("_step", float(next(counts, 0)))
        by_step = next((values[name] for name in _STEPS if name in values), None)
        self._by_step |= by_step is not None
        step = by_step if by_step is not None else self._step if self._by_step else own
        if is_step := 0 <= step <= LAST_STEP:
            self._step = int(step)
        self._time = values.get("_timestamp", self._time)
        usual = self._step if is_step else -1
        counted = set(self._step_metrics.values()) & values.keys()
        self._latest |= {name: values[name] for name in counted}
        for name, value in values.items():
            self.points.add(name, self._step_of(name, usual), value, self._time)

    def _take_stats(self, data: bytes) -> None:
        for name, value in _pairs(data, 3):
            found = number(value)
            if name == _RESIDENT and found is not None:
                self.points.add("sys/rss_bytes", self._step, found * 2**20, _stamp(data))

    def _note(self, note: str, offset: int | None = None) -> None:
        if len(self._notes) < _MOST_NOTES:
            where = "" if offset is None else f" at byte {offset:,}"
            self._notes.append(f"{format_file_name(self._file)}{where}: {note}")

    def _damage(self, note: str, offset: int) -> None:
        """What belongs to it is lost."""
        self._record = None
        self._note(f"{note}: what belongs to it was passed over", offset)

    def run(self, digest: str) -> ForeignRun:
        """Return the run. Raises `ForeignFileError` where no number was found."""
        if not self.points.count:
            problem = f"no number was logged{''.join(f'. {note}' for note in self._notes)}"
            raise ForeignFileError(
                self._file, problem, "log numbers with `run.log`, or take another run"
            )
        if self._large:
            self._note(
                f"{self._large:,} records of more than {MOST_RECORD:,} bytes were passed over"
            )
        if self._others:
            self._note(f"{self._others:,} values that are no numbers were passed over")
        if not self._by_step:
            self._note("steps are W&B's own: they count calls of log, not updates of the optimizer")
        self._config.pop("_wandb", None)  # its own bookkeeping
        config = dict(_flat(iter(self._config.items())))
        return ForeignRun(
            "wandb",
            self.points,
            digest,
            name=self._name,
            steps=whole_number(config.get("max_steps"), LAST_STEP),
            last_step=self.points.last_step,
            status="stopped" if self._exit is None else "failed" if self._exit else "finished",
            reason=_reason(self._exit),
            config=config,
            model=_model(config),
            summary={
                k: v
                for k, v in _flat(iter(self._summary.items()))
                if number(v) is not None and not k.startswith("_")
            },
            notes=self._notes,
        )


def _reason(code: int | None) -> str:
    if code is None:
        return "its end was not logged: it is still being written, or was killed"
    return f"its process ended with exit code {code}" if code else ""


def _model(config: dict[str, Any]) -> dict[str, Any]:
    """Return what Trainer's callback says of the model."""
    many = whole_number(config.get("model/num_parameters"), 2**53 - 1)
    return {"num_parameters": many} if many else {}


def _items(data: bytes, known: dict[str, Any]) -> dict[str, Any]:
    """Return what a SummaryRecord or a ConfigRecord sets, up to the bound."""
    room = _MOST_CONFIG - len(known)
    found: dict[str, Any] = {}
    for name, value in _pairs(data, 1):
        if name in known or len(found) < room:
            found[name] = value
    return found


def _pairs(data: bytes, item: int) -> Iterator[tuple[str, Any]]:
    """Yield the name and value of each item under a field number; None for invalid JSON."""
    for one in parts(data, item):
        keys: list[str] = []
        value = None
        for kind, _, found in fields(one):
            if kind in (_KEY, _NESTED) and isinstance(found, bytes):
                keys.append(utf8(found))
            elif kind == _JSON and isinstance(found, bytes):
                value = _json(found)
        yield text(".".join(filter(None, keys))), value


def _json(data: bytes) -> Any:
    try:
        found = data.decode("utf-8")
        return None if is_deep(found) else json.loads(found)
    except ValueError:
        return None


def _flat(pairs: Iterator[tuple[str, Any]], deep: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield nested objects under names with dots; what W&B marks as media stays whole."""
    for name, value in pairs:
        if isinstance(value, dict) and "_type" not in value and deep < _DEEPEST:
            inner = ((text(f"{name}.{key}"), entry) for key, entry in value.items())
            yield from _flat(inner, deep + 1)
        else:
            yield name, value


def _stamp(stats: bytes) -> float:
    """Return the Unix seconds of a StatsRecord, from its Timestamp."""
    for stamp in parts(stats, 2):
        for kind, _, value in fields(stamp):
            if kind == 1 and isinstance(value, int):
                return float(signed(value))
    return 0.0

"""TensorBoard's event files, read by TensorBoard's own reader: the scalars of one run.

The reader checks the checksum of each record and ends at the first that is damaged or cut short.
Numbers are `simple_value`s, and tensors of one element under the plugin "scalars"; the first value
of a tag names its plugin for all. Of a run that was started again, a session's START says from
which step on what was written before no longer counts.

torch's `SummaryWriter.add_scalars(tag, {key: …})` writes each key into a folder of its own below
that of the run, named after the tag and the key (torch/utils/tensorboard/writer.py).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from unfrozen.errors import ForeignFileError, format_file_name
from unfrozen.imported.log import ForeignRun
from unfrozen.imported.points import Points
from unfrozen.imported.sanitize import text
from unfrozen.plain import open_plain

_PIECE_BYTES: Final = 2**20
_FRAME_BYTES: Final = 16  # of a record: its length, and two checksums
_FINISHED: Final = "train/train_runtime"  # the last event of Trainer in its own TensorBoard log
_MOST_NOTES: Final = 20
_MOST_NAMES: Final = 12  # listed, of what was skipped
_WRITTEN: Final = re.compile(r"tfevents\.(\d+)")


def is_event_file(file: Path) -> bool:
    """Return whether TensorBoard takes a file for one of its own, which its name tells."""
    return "tfevents" in file.name


def order(file: Path) -> tuple[int, str]:
    """Return the sort key of a run's event files: when each was begun."""
    found = _WRITTEN.search(file.name)
    return int(found[1][:18]) if found else 0, file.name


def read_event_files(files: Sequence[Path]) -> ForeignRun:
    """Return the run in some files, in their order, the first in its own folder.

    Raises `ForeignFileError` where there is no number or no reader, `OSError` for what is no file.
    """
    found = _Scalars()
    for file in files:
        found.read(file, file.relative_to(files[0].parent))
    return found.run(files)


def first_tag(file: Path) -> str:
    """Return the tag of the first value in an event file; "" for none."""
    for _, event in _events(file):
        if event is not None and event.summary.value:
            return str(event.summary.value[0].tag)
    return ""


def scalars_key(folder: str, tag: str) -> str:
    """Return the key in the name of a folder that `add_scalars(tag, …)` made; "" for another."""
    begin = f"{tag.replace('/', '_')}_"
    return folder[len(begin) :] if tag and folder.startswith(begin) else ""


def _events(file: Path) -> Iterator[tuple[int, Any]]:
    """Yield the events of a file, None for what is none, each with the byte at which it ends."""
    os.close(open_plain(file))  # the reader opens whatever stands there
    try:
        message = import_module("google.protobuf.message")
        ends = import_module("tensorboard.compat.tensorflow_stub.errors")
        records = import_module("tensorboard.compat.tensorflow_stub.pywrap_tensorflow")
        event = import_module("tensorboard.compat.proto.event_pb2").Event()
    except ImportError as error:
        problem = f"TensorBoard's own reader is not installed ({error})"
        raise ForeignFileError(file.name, problem, "pip install tensorboard") from None
    reader, at = records.PyRecordReader_New(os.fsencode(file)), 0
    with suppress(ends.DataLossError, ends.OutOfRangeError):
        while True:
            reader.GetNext()
            at += len(reader.record()) + _FRAME_BYTES
            try:
                yield at, event.FromString(reader.record())
            except message.DecodeError:
                yield at, None


def _digest(files: Sequence[Path]) -> str:
    whole = sha256()
    for file in files:
        with os.fdopen(open_plain(file), "rb") as source:
            while piece := source.read(_PIECE_BYTES):
                whole.update(piece)
    return whole.hexdigest()


class _Scalars:
    """Collects the scalars of the event files of one run."""

    def __init__(self) -> None:
        self.points = Points()
        self._counted: dict[str, int] = {}
        """The newest step of a tag as counted; −1 after a step that the file gives."""
        self._plugins: dict[str, str] = {}
        self._notes: list[str] = []
        self._others: list[str] = []
        """The tag of each value that is no scalar."""
        self._first = ""

    def read(self, file: Path, name: Path) -> None:
        """Take the numbers of a file, of this name in the folder of its run."""
        self._first, end = self._first or name.name, 0
        for at, event in _events(file):
            if event is None:
                self._note(name, "a record that is no event of TensorBoard was passed over", end)
            else:
                self._take_event(event, name.parent.name)
            end = at
        if end < file.stat().st_size:
            note = "a record ends too early or is damaged: nothing was read from there on"
            self._note(name, note, end)

    def _take_event(self, event: Any, folder: str) -> None:
        if event.session_log.status == event.session_log.START:
            self.points.restart(event.step)
        for value in event.summary.value:
            self._take(value, event, folder)

    def run(self, files: Sequence[Path]) -> ForeignRun:
        """Return the run. Raises `ForeignFileError` where no number was found."""
        if not self.points.count:
            problem = f"no scalar is in it{''.join(f'. {note}' for note in self._notes)}"
            remedy = "pictures, texts and histograms are no curves: take a file that holds scalars"
            raise ForeignFileError(self._first, problem, remedy)
        is_over = _FINISHED in self.points.names
        return ForeignRun(
            "tensorboard",
            self.points,
            _digest(files),
            last_step=self.points.last_step,
            status="finished" if is_over else "stopped",
            reason="" if is_over else "an event file does not say how its run ended",
            notes=[*self._notes[:_MOST_NOTES], *self._skipped()],
        )

    def _skipped(self) -> Iterator[str]:
        """Yield a sentence on what is no scalar, with what it holds where the file says it."""
        names = list(dict.fromkeys(self._others))
        shown = [
            f"{text(name)} ({text(plugin)})" if (plugin := self._plugins.get(name)) else text(name)
            for name in names[:_MOST_NAMES]
        ]
        shown += [f"and {len(names) - _MOST_NAMES:,} more"] if len(names) > _MOST_NAMES else []
        if names:
            count = f"{len(self._others):,} values that are no scalars were passed over"
            yield f"{count}: {', '.join(shown)}"

    def _note(self, name: Path, note: str, at: int) -> None:
        self._notes.append(f"{format_file_name(name.as_posix())} at byte {at:,}: {note}")

    def _take(self, value: Any, event: Any, folder: str) -> None:
        if value.HasField("metadata"):
            self._plugins.setdefault(value.tag, value.metadata.plugin_data.plugin_name)
        number = _number(value, self._plugins.get(value.tag))
        if number is None:
            self._others.append(value.tag)
            return
        key = scalars_key(folder, value.tag)
        tag = text(f"{value.tag}/{key}" if key else value.tag)
        self.points.add(tag, self._count_step(tag, event.step), number, event.wall_time)

    def _count_step(self, tag: str, step: int) -> int:
        """Return the step of a value; a writer without `global_step` counts each tag from 0."""
        if step or tag not in self._counted:
            self._counted[tag] = -1 if step else 0
            return step
        self._counted[tag] += 1
        return self._counted[tag]


def _number(value: Any, plugin: str | None) -> float | None:
    """Return the number of a value; None for what is no scalar."""
    if value.HasField("simple_value"):
        return float(value.simple_value)
    if plugin == "scalars" and all(one.size == 1 for one in value.tensor.tensor_shape.dim):
        arrays = import_module("tensorboard.util.tensor_util")
        with suppress(TypeError, ValueError):  # another type, more elements than its shape has
            return float(arrays.make_ndarray(value.tensor).item())
    return None

"""Files of other tools as logs of ours, each line checked against the schema, in order."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from unfrozen.imported.foreign_files import read_foreign
from unfrozen.imported.log import ForeignRun, lines
from unfrozen.schema.event_log import LogOrder, read_line


def reading(file: Path) -> ForeignRun:
    """The run in a file."""
    return reading_bytes(file.read_bytes(), file.name)


def reading_bytes(data: bytes, name: str = "file") -> ForeignRun:
    """The run in the bytes of one file."""
    return read_foreign(name, data)


def events(run: ForeignRun, name: str = "", written: float = 0.0) -> list[dict[str, Any]]:
    """The events of its log."""
    return list(_checked(run, name, written))


def _checked(run: ForeignRun, name: str, written: float) -> Iterator[dict[str, Any]]:
    order = LogOrder()
    for line in lines(run, name, written):
        assert line.endswith("\n")
        assert len(line.encode()) <= 16 * 1024
        found = read_line(line[:-1])
        assert (found.problem, found.unknown) == ("", 0), line[:300]
        assert order.accept(found.value) == "", line[:300]
        yield found.value
    assert order.over


def of_kind(found: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """The events of one kind."""
    return [event for event in found if event["kind"] == kind]


def curve(found: list[dict[str, Any]], name: str) -> list[tuple[int, float]]:
    """(step, value) of one metric in a log, of all attempts."""
    return [(e["step"], float(e["m"][name])) for e in found if name in e.get("m", {})]


def scores(found: list[dict[str, Any]], suite: str) -> list[tuple[int, float]]:
    """(step, loss) of one suite."""
    return [(e["step"], float(e["loss"])) for e in found if e.get("suite") == suite]

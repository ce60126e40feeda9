"""Rows of a file or of a Hugging Face data set, as objects; refused by line.

Files are told apart by what they hold: lines of JSON, one JSON array, CSV, TSV or Parquet, each of
them perhaps packed by gzip, bzip2 or xz.
"""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from io import TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import Any, Final

from gpu_runner.config.source import RowSource, parse
from gpu_runner.data import files, hub
from gpu_runner.errors import DataError
from unfrozen.errors import is_deep

Row = dict[str, Any]
_MOST_DEEP: Final = 100  # lists and objects in each other; a description of a tool has ten
_LONGEST: Final = 600  # characters of a reason
MOST_HELD: Final = 2**26  # characters of an array that is parsed as one


def read_rows(
    source: str, bad: list[str] | None = None, most: int | None = None
) -> list[tuple[str, Row]]:
    """(where, row) pairs of a source; see `config.source` for how one is named.

    With `most`, only the first so many; what follows them is not looked at.

    Raises `DataError` with file, line number and reason for the first row that is none, and for a
    source that is neither a file nor a data set that can be loaded. With a list `bad`, such rows
    are left out and told there.
    """
    before = len(bad or ())
    with closing(stream_rows(source, bad)) as every:
        rows = list(islice(every, most))
    if not rows:
        raise no_rows(source, (bad or [])[before:])
    return rows


def no_rows(source: str, bad: Sequence[str]) -> DataError:
    """What is to be raised where there is no row but bad ones."""
    if bad:
        return DataError(f"all {len(bad)} rows of {source} are bad. The first: {bad[0]}.")
    return DataError(f"{source} has no rows: give a file with at least one JSON object a line.")


def refusal(where: str, reason: object) -> str:
    """Why a row is none, in a sentence that quotes no more of it than can be read."""
    said = str(reason).rstrip(".")
    return f"{where}: {said if len(said) <= _LONGEST else said[:_LONGEST] + '…'}."


def stream_rows(
    source: str, bad: list[str] | None = None, reading: files.ReadShare | None = None
) -> Generator[tuple[str, Row]]:
    """The same one after the other, none where there are none; `reading` is how far it is."""
    reading = reading or files.ReadShare()
    wanted = parse(source)
    try:
        path = Path(wanted.place).expanduser()
        if path.is_dir():
            raise DataError(f"{path} is a directory: give one file of it.")
        found = _file_rows(path, reading) if path.exists() else _hub_rows(wanted, reading)
        with files.damage(path):
            for where, row in found:
                chosen = None
                with collecting(bad):
                    chosen = _chosen(where, row, wanted)
                if chosen is not None:
                    yield where, chosen
    except OSError as error:
        raise DataError(f"{source} cannot be read: {error.strerror}.") from None
    except RuntimeError as error:  # no home directory of that name
        raise DataError(f"{source} cannot be read: {str(error).rstrip('.')}.") from None


@contextmanager
def collecting(bad: list[str] | None) -> Iterator[None]:
    """What a row is refused for goes into `bad`, where there is such a list."""
    try:
        yield
    except DataError as error:
        if bad is None:
            raise
        bad.append(str(error).rstrip("."))


def _chosen(where: str, row: Row | str, wanted: RowSource) -> Row:
    """A row with the columns that are wanted, under the names of what they are."""
    if isinstance(row, str):
        raise DataError(refusal(where, row))
    if not wanted.columns:
        return row
    for _, name in wanted.columns:
        if name not in row:
            there = ", ".join(map(str, list(row)[:8])) or "none"
            raise DataError(
                refusal(where, f"it has no {name!r}, which is asked for: there are {there}")
            )
    return {ours: row[name] for ours, name in wanted.columns}


def _file_rows(path: Path, reading: files.ReadShare) -> Iterator[tuple[str, Row | str]]:
    start = files.first_bytes(path)
    if start.startswith(files.PARQUET):
        yield from files.parquet(path, reading)
        return
    with (
        files.unpacked(path, reading) as packed,
        TextIOWrapper(packed, encoding="utf-8-sig", errors="surrogateescape", newline="") as file,
    ):
        if files.is_table(path):
            for where, row in files.cells(path, file):
                yield where, row if isinstance(row, str) else _check_bytes(row)
        elif start.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"[":
            text = file.read(MOST_HELD)
            whole = len(text) < MOST_HELD
            yield from _array(path, text) if whole else _long_array(path, text, file)
        else:
            yield from _lines(path, file)


def _lines(path: Path, file: Iterable[str]) -> Iterator[tuple[str, Row | str]]:
    for number, line in enumerate(file, 1):
        if line.strip():
            yield f"{path}:{number}", _parse(line.rstrip(), f"{path}:{number}")


def _array(path: Path, text: str) -> Iterator[tuple[str, Row | str]]:
    """The objects of one JSON array; of several, one a line, none is an object."""
    try:
        rows = _decoded(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            yield from _lines(path, text.splitlines())
            return
        raise DataError(
            f"{path}:{error.lineno}: not JSON ({error.msg} at column {error.colno}): it begins as"
            " an array, which must be whole."
        ) from None
    except ValueError as error:
        raise DataError(f"{path}: {error}.") from None
    for number, row in enumerate(rows):
        yield f"{path}[{number}]", row if isinstance(row, dict) else _no_object(row)


def _long_array(path: Path, begun: str, file: TextIOWrapper) -> Iterator[tuple[str, Row | str]]:
    """The same of one that is not held whole: what is wrong with it is found when it is reached."""
    number = 0
    try:
        for row in files.array_values(begun, file, _decoded):
            yield f"{path}[{number}]", row if isinstance(row, dict) else _no_object(row)
            number += 1
    except files.NotAnArray as error:
        raise DataError(
            f"{path}:{error.line}: {error}: it begins as an array, which must be whole."
        ) from None
    except ValueError as error:
        raise DataError(f"{path}[{number}]: {error}.") from None


def _decoded(text: str) -> Any:
    """What a text of JSON holds. Raises ValueError, in our words unless it is none."""
    if (byte := _foreign_byte(text)) is not None:
        raise ValueError(byte)
    if is_deep(text, _MOST_DEEP):
        raise ValueError(f"not usable JSON (nested more than {_MOST_DEEP} deep)")
    try:
        return json.loads(text, object_pairs_hook=_object)
    except (json.JSONDecodeError, _TwiceNamed):
        raise
    except (RecursionError, ValueError) as error:
        deep = isinstance(error, RecursionError)
        reason = "nested too deeply" if deep else "a number has too many digits"
        raise ValueError(f"not usable JSON ({reason})") from None


class _TwiceNamed(ValueError):
    """An object with two values of one name: nobody knows which is meant."""


def _object(pairs: list[tuple[str, Any]]) -> Row:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    counts = Counter(name for name, _ in pairs)
    twice = counts.most_common(1)[0][0]
    raise _TwiceNamed(f"not usable JSON (the key {twice[:40]!r} stands twice in one object)")


def _foreign_byte(text: str) -> str | None:
    """Why a text is not UTF-8, if it is not."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        byte = ord(text[error.start]) - 0xDC00  # that is how it was let through
        return (
            f"not UTF-8 text (byte 0x{byte:02X} at column {error.start + 1}): save the file as"
            " UTF-8"
        )
    return None


def _check_bytes(row: Row) -> Row | str:
    """A row of a table, or why it is none."""
    return next(filter(None, map(_foreign_byte, row.values())), row)


def _no_object(row: object) -> str:
    return f"a row is a JSON object, but this is a {type(row).__name__}"


def _parse(line: str, where: str) -> Row | str:
    """The object in a line, or why there is none."""
    try:
        row = _decoded(line)
    except json.JSONDecodeError as error:
        return (
            f"not JSON ({error.msg} at column {error.colno}):"
            f" {line[:60]!r}. Each line is one object{_remedy(line, where)}"
        )
    except ValueError as error:
        return str(error)
    return row if isinstance(row, dict) else _no_object(row)


def _remedy(line: str, where: str) -> str:
    """What to type for a file that is no JSON at all, or one object over many lines."""
    path, _, number = where.rpartition(":")
    quoted = shlex.quote(path)
    if number != "1":
        return ""
    if line[:1] == "{":
        many = f". If the file is one object over many lines: jq -c . {quoted} > rows.jsonl"
        return many if line[-1:] in ("{", "[", ",") else ""
    if any(letter in line for letter in ",;\t"):
        return ". If it is a table, call it .csv or .tsv"
    return f". If each line is a text: jq -cR '{{text: .}}' {quoted} > rows.jsonl"


def _hub_rows(wanted: RowSource, reading: files.ReadShare) -> Iterator[tuple[str, Row | str]]:
    found = hub.loaded(wanted)
    for index, row in enumerate(found):
        reading.share = index / len(found)
        yield f"{wanted.place}[{index}]", files.without_none(dict(row))

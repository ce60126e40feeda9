"""Rows of a file or of a Hugging Face data set, as objects.

The first bytes of a file tell its format: lines of JSON, one JSON array or Parquet, and whether
gzip, bzip2 or xz compressed it; its suffix tells CSV and TSV. A JSON array that is too long to be
parsed at once is parsed value by value.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import json
import lzma
import os
import re
import zlib
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from io import BufferedReader, FileIO, TextIOWrapper
from itertools import count, islice
from pathlib import Path
from typing import IO, Any, Final

from gpu_runner.config.source import RowSource, parse
from gpu_runner.data import hub
from gpu_runner.errors import DataError
from gpu_runner.installed import short
from unfrozen.errors import is_deep
from unfrozen.plain import require_plain

Row = dict[str, Any]
PlacedRow = tuple[str, Row]
"""A row, and before it where it is: `FILE:LINE`, `FILE[INDEX]` or `DATASET[INDEX]`."""
_RowOrReason = Row | str
"""A row, or the reason why there is none at its place."""
ReportProgress = Callable[[str, float, int], None]
"""Is called with what is being done, the share of it that is done, and the number of rows."""
_DEEPEST: Final = 100  # lists and objects in each other; a tool's description has about ten
_LONGEST: Final = 600  # characters of a reason
MOST_CHARACTERS: Final = 2**26  # of a row
_TOO_LONG: Final = f"it has more than {MOST_CHARACTERS:,} characters: divide that row"
_ROWS_AT_ONCE: Final = 256  # of a Parquet file, whose pages may repeat one long text for each
_LARGE_BYTES: Final = 2**22  # of so many rows: larger ones become objects one by one
PARSED_AT_ONCE: Final = 2**26  # characters of an array; a longer one is parsed value by value


def no_progress(what: str, share: float, rows: int) -> None:
    """Report nothing."""


def read_rows(source: str, most: int | None = None) -> list[PlacedRow]:
    """Return the rows of a source, at most the first `most`; `config.source` says how to name one.

    Raises `DataError` for a source that is neither a file nor a data set that can be loaded, for
    one without rows, and for the first bad row, with its place.
    """
    return SourceReader(source).read(most)


def no_rows(source: str, bad: Sequence[str]) -> DataError:
    """Return the error for a source without rows, or with bad ones only."""
    if bad:
        return DataError(f"all {len(bad)} rows of {source} are bad. The first: {bad[0]}.")
    return DataError(f"{source} has no rows: give a file with at least one JSON object a line.")


def refusal(place: str, reason: object) -> str:
    """Return why the row at `place` is bad, as one sentence of limited length."""
    text = str(reason).rstrip(".")
    return f"{place}: {text if len(text) <= _LONGEST else text[:_LONGEST] + '…'}."


class SourceReader:
    """Reads a source once, row by row: iterate over it for (place, row) pairs.

    `share` is how much of it has been read so far, from 0 to 1, and `bad` has the reason for each
    bad row that was skipped. Raises the errors of `read_rows`, without `skip_bad` that for a bad
    row, too.
    """

    def __init__(self, source: str, *, skip_bad: bool = False) -> None:
        self.source = source
        self.share = 0.0
        self.bad: list[str] = []
        self._skip_bad = skip_bad

    def read(self, most: int | None = None) -> list[PlacedRow]:
        """Return the rows, at most the first `most`. Raises `DataError` where there are none."""
        with closing(iter(self)) as rows:
            found = list(islice(rows, most))
        if not found:
            raise no_rows(self.source, self.bad)
        return found

    def __iter__(self) -> Generator[PlacedRow]:
        try:
            yield from self._rows()
        except OSError as error:
            raise DataError(f"{self.source} cannot be read: {error.strerror or error}.") from None
        except RuntimeError as error:  # no home directory of that name
            reason = str(error).rstrip(".")
            raise DataError(f"{self.source} cannot be read: {reason}.") from None

    def _rows(self) -> Generator[PlacedRow]:
        wanted = parse(self.source)
        path = Path(wanted.place).expanduser()
        if path.is_dir():
            raise DataError(f"{path} is a directory: give one file of it.")
        if path.exists():
            require_plain(path.stat().st_mode)
        read = self._file_rows(path) if path.exists() else self._hub_rows(wanted)
        with _damage_as_error(path):
            for place, found in read:
                row = _take_columns(found, wanted)
                if not isinstance(row, str):
                    yield place, row
                elif self._skip_bad:
                    self.bad.append(refusal(place, row).rstrip("."))
                else:
                    raise DataError(refusal(place, row))

    def _file_rows(self, path: Path) -> Iterator[tuple[str, _RowOrReason]]:
        start = _first_bytes(path)
        if start.startswith(_PARQUET):
            yield from self._parquet_rows(path)
            return
        with (
            BufferedReader(_CountedFile(path, self._set_share), 2**20) as packed,
            _decompressed(packed) as raw,
            TextIOWrapper(raw, "utf-8-sig", errors="surrogateescape", newline="") as file,
        ):
            if _is_table(path):
                yield from _table_rows(path, _lines(path, file))
            elif start.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"[":
                text = file.read(PARSED_AT_ONCE)
                short = len(text) < PARSED_AT_ONCE
                yield from _array_rows(path, text) if short else _long_array_rows(path, text, file)
            else:
                yield from _line_rows(path, _lines(path, file))

    def _parquet_rows(self, path: Path) -> Iterator[tuple[str, _RowOrReason]]:
        try:
            import pyarrow  # type: ignore[import-not-found, import-untyped, unused-ignore]
            from pyarrow import parquet
        except ImportError:
            raise DataError(
                f"{path} is a Parquet file, which pyarrow reads: first `pip install pyarrow`."
            ) from None
        try:
            file, number = parquet.ParquetFile(path), 0
            for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE):
                alone = batch.nbytes > _LARGE_BYTES
                for start in range(batch.num_rows) if alone else (0,):
                    for row in batch.slice(start, 1 if alone else None).to_pylist():
                        place = f"{path}[{number}]"
                        too_long = alone and len(str(row)) > MOST_CHARACTERS
                        yield place, _TOO_LONG if too_long else _without_none(row)
                        number += 1
                self.share = number / file.metadata.num_rows
        except (pyarrow.ArrowException, MemoryError, OSError, ValueError) as error:
            reason = (str(error).splitlines() or ["there is not enough memory"])[0].rstrip(".")
            raise DataError(f"{path} is no Parquet file that can be read ({reason}).") from None

    def _hub_rows(self, wanted: RowSource) -> Iterator[PlacedRow]:
        dataset = hub.load(wanted)
        for index, row in enumerate(dataset):
            self.share = index / len(dataset)
            yield f"{wanted.place}[{index}]", _without_none(dict(row))

    def _set_share(self, share: float) -> None:
        self.share = share


def _take_columns(row: _RowOrReason, wanted: RowSource) -> _RowOrReason:
    """Return a row with the wanted columns only, under the names of their roles."""
    if isinstance(row, str) or not wanted.columns:
        return row
    for _, name in wanted.columns:
        if name not in row:
            there = ", ".join(map(str, list(row)[:8])) or "none"
            return f"it has no column {name!r}: there are {there}"
    return {role: row[name] for role, name in wanted.columns}


def _without_none(value: Any) -> Any:
    """Return a value without the empty fields that a table gives every row."""
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_none(item) for item in value]
    return value


_PARQUET: Final = b"PAR1"
_COMPRESSED: Final[dict[bytes, Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ": lzma.open,
}
_NOT_READ: Final = {
    b"\x28\xb5\x2f\xfd": ("compressed by zstd", "unpack it: zstd -d {}"),
    b"PK\x03\x04": ("a zip or a spreadsheet", "unzip it, or save the sheet as CSV: {}"),
    b"ARROW1": ("an Arrow file", "save its table as Parquet: {}"),
    b"\xff\xfe": ("UTF-16 text", "save it as UTF-8: iconv -f UTF-16 -t UTF-8 {} > rows.jsonl"),
    b"\xfe\xff": ("UTF-16 text", "save it as UTF-8: iconv -f UTF-16 -t UTF-8 {} > rows.jsonl"),
    b"SQLite format 3": ("a database", "write its rows as JSON, an object a line: {}"),
}
_DAMAGED: Final = (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError)


def _first_bytes(path: Path) -> bytes:
    """Return the beginning of a file, decompressed. Raises `DataError` for an unknown format."""
    with _damage_as_error(path), path.open("rb") as packed, _decompressed(packed) as file:
        found = file.read(64)
    for magic, (what, remedy) in _NOT_READ.items():
        if found.startswith(magic):
            raise DataError(f"{path} is {what}: {remedy.format(short(path))}.")
    return found


class _CountedFile(FileIO):
    """A file that reports the share of its bytes that has been read."""

    def __init__(self, path: Path, report: Callable[[float], None]) -> None:
        super().__init__(path)
        self._report = report
        self._done = 0
        self._size = max(1, os.fstat(self.fileno()).st_size)

    def readinto(self, buffer: Any) -> int | None:
        """Read bytes into `buffer`; return their number."""
        count = super().readinto(buffer)
        self._done += count or 0
        self._report(self._done / self._size)
        return count


@contextmanager
def _decompressed(file: BufferedReader[Any]) -> Iterator[IO[bytes]]:
    """Open what gzip, bzip2 or xz compressed; any other file as it is."""
    start = file.peek(8)
    for magic, opener in _COMPRESSED.items():
        if start.startswith(magic):
            with opener(file, "rb") as unpacked:
                yield unpacked
            return
    yield file


@contextmanager
def _damage_as_error(path: Path) -> Iterator[None]:
    """Raise `DataError` for a compressed file that is truncated or damaged."""
    try:
        yield
    except _DAMAGED as error:
        raise DataError(
            f"{path} is compressed, and cut off or damaged ({str(error).rstrip('.')}): fetch or"
            " pack it again."
        ) from None


_TABLES: Final = (".csv", ".tsv")
_SEPARATORS: Final = ",;\t|"


def _lines(path: Path, file: TextIOWrapper) -> Iterator[str]:
    """Yield the lines of a text. Raises `DataError` for one that is too long to be a row."""
    for number in count(1):
        line = file.readline(MOST_CHARACTERS + 1)
        if len(line) > MOST_CHARACTERS:
            raise DataError(f"{path}:{number} {_TOO_LONG.removeprefix('it ')}.")
        if not line:
            return
        yield line


def _is_table(path: Path) -> bool:
    """Return whether a file is a table, by its suffix, with or without one for compression."""
    return any(suffix.lower() in _TABLES for suffix in path.suffixes[-2:])


def _table_rows(path: Path, text: Iterable[str]) -> Iterator[tuple[str, _RowOrReason]]:
    """Yield each line below the first, which names the columns; raise `DataError` without any."""
    csv.field_size_limit(MOST_CHARACTERS)
    lines = iter(text)
    first = next(lines, "")
    tabs = any(suffix.lower() == ".tsv" for suffix in path.suffixes[-2:])
    separator = "\t" if tabs else max(_SEPARATORS, key=first.count)
    header = next(csv.reader([first], delimiter=separator), [])
    columns = [name.strip() for name in header]
    if not any(columns):
        raise DataError(f"{path}:1: the first line of a table names its columns, and it is empty.")
    if len(set(columns)) < len(columns):
        twice = next(name for name in columns if columns.count(name) > 1)
        raise DataError(f"{path}:1: two columns are called {twice!r}: rename one of them.")
    reader = csv.reader(lines, delimiter=separator, strict=True)
    while True:
        place = f"{path}:{reader.line_num + 2}"
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield place, f"not a line of a table ({error})"
            continue
        if cells is None:
            return
        if len(cells) == len(columns):
            reason = next(filter(None, map(_foreign_byte, cells)), None)
            yield place, reason or dict(zip(columns, cells, strict=True))
        elif cells:
            yield (
                place,
                f"it has {len(cells)} cells, but the first line names {len(columns)} columns: put"
                ' cells with a separator or a line break in them between "…"',
            )


def _line_rows(path: Path, file: Iterable[str]) -> Iterator[tuple[str, _RowOrReason]]:
    for number, line in enumerate(file, 1):
        if line.strip():
            yield f"{path}:{number}", _parse_line(line.rstrip(), path, number)


def _parse_line(line: str, path: Path, number: int) -> _RowOrReason:
    """Return the object in a line, or why there is none."""
    try:
        return _object_or_reason(_parse_json(line))
    except json.JSONDecodeError as error:
        return (
            f"not JSON ({error.msg} at column {error.colno}):"
            f" {line[:60]!r}. Each line is one object{_remedy(line, path) if number == 1 else ''}"
        )
    except ValueError as error:
        return str(error)


def _remedy(line: str, path: Path) -> str:
    """Return what to type for a file that is not JSON, or one object over many lines."""
    quoted = short(path)
    if line[:1] == "{":
        many = f". If the file is one object over many lines: jq -c . {quoted} > rows.jsonl"
        return many if line[-1:] in ("{", "[", ",") else ""
    if any(letter in line for letter in ",;\t"):
        return ". If it is a table, call it .csv or .tsv"
    return f". If each line is a text: jq -cR '{{text: .}}' {quoted} > rows.jsonl"


def _object_or_reason(value: object) -> _RowOrReason:
    if isinstance(value, dict):
        return value
    return f"a row is a JSON object, but this is a {type(value).__name__}"


def _array_rows(path: Path, text: str) -> Iterator[tuple[str, _RowOrReason]]:
    """Yield the values of a JSON array; where several follow each other, each is a line."""
    try:
        values = _parse_json(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            yield from _line_rows(path, text.splitlines())
            return
        raise DataError(
            f"{path}:{error.lineno}: not JSON ({error.msg} at column {error.colno}): it begins as"
            " an array, which must be whole."
        ) from None
    except ValueError as error:
        raise DataError(f"{path}: {error}.") from None
    for number, value in enumerate(values):
        yield f"{path}[{number}]", _object_or_reason(value)


def _long_array_rows(
    path: Path, begun: str, file: TextIOWrapper
) -> Iterator[tuple[str, _RowOrReason]]:
    """Yield the values of the array that begins in `begun` and goes on in `file`, one by one."""
    number = 0
    try:
        for text in _array_texts(begun, file):
            yield f"{path}[{number}]", _object_or_reason(_parse_json(text))
            number += 1
    except _NotAnArray as error:
        raise DataError(
            f"{path}:{error.line}: {error}: it begins as an array, which must be whole."
        ) from None
    except ValueError as error:
        raise DataError(f"{path}[{number}]: {error}.") from None


def _parse_json(text: str) -> Any:
    """Return the value of a JSON text.

    Raises ValueError with a reason to print, JSONDecodeError where the text is not JSON.
    """
    if (reason := _foreign_byte(text)) is not None:
        raise ValueError(reason)
    if is_deep(text, _DEEPEST):
        raise ValueError(f"not usable JSON (nested more than {_DEEPEST} deep)")
    try:
        return json.loads(text, object_pairs_hook=_unique_keys)
    except (json.JSONDecodeError, _RepeatedKey):
        raise
    except (RecursionError, ValueError) as error:
        deep = isinstance(error, RecursionError)
        reason = "nested too deeply" if deep else "a number has too many digits"
        raise ValueError(f"not usable JSON ({reason})") from None


class _RepeatedKey(ValueError):
    """An object has two values of one key: which one is meant is unknown."""


def _unique_keys(pairs: list[tuple[str, Any]]) -> Row:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
    raise _RepeatedKey(f"not usable JSON (the key {twice[:40]!r} occurs twice in one object)")


def _foreign_byte(text: str) -> str | None:
    """Return why a text is not UTF-8, None if it is."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        byte = ord(text[error.start]) - 0xDC00  # how surrogateescape lets a byte through
        return (
            f"not UTF-8 text (byte 0x{byte:02X} at column {error.start + 1}): save the file as"
            " UTF-8"
        )
    return None


CHUNK: Final = 2**20
"""Characters of a long array that are read at a time."""
_LONGEST_TOKEN: Final = 16
"""More characters than any JSON token has but a string: -Infinity, two escapes of one sign."""
_SPACE: Final = re.compile(r"[ \t\n\r]*")
_SCANNER: Final = json.JSONDecoder(
    object_pairs_hook=lambda _: None, parse_int=len, parse_float=len, parse_constant=len
)
"""Finds where a value ends without building it."""


class _NotAnArray(ValueError):
    """The text in `line` is not JSON, or not one array."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line


def _array_texts(begun: str, file: TextIOWrapper) -> Iterator[str]:
    """Yield the text of each value of an array. Raises `_NotAnArray`."""
    text = _ArrayText(begun, file)
    text.expect("[")
    if text.next() == "]":
        text.expect("]")
    else:
        yield text.value()
        while text.expect(",", "]") == ",":
            yield text.value()
    if text.next():
        raise _NotAnArray(text.line, "the array has ended, and more follows")


class _ArrayText:
    """A text that is read from a file as it is taken: characters and whole values."""

    def __init__(self, begun: str, file: TextIOWrapper) -> None:
        self._text, self._at, self._file = begun, 0, file
        self._lines = 1

    @property
    def line(self) -> int:
        """The line of the next character, from 1."""
        return self._lines + self._text.count("\n", 0, self._at)

    def next(self) -> str:
        """Return the next character that is not space, "" at the end, without taking it."""
        while True:
            found = _SPACE.match(self._text, self._at)
            self._at = found.end() if found else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._read(CHUNK):
                return ""

    def expect(self, *characters: str) -> str:
        """Take and return the next character, which must be one of these."""
        if self.next() not in characters:
            names = " or ".join(map(repr, characters))
            raise _NotAnArray(self.line, f"{names} is missing")
        self._at += 1
        return self._text[self._at - 1]

    def value(self) -> str:
        """Take and return the text of the next value."""
        size = CHUNK
        self.next()
        while True:
            try:
                _, end = _SCANNER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if self._is_wrong(error) or not self._read(size):
                    line = self._lines + self._text.count("\n", 0, error.pos)
                    raise _NotAnArray(line, f"not JSON ({error.msg})") from None
            except RecursionError:
                raise _NotAnArray(self.line, "not usable JSON (nested too deeply)") from None
            else:
                if end < len(self._text) or not self._read(size):  # a number may go on
                    found = self._text[self._at : end]
                    self._at = end
                    return found
            size *= 2
            if size > MOST_CHARACTERS:
                raise _NotAnArray(self.line, f"a row has more than {MOST_CHARACTERS:,} characters")

    def _is_wrong(self, error: json.JSONDecodeError) -> bool:
        """Return whether an error is so far from the end that more text would not mend it."""
        left = len(self._text) - error.pos
        return left > _LONGEST_TOKEN and not error.msg.startswith("Unterminated")

    def _read(self, size: int) -> bool:
        """Drop what was taken and read on; return whether there was anything to read."""
        self._lines = self.line
        found = self._file.read(size)
        self._text = self._text[self._at :] + found
        self._at = 0
        return bool(found)

"""Rows of tables: CSV, TSV and Parquet."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from gpu_runner.data.opened import ReadShare
from gpu_runner.errors import DataError

Row = dict[str, Any]
_SEPARATORS: Final = ",;\t|"
_LONGEST_CELL: Final = 2**31 - 1
TABLES: Final = (".csv", ".tsv")


def is_table(path: Path) -> bool:
    """Whether a file of text is a table, by its name, however it is compressed."""
    return any(suffix.lower() in TABLES for suffix in path.suffixes[-2:])


def cells(path: Path, text: Iterable[str]) -> Iterator[tuple[str, Row | str]]:
    """(where, row or why it is none) for every line below the first, which names the columns.

    Raises `DataError` for a table without columns.
    """
    csv.field_size_limit(_LONGEST_CELL)
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
        number = reader.line_num + 2
        try:
            found = next(reader, None)
        except csv.Error as error:
            yield f"{path}:{number}", f"not a line of a table ({error})"
            continue
        if found is None:
            return
        if len(found) == len(columns):
            yield f"{path}:{number}", dict(zip(columns, found, strict=True))
        elif found:
            yield (
                f"{path}:{number}",
                f"it has {len(found)} cells, but the first line names {len(columns)} columns: put"
                ' cells with a separator or a line break in them between "…"',
            )


def parquet(path: Path, reading: ReadShare) -> Iterator[tuple[str, Row]]:
    """(where, row) pairs of a Parquet file. Raises `DataError`."""
    try:
        import pyarrow  # type: ignore[import-not-found, import-untyped, unused-ignore]
        from pyarrow import parquet as files
    except ImportError:
        raise DataError(
            f"{path} is a Parquet file, which pyarrow reads: first `pip install pyarrow`."
        ) from None
    try:
        file, number = files.ParquetFile(path), 0
        for batch in file.iter_batches():
            for row in batch.to_pylist():
                yield f"{path}[{number}]", without_none(row)
                number += 1
            reading.share = number / file.metadata.num_rows
    except (pyarrow.ArrowException, ValueError) as error:  # a name in it that is not UTF-8
        reason = str(error).splitlines()[0].rstrip(".")
        raise DataError(f"{path} is no Parquet file that can be read ({reason}).") from None


def without_none(value: Any) -> Any:
    """The same without the empty fields that a table gives to every row that has others."""
    if isinstance(value, dict):
        return {key: without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_none(item) for item in value]
    return value

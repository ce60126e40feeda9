"""Lines of a JSONL file, or rows of a Hugging Face data set, as objects; refused by line."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gpu_runner.data import hub
from gpu_runner.errors import DataError

Row = dict[str, Any]


def read_rows(source: str, bad: list[str] | None = None) -> list[tuple[str, Row]]:
    """(where, row) pairs of a `.jsonl` file, or of the `train` split of a Hugging Face data set.

    Raises `DataError` with file, line number and reason for the first line that is not a JSON
    object, and for a source that is neither a file nor a data set that can be loaded. With a list
    `bad`, such lines are left out and told there.
    """
    rows, before = [], len(bad or ())
    try:
        path = Path(source).expanduser()
        if path.is_dir():
            raise DataError(f"{path} is a directory: give one .jsonl file.")
        if not path.exists():
            return _hub_rows(source)
        with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
            for number, line in enumerate(file, 1):
                where = f"{path}:{number}"
                if line.strip():
                    with collecting(bad):
                        rows.append((where, _parse(line.rstrip(), where)))
    except OSError as error:
        raise DataError(f"{source} cannot be read: {error.strerror}.") from None
    except RuntimeError as error:  # no home directory of that name
        raise DataError(f"{source} cannot be read: {str(error).rstrip('.')}.") from None
    if not rows and bad is not None and len(bad) > before:
        raise DataError(
            f"all {len(bad) - before} rows of {path} are bad. The first: {bad[before]}."
        )
    if not rows:
        raise DataError(f"{path} has no rows: give a file with at least one JSON object a line.")
    return rows


@contextmanager
def collecting(bad: list[str] | None) -> Iterator[None]:
    """What a row is refused for goes into `bad`, where there is such a list."""
    try:
        yield
    except DataError as error:
        if bad is None:
            raise
        bad.append(str(error).rstrip("."))


def _parse(line: str, where: str) -> Row:
    try:
        line.encode()
        row = json.loads(line)
    except UnicodeEncodeError as error:
        byte = ord(line[error.start]) - 0xDC00  # that is how it was let through
        raise DataError(
            f"{where}: not UTF-8 text (byte 0x{byte:02X} at column {error.start + 1}):"
            " save the file as UTF-8."
        ) from None
    except json.JSONDecodeError as error:
        raise DataError(
            f"{where}: not JSON ({error.msg} at column {error.colno}):"
            f" {line[:60]!r}. Each line is one object.{_spread_out(line, where)}"
        ) from None
    except (RecursionError, ValueError) as error:
        deep = isinstance(error, RecursionError)
        reason = "nested too deeply" if deep else "a number has too many digits"
        raise DataError(f"{where}: not usable JSON ({reason}).") from None
    if not isinstance(row, dict):
        raise DataError(
            f"{where}: a row is a JSON object, but this is a {type(row).__name__}."
            f"{_spread_out(line, where)}"
        )
    return row


def _spread_out(line: str, where: str) -> str:
    """What to type for a file that begins as one array, or as one object over many lines."""
    path, _, number = where.rpartition(":")
    if number != "1" or line[:1] not in ("[", "{") or line[-1:] not in ("[", "{", ",", "]"):
        return ""
    each = ".[]" if line[0] == "[" else "."
    return f" If the file is ordinary JSON: jq -c '{each}' {shlex.quote(path)} > rows.jsonl"


def _hub_rows(source: str) -> list[tuple[str, Row]]:
    looks_like_file = source.endswith((".jsonl", ".json")) or source.startswith((".", "/", "~"))
    try:
        if looks_like_file:
            raise ImportError
        away = hub.is_away()  # first: what is imported next looks at the environment
        import datasets  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError:
        hint = (
            "check the path"
            if looks_like_file
            else "check the path; if it is a Hugging Face data set id, first `pip install datasets`"
        )
        raise DataError(f"{source}: there is no such file; {hint}.") from None
    try:
        loaded = datasets.load_dataset(source, split="train")
    except Exception as error:  # the hub, the network, or the data set's own script
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if away:
            reason = "the Hugging Face hub cannot be reached, and it is not in the cache"
        raise DataError(
            f"{source}: neither a file nor a data set that can be loaded ({reason.rstrip('.')})."
        ) from error
    return [(f"{source}[{index}]", dict(row)) for index, row in enumerate(loaded)]

"""How an error of a cell reads: the cell's own lines, and for a failed import what to write."""

from __future__ import annotations

import ast
import builtins
import contextlib
import inspect
import linecache
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

NAME_LIMIT_CHARS = 100
MESSAGE_LIMIT_CHARS = 20_000
TRACEBACK_LIMIT_CHARS = 40_000
EXIT_NOTE = (
    "A cell cannot exit Python: this run ended here, and the variables of all cells stay. "
    "“Restart Python” in the page's top bar clears them."
)

_replaceable: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (vars(module), {}) for module in (builtins, ast, contextlib, inspect, linecache, traceback)
]
"""Names of the modules that run a cell: as they are, and as they were when the run began."""
_known_filenames: set[str] = set()
missing_files: dict[str, str] = {}
"""Why a file that the page hands over is not there, by its name."""


@dataclass(frozen=True)
class CellError:
    """An exception that left a cell.

    `traceback` holds only frames of cells, with the cell's own line numbers (1-based), and ends
    with the usual `Type: message`. `line` is where to put the cursor in this cell, or None when
    no line of it took part.
    """

    type: str
    message: str
    traceback: str
    line: int | None


def remember_names() -> None:
    """Note the names of the modules that run cells; those that a task has removed are put back."""
    for names, before in _replaceable:
        before.update(names)
    restore_names()


def restore_names() -> None:
    """Put back what a cell has removed or replaced of the modules that run it, `len` as well.

    Neither function uses a builtin: a cell may have emptied them.
    """
    for names, before in _replaceable:
        names.update(before)


def remember_source(filename: str, source: str) -> None:
    """Register `source`, so that tracebacks quote it under `filename` and keep its frames."""
    _known_filenames.add(filename)
    # An mtime of None tells linecache that there is no file to check the text against.
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)


def describe_error(error: BaseException, filename: str) -> CellError:
    """Return what the reader sees of `error`, raised by the cell compiled as `filename`.

    An exception class that a cell defines may raise again when its message is formatted: then the
    names of both are shown.
    """
    name = _name(type(error))
    try:
        try:
            return _described(error, name, filename)
        finally:
            restore_names()
    except BaseException as again:
        text = f"{name}: its message could not be made ({_name(type(again))})"
        return CellError(name, text, text, None)


def _name(kind: type) -> str:
    """Return the name of a class, whatever its metaclass says, cut where it would fill the page."""
    return _cut(str.__str__(type.__dict__["__name__"].__get__(kind)), NAME_LIMIT_CHARS)


def _cut(text: str, limit_chars: int) -> str:
    """Return a text, cut in its middle: the end of a traceback is what matters."""
    text = str.__str__(text)
    if len(text) <= limit_chars:
        return text
    half = limit_chars // 2
    return f"{text[:half]} … ({len(text) - 2 * half:,} characters left out) … {text[-half:]}"


def _described(error: BaseException, name: str, filename: str) -> CellError:
    _explain(error)
    report = traceback.TracebackException.from_exception(error, compact=True)
    for part in _chain(report):
        _keep_cell_frames(part)
    return CellError(
        type=name,
        message=_cut(str(report), MESSAGE_LIMIT_CHARS),
        traceback=_cut("".join(report.format()), TRACEBACK_LIMIT_CHARS),
        line=_line_in(error, report, filename),
    )


def _explain(error: BaseException) -> None:
    """Add a note on what to do instead; once, even if the error is raised again."""
    note = EXIT_NOTE if isinstance(error, SystemExit) else ""
    if isinstance(error, FileNotFoundError):
        note = missing_files.get(str(error.filename), "")
    if isinstance(error, ModuleNotFoundError) and error.name:
        top = error.name.partition(".")[0]
        note = note or (note_on(top) if top in (error.name, "gpu_runner") else "")
    if note and note not in getattr(error, "__notes__", ()):
        error.add_note(note)


def _chain(report: traceback.TracebackException) -> Iterator[traceback.TracebackException]:
    """Yield `report`, its causes and contexts, and the members of exception groups."""
    todo = [report]
    while todo:
        part = todo.pop()
        yield part
        todo += [link for link in (part.__cause__, part.__context__) if link is not None]
        todo += getattr(part, "exceptions", None) or []


def _keep_cell_frames(part: traceback.TracebackException) -> None:
    """Drop frames of other files, the column marks, and contexts that no cell took part in."""
    part.stack = traceback.StackSummary.from_list(
        [
            (frame.filename, frame.lineno or 0, frame.name, frame.line)
            for frame in part.stack
            if frame.filename in _known_filenames
        ]
    )
    context = part.__context__
    if context is not None and not any(f.filename in _known_filenames for f in context.stack):
        part.__context__ = None  # raised and handled inside a library


def _line_in(
    error: BaseException, report: traceback.TracebackException, filename: str
) -> int | None:
    """Return the innermost line of `filename`: of the syntax error, else of the last frame."""
    if isinstance(error, SyntaxError) and error.filename == filename:
        return error.lineno
    lines = [frame.lineno for frame in report.stack if frame.filename == filename]
    return lines[-1] if lines else None


CARRIED = ("numpy",)
HERE = "Python's standard library, unfrozen and numpy"
NO_NETWORK = (
    "Cells have no network: paste the data into the cell, or run this code in Python on your own "
    "machine"
)
HTTP_CLIENTS = ("aiohttp", "httpx", "pyodide_http", "requests", "urllib3", "websockets")


def note_on(name: str) -> str:
    """Return one or two sentences on a top-level module that could not be found."""
    if name in CARRIED:
        return (
            f"{name} is available, but the source of this cell does not import it by name. "
            f"Write `import {name}` in it and run it again."
        )
    if name == "gpu_runner":
        return (
            "Cells can import one part of gpu_runner, with `from gpu_runner import demo`; "
            "the rest needs PyTorch and runs on your own machine."
        )
    if name in HTTP_CLIENTS:
        return f"{NO_NETWORK}."
    if name in sys.stdlib_module_names:
        return f"{name} is a module of the standard library that Python in a browser does not have."
    return (
        f"Cells of this page can import {HERE}. To use {name}, run this code in Python on your own "
        f"machine."
    )

"""How an error of a cell reads: the cell's own lines, none of the machinery beneath them."""

from __future__ import annotations

import linecache
import traceback
from collections.abc import Iterator
from dataclasses import dataclass

from pycell.missing import note_on, note_on_renamed

NAME_LIMIT_CHARS = 100
MESSAGE_LIMIT_CHARS = 20_000
TRACEBACK_LIMIT_CHARS = 40_000
LEAVING = (
    "A cell has no program to leave: this run ended here, and the names of all cells stay. "
    "“Restart Python” in the page's top bar starts without them."
)

_known_filenames: set[str] = set()


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


def remember_source(filename: str, source: str) -> None:
    """Let tracebacks quote `source` under `filename`, and count its frames as a cell's own."""
    _known_filenames.add(filename)
    # An mtime of None tells linecache that there is no file to check the text against.
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)


def is_cell(filename: str) -> bool:
    """Whether code was compiled under that name from the source of a cell."""
    return filename in _known_filenames


def describe_error(error: BaseException, filename: str) -> CellError:
    """Turn `error`, raised by the cell compiled as `filename`, into what its reader sees.

    An exception of the cell's own class may raise again when it is asked what it says: then its
    name is told, and what it raised.
    """
    name = _name(type(error))
    try:
        return _described(error, name, filename)
    except BaseException as again:
        said = f"{name}: its message could not be made ({_name(type(again))})"
        return CellError(name, said, said, None)


def _name(kind: type) -> str:
    """The name of a class, whatever its own class says of it; cut where it would bury the page."""
    return _cut(str.__str__(type.__dict__["__name__"].__get__(kind)), NAME_LIMIT_CHARS)


def _cut(text: str, limit_chars: int) -> str:
    """Cut a text in its middle: the end of a traceback is its point."""
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
    """Add to an error what there is instead; once, even if the error is raised again."""
    note = LEAVING if isinstance(error, SystemExit) else ""
    if isinstance(error, ImportError) and error.name:
        # `from unfrozen import catalogue` names the package, and the module apart from it
        note = note_on_renamed(f"{error.name}.{getattr(error, 'name_from', '')}")
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
    """Drop frames that are no cell's, the column marks, and contexts born outside every cell."""
    part.stack = traceback.StackSummary.from_list(
        [
            (frame.filename, frame.lineno or 0, frame.name, frame.line)
            for frame in part.stack
            if frame.filename in _known_filenames
        ]
    )
    context = part.__context__
    if context is not None and not any(f.filename in _known_filenames for f in context.stack):
        part.__context__ = None  # a library's private detour: raised and handled out of sight


def _line_in(
    error: BaseException, report: traceback.TracebackException, filename: str
) -> int | None:
    """Find the innermost line of `filename`: of the syntax error itself, else of the last frame."""
    if isinstance(error, SyntaxError) and error.filename == filename:
        return error.lineno
    lines = [frame.lineno for frame in report.stack if frame.filename == filename]
    return lines[-1] if lines else None

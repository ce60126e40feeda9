"""Runs one cell: its statements, the value of its last expression, its error and its output.

Output is capped, so that `while True: print()` harms nobody. Cells share one `sys.stdout` for as
long as their interpreter lives, so a log handler that one of them installs keeps working. Whose
text it takes is decided by context variables: a task or a timer prints for the run that started it,
and after that run has ended its text is refused and counted.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
import json
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass
from types import CodeType
from typing import Any

from pycell.errors import (
    CellError,
    describe_error,
    remember_names,
    remember_source,
    restore_names,
)
from unfrozen.publish import is_numpy, plain, start_run

OUTPUT_LIMIT_BYTES = 200_000
VALUE_LIMIT_CHARS = 20_000


class CappedOutput:
    """Takes the text of one run: passes at most `limit_bytes` on and counts the rest.

    Lone surrogates, which no UTF-8 page can carry, are written as their backslash escapes.
    """

    def __init__(self, write: Callable[[str], None], limit_bytes: int = OUTPUT_LIMIT_BYTES) -> None:
        """Pass text on to `write`; count it in UTF-8 bytes."""
        self._write = write
        self._left_bytes = limit_bytes
        self.limit_bytes = limit_bytes
        self.dropped_bytes = 0
        self.is_open = True

    def take(self, text: str) -> None:
        """Pass on as much of `text` as still fits."""
        data = text.encode("utf-8", "backslashreplace")
        fits = data[: self._left_bytes]
        self._left_bytes -= len(fits)
        self.dropped_bytes += len(data) - len(fits)
        if fits:
            self._write(fits.decode("utf-8", "ignore"))  # a character cut in two is dropped whole

    def notice(self) -> str:
        """Return a sentence on what was left out; empty when everything was shown."""
        if not self.dropped_bytes:
            return ""
        return (
            f"Output is shown up to {self.limit_bytes // 1000} kB; "
            f"{self.dropped_bytes:,} more bytes were counted and left out. "
            "Print less often to see all of it."
        )


_run: ContextVar[CappedOutput | None] = ContextVar("run", default=None)


class Streams(io.TextIOBase):
    """Is both `sys.stdout` and `sys.stderr` of all cells, so that their order is kept."""

    def __init__(self) -> None:
        super().__init__()
        self._on: CappedOutput | None = None
        self._late = 0

    def begin(self, output: CappedOutput) -> Token[CappedOutput | None]:
        """Begin a run: what its code and the tasks it starts print goes to `output`."""
        self._on = output
        return _run.set(output)

    def end(self, output: CappedOutput, token: Token[CappedOutput | None]) -> None:
        """End the run of `output`: what is printed for it from now on is refused."""
        output.is_open = False
        self._on = None
        _run.reset(token)

    def owner(self) -> CappedOutput | None:
        """Return the output of the caller's run; None when that run has ended."""
        output = _run.get() or self._on  # a thread has no context of its own
        return output if output is not None and output.is_open else None

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Always UTF-8, for code that asks before it prints."""
        return "utf-8"

    def writable(self) -> bool:
        """Return True: this stream can only be written to."""
        return True

    def write(self, text: str) -> int:
        """Take text for the run it belongs to and return its number of characters, all of them.

        Raises TypeError for anything that is not a string, as every text stream does.
        """
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if (output := self.owner()) is not None:
            output.take(text)
        else:
            self.refuse(len(text.encode("utf-8", "backslashreplace")))
        return len(text)

    def refuse(self, late_bytes: int) -> None:
        """Count bytes that were printed for a run after it had ended."""
        self._late += late_bytes

    def late_notice(self) -> str:
        """Return a sentence on what was refused since the last call; empty for nothing."""
        late, self._late = self._late, 0
        if not late:
            return ""
        return (
            f"A task that an earlier run had left running printed {late:,} bytes. "
            "They are not shown, because that run has ended."
        )


streams = Streams()


@dataclass(frozen=True)
class CellResult:
    """The result of a cell, without its output.

    `value_repr` is the repr of the last expression, None when there is none or it is None.
    `notice` says what was left out of an output that grew too long, and is empty otherwise.
    """

    ok: bool
    value_repr: str | None
    error: CellError | None
    notice: str = ""


def run_cell(
    source: str,
    namespace: dict[str, Any],
    write: Callable[[str], None],
    cell_id: str = "cell",
) -> CellResult:
    """Run `source` in `namespace`, passing what it prints to `write` piece by piece.

    Never raises: every exception of the cell, KeyboardInterrupt and SystemExit included, comes
    back as `error`. A cell with a top-level `await` gets a thread and an event loop of its own,
    so that it runs for a caller whose thread has a loop already.
    """
    steps = run_cell_async(source, namespace, CappedOutput(write), cell_id)
    if _has_top_level_await(source):
        with ThreadPoolExecutor(max_workers=1) as pool:
            return pool.submit(asyncio.run, steps).result()
    try:
        steps.send(None)
    except StopIteration as finished:
        result: CellResult = finished.value
        return result
    raise RuntimeError("a cell without a top-level await has suspended")


async def run_cell_async(
    source: str,
    namespace: dict[str, Any],
    output: CappedOutput,
    cell_id: str = "cell",
    prepare: Callable[[str], Awaitable[None]] | None = None,
) -> CellResult:
    """Do what `run_cell` does inside a running event loop, where top-level `await` can wait.

    `prepare(source)` is awaited first; what it raises is the cell's error.
    """
    remember_names()
    filename = f"<{cell_id}>"
    namespace.setdefault("__name__", "__main__")
    namespace.setdefault("__builtins__", __builtins__)
    remember_source(filename, source)
    start_run()
    value_repr: str | None = None
    error: CellError | None = None
    redirected = contextlib.redirect_stdout(streams), contextlib.redirect_stderr(streams)
    token = streams.begin(output)
    try:
        with redirected[0], redirected[1], numpy_in_json():
            try:
                try:
                    if prepare is not None:
                        await prepare(source)
                    value = await _execute(source, filename, namespace)
                    value_repr = None if value is None else _shortened(repr(value))
                finally:
                    restore_names()
            except BaseException as raised:
                error = describe_error(raised, filename)
    finally:
        streams.end(output, token)
    notice = " ".join(filter(None, (output.notice(), streams.late_notice())))
    return CellResult(error is None, value_repr, error, notice)


async def _execute(source: str, filename: str, namespace: dict[str, Any]) -> Any:
    """Run all statements; return the value of the last one if it is an expression."""
    tree = ast.parse(source, filename)
    last = tree.body[-1] if tree.body else None
    if isinstance(last, ast.Expr):
        tree.body.pop()
    await _evaluate(_compile(tree, filename, "exec"), namespace)
    if isinstance(last, ast.Expr):
        return await _evaluate(_compile(ast.Expression(last.value), filename, "eval"), namespace)
    return None


async def _evaluate(code: CodeType, namespace: dict[str, Any]) -> Any:
    """Evaluate compiled statements or an expression, waiting for it if it contains `await`."""
    value = eval(code, namespace)
    if code.co_flags & inspect.CO_COROUTINE:
        value = await value
    return value


def _compile(tree: ast.Module | ast.Expression, filename: str, mode: str) -> CodeType:
    """Compile without inheriting this file's `__future__` imports; `await` is allowed outside."""
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code: CodeType = compile(tree, filename, mode, flags=flags, dont_inherit=True)
    return code


def _has_top_level_await(source: str) -> bool:
    """Return whether the compiled cell is a coroutine; False for one that does not compile."""
    try:
        code = _compile(ast.parse(source), "<probe>", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return bool(code.co_flags & inspect.CO_COROUTINE)


def _shortened(text: str) -> str:
    """Return a repr, cut and with its length where it would fill the page."""
    text = str.__str__(text)  # a subclass of str that the cell defines may have another `len`
    if len(text) <= VALUE_LIMIT_CHARS:
        return text
    return f"{text[:VALUE_LIMIT_CHARS]}… ({len(text):,} characters in all)"


@contextmanager
def numpy_in_json() -> Iterator[None]:
    """Make `json` write numpy's scalars and arrays as numbers and lists while the block runs.

    Only values that `json` would refuse are affected. An encoder with its own `default` keeps it.
    """
    before = json.JSONEncoder.default

    def default(self: json.JSONEncoder, value: Any) -> Any:
        """Return what JSON can hold instead of `value`; raises TypeError if it is not numpy's."""
        return plain(value) if is_numpy(value) else before(self, value)

    json.JSONEncoder.default = default  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        if json.JSONEncoder.default is default:  # a cell that has replaced it keeps its own
            json.JSONEncoder.default = before  # type: ignore[method-assign]

"""Run one cell: execute its statements, keep the value of its last expression, report its error."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import json
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from types import CodeType
from typing import Any

from pycell.output import CappedOutput, streams
from pycell.trace import CellError, describe_error, remember_source
from unfrozen.publish import is_numpy, plain

VALUE_LIMIT_CHARS = 20_000


@dataclass(frozen=True)
class CellResult:
    """What a cell left behind, its output aside.

    `value_repr` is the repr of the last expression, None when there is none or it is None.
    `notice` tells what was left out of an output that grew too long, and is empty otherwise.
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
    filename = f"<{cell_id}>"
    namespace.setdefault("__name__", "__main__")
    namespace.setdefault("__builtins__", __builtins__)
    remember_source(filename, source)
    value_repr: str | None = None
    error: CellError | None = None
    redirected = contextlib.redirect_stdout(streams), contextlib.redirect_stderr(streams)
    token = streams.begin(output)
    try:
        with redirected[0], redirected[1], numpy_in_json():
            try:
                if prepare is not None:
                    await prepare(source)
                value = await _execute(source, filename, namespace)
                value_repr = None if value is None else _shortened(repr(value))
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
    """Tell whether the compiled cell is a coroutine; a cell that does not compile is not."""
    try:
        code = _compile(ast.parse(source), "<probe>", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return bool(code.co_flags & inspect.CO_COROUTINE)


def _shortened(text: str) -> str:
    """Cut a repr that would bury the page, and say how long it was."""
    text = str.__str__(text)  # a repr may be of a class of the cell's own, with a `len` of its own
    if len(text) <= VALUE_LIMIT_CHARS:
        return text
    return f"{text[:VALUE_LIMIT_CHARS]}… ({len(text):,} characters in all)"


@contextmanager
def numpy_in_json() -> Iterator[None]:
    """Make `json` write numpy's scalars and arrays as numbers and lists while the block runs.

    Only what `json` would refuse changes. An encoder with a `default` of its own keeps it.
    """
    before = json.JSONEncoder.default

    def default(self: json.JSONEncoder, value: Any) -> Any:
        """Stand in for JSONEncoder.default; raises TypeError as that does."""
        return plain(value) if is_numpy(value) else before(self, value)

    json.JSONEncoder.default = default  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        if json.JSONEncoder.default is default:  # a cell that has put its own there keeps it
            json.JSONEncoder.default = before  # type: ignore[method-assign]

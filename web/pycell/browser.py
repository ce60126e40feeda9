"""The reader's interpreter in Pyodide: one namespace for all cells of the page, sandboxed.

Only this file knows that it runs in a browser. JavaScript is passed in as callables, and Pyodide's
own bridges to the page are removed.
"""

from __future__ import annotations

import asyncio
import builtins
import gc
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from types import ModuleType, SimpleNamespace
from typing import Any

from pycell.cell import CappedOutput, run_cell_async, streams
from pycell.packages import Packages, Wait
from pycell.window import (
    Help,
    NoInput,
    make_js_module,
    raise_system_exit,
    refuse_audited,
    refuse_connection,
    refuse_descriptor,
    refuse_input,
)

NAP_SECONDS = 0.05
_NEEDED = ("builtins", "sys", "asyncio", "contextvars", "traceback", "linecache", "io")


class Session:
    """Runs cells one after another; later cells see the variables of earlier ones."""

    def __init__(
        self,
        write: Callable[[str], None],
        publish: Callable[[str, str], None],
        packages: Packages,
        pong: Callable[[], None] = lambda: None,
    ) -> None:
        """Send what cells print to `write`, what they publish to `publish`; they use `packages`.

        `pong` is called by the event loop after each `ping`.
        """
        self._write, self._publish, self._packages = write, publish, packages
        self._pong = pong
        self._namespace: dict[str, Any] = {}
        self._published: dict[str, str] = {}
        self._needed = {
            name: module
            for name, module in sys.modules.items()
            if name in _NEEDED or name.startswith("pycell.")
        }

    def publish(self, name: str, json_text: str) -> None:
        """Pass on what a cell publishes, and keep it until the next run.

        Raises RuntimeError in a task of a run that has ended: no cell can show it.
        """
        if streams.owner() is None:
            streams.refuse(len(json_text))
            raise RuntimeError(
                "the run that started this task has ended, so its cell cannot show the result: "
                "await the task in the cell (await task)"
            )
        self._published[name] = json_text
        self._publish(name, json_text)

    async def run(
        self,
        cell_id: str,
        source: str,
        end: Callable[..., None],
        guess: str = "",
        guessed: str = "",
    ) -> None:
        """Run one cell; call `end` with its value, error (type, message, traceback, line), notices.

        `guess` is a key of `unfrozen.guesses`, `guessed` what the reader typed. The notices
        are what was left out, and the guess beside the result. Raises SystemError when the cell
        has removed modules without which no further run is possible.
        """
        output = CappedOutput(self._write)
        self._published.clear()
        prepare = self._packages.prepare
        result = await run_cell_async(source, self._namespace, output, cell_id, prepare)
        if gone := [name for name, it in self._needed.items() if sys.modules.get(name) is not it]:
            raise SystemError(f"cells have removed {', '.join(gone[:3])}")
        compared = self._compare(guess, guessed) if guessed and result.ok else ""
        error = result.error
        parts = (error.type, error.message, error.traceback, error.line) if error else (None,) * 4
        end(result.value_repr, *parts, result.notice or self._packages.notice, compared)

    def ping(self) -> None:
        """Have the event loop, if it still runs, call `pong`."""
        asyncio.get_event_loop().call_soon(self._pong)

    def _compare(self, guess: str, guessed: str) -> str:
        """Return the guess beside the result as a sentence, and publish it in the first plot."""
        from unfrozen.guesses import compare  # imported by the few runs with a guess

        compared = compare(guess, guessed, self._published)
        if compared.plots_json is not None:
            self._publish("py_plot_data", compared.plots_json)
        return compared.text


def open_session(
    write: Callable[[str], None],
    publish: Callable[[str, str], None],
    stop_wanted: Callable[[], bool],
    packages: str,
    fetch_package: Callable[[str], Awaitable[str]],
    download_stopped: Callable[[], bool],
    pong: Callable[[], None],
) -> Session:
    """Prepare this interpreter for reader code and return its session.

    `publish(name, json_text)` gets tables and plots; `stop_wanted()` returns whether the reader has
    pressed Stop since the last call. `packages` names the packages of this site, as JSON;
    `fetch_package(name)` installs one, and `download_stopped()` returns whether Stop has ended
    that. `pong()` answers a ping.
    """
    known = Packages(json.loads(packages), fetch_package, download_stopped, _waiter)
    builtins.input = refuse_input
    sys.stdin = sys.__stdin__ = NoInput()  # type: ignore[assignment,misc]
    os.read = refuse_descriptor(os.read)
    builtins.help = Help()  # type: ignore[assignment]
    builtins.exit = builtins.quit = raise_system_exit  # type: ignore[assignment]
    time.sleep = _interruptible_sleep(time.sleep, stop_wanted)
    sys.stdout = sys.stderr = streams  # also between two runs
    session = Session(write, publish, known, pong)
    sys.modules["js"] = make_js_module(session.publish)
    _close_pyodide_js()
    _refuse_fetching()
    sys.addaudithook(refuse_audited)
    sys.meta_path.append(known)
    return session


def _waiter() -> Wait | None:
    """Return what waits in the middle of an import; None in a browser without JSPI."""
    from pyodide.ffi import can_run_sync, run_sync

    return run_sync if can_run_sync() else None


def _close_pyodide_js() -> None:
    """Replace `pyodide_js`, whose functions reach the whole worker, by an empty module.

    Pyodide's event loop reads one setting of it when a cell calls `asyncio.run`. What has loaded
    the modules of JavaScript outlives them, in a circle with each, and `gc` shows it to a cell.
    """
    from _pyodide._importhook import JsLoader, jsfinder  # type: ignore[import-not-found]

    jsfinder.jsproxies.clear()
    for loader in [it for it in gc.get_objects() if type(it) is JsLoader]:
        loader.jsproxy = None
    closed, api = ModuleType("pyodide_js"), ModuleType("pyodide_js._api")
    api.__dict__["config"] = SimpleNamespace(enableRunUntilComplete=True)
    closed.__dict__["_api"] = api
    sys.modules.update({"pyodide_js": closed, "pyodide_js._api": api})


def _refuse_fetching() -> None:
    """Make what fetches or connects in Pyodide raise OSError with what to do."""
    from pyodide import http
    from pyodide.webloop import WebLoop

    http.pyfetch = http._pyfetch.pyfetch = http.open_url = refuse_connection
    http.pyxhr._xhr_request = refuse_connection
    for name in ("connection", "server", "datagram_endpoint", "unix_connection", "unix_server"):
        setattr(WebLoop, f"create_{name}", refuse_connection)


def _interruptible_sleep(
    sleep: Callable[[float], None], stop_wanted: Callable[[], bool]
) -> Callable[[Any], None]:
    """Return a `sleep` that sleeps in short naps; between them output is sent and Stop obeyed."""

    def sleep_in_naps(seconds: float, /) -> None:
        """Wait for `seconds`, as `time.sleep`; raises KeyboardInterrupt when stopped."""
        if seconds < 0:
            raise ValueError("sleep length must be non-negative")
        end = time.monotonic() + seconds
        while True:
            if _is_stop_wanted(stop_wanted):
                raise KeyboardInterrupt
            left = end - time.monotonic()
            if left <= 0:
                return
            sleep(min(left, NAP_SECONDS))

    sleep_in_naps.__name__ = "sleep"
    return sleep_in_naps


def _is_stop_wanted(stop_wanted: Callable[[], bool]) -> bool:
    """Return what JavaScript answers, or True where the call fails.

    Pyodide polls the same signal while it makes the call, and a signal that it finds makes the
    conversion of the answer fail.
    """
    try:
        return stop_wanted()
    except Exception:
        return True

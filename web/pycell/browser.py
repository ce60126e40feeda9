"""The reader's interpreter in Pyodide: one namespace for all cells of the page, no way out of it.

The only file here that knows it runs in a browser. Everything of JavaScript it is given as three
callables; it takes the doors Pyodide has to the page away.
"""

from __future__ import annotations

import asyncio
import builtins
import json
import sys
import time
from collections.abc import Awaitable, Callable
from types import ModuleType, SimpleNamespace
from typing import Any

from pycell.cell import run_cell_async
from pycell.changed import Watch
from pycell.micropip_layer import FetchWheel, PageLayer
from pycell.output import CappedOutput, streams
from pycell.packages import Packages, Wait
from pycell.window import Help, leave, make_js_module, no_input

NAP_SECONDS = 0.05


class Session:
    """Runs cells one after another; later cells see the names of earlier ones."""

    def __init__(
        self,
        write: Callable[[str], None],
        publish: Callable[[str, str], None],
        packages: Packages,
        turned: Callable[[], None] = lambda: None,
    ) -> None:
        """Send what cells print to `write`, what they publish to `publish`; they use `packages`.

        `turned` is called whenever the event loop comes round after a `pulse`.
        """
        self._write, self._publish, self._packages = write, publish, packages
        self._turned = turned
        self._namespace: dict[str, Any] = {}
        self._published: dict[str, str] = {}
        self._watch = Watch()

    def note(self, name: str, json_text: str) -> None:
        """Pass on what a cell publishes, and keep it until the next run.

        Raises RuntimeError for what a run that is over has left going: there is no cell to show it.
        """
        if streams.owner() is None:
            streams.refuse(len(json_text))
            raise RuntimeError(
                "the run this belongs to is over, and its cell takes no more: await what it has "
                "started (await task) in the cell itself"
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
        """Run one cell; tell `end` its value, error (type, message, traceback, line) and notices.

        `guess` is a key of `unfrozen.reader.guesses`, `guessed` what the reader typed: `end` gets
        the comparison with what was published, and last what cells have replaced, all in words.
        """
        output = CappedOutput(self._write)
        self._published.clear()
        prepare = self._packages.prepare
        result = await run_cell_async(source, self._namespace, output, cell_id, prepare)
        changed = self._watch.changed()  # SystemError when there is nothing left to go on with
        said = self._compared(guess, guessed) if guessed and result.ok else ""
        error = result.error
        parts = (error.type, error.message, error.traceback, error.line) if error else (None,) * 4
        end(result.value_repr, *parts, result.notice or self._packages.notice, said, changed)

    def pulse(self) -> None:
        """Have the event loop, if it still turns, call `turned`."""
        asyncio.get_event_loop().call_soon(self._turned)

    def _compared(self, guess: str, guessed: str) -> str:
        """A reader's guess beside the result, in words, and in the first plot."""
        from unfrozen.reader.guesses import compare  # most readers never ask

        compared = compare(guess, guessed, self._published)
        if compared.plots_json is not None:
            self._publish("py_plot_data", compared.plots_json)
        return compared.text


def open_session(
    write: Callable[[str], None],
    publish: Callable[[str, str], None],
    stop_wanted: Callable[[], bool],
    lock: str,
    bring: Callable[[str], Awaitable[str]],
    fetch_wheel: FetchWheel,
    download_stopped: Callable[[], bool],
    turned: Callable[[], None],
) -> Session:
    """Prepare this interpreter for reader code and return its session.

    `publish(name, json_text)` gets tables and plots; `stop_wanted()` tells whether the reader has
    pressed Stop since it was last asked. `lock` names the packages of this site, as JSON;
    `bring(name)` unpacks one, `fetch_wheel(url)` gets any other wheel of this origin, and
    `download_stopped()` tells whether Stop has ended one of these. `turned()` answers a pulse.
    """
    known = json.loads(lock)
    packages = Packages(known["packages"], bring, download_stopped, _waiter)
    packages.on_load = PageLayer(known, packages, fetch_wheel).note_loaded
    builtins.input = no_input
    builtins.help = Help()  # type: ignore[assignment]
    builtins.exit = builtins.quit = leave  # type: ignore[assignment]
    time.sleep = _interruptible_sleep(time.sleep, stop_wanted)
    sys.stdout = sys.stderr = streams  # also between two runs
    session = Session(write, publish, packages, turned)
    sys.modules["js"] = make_js_module(session.note)
    _close_pyodide_js()
    sys.meta_path.append(packages)
    return session


def _waiter() -> Wait | None:
    """What waits in the middle of an import: a browser with JSPI can, another cannot."""
    from pyodide.ffi import can_run_sync, run_sync

    return run_sync if can_run_sync() else None


def _close_pyodide_js() -> None:
    """Put an empty `pyodide_js` in place of the real one, whose functions reach everything.

    Pyodide's own event loop asks it for one setting when a cell calls `asyncio.run`.
    """
    from _pyodide._importhook import jsfinder  # type: ignore[import-not-found]

    jsfinder.jsproxies.clear()
    closed, api = ModuleType("pyodide_js"), ModuleType("pyodide_js._api")
    api.__dict__["config"] = SimpleNamespace(enableRunUntilComplete=True)
    closed.__dict__["_api"] = api
    sys.modules.update({"pyodide_js": closed, "pyodide_js._api": api})


def _interruptible_sleep(
    sleep: Callable[[float], None], stop_wanted: Callable[[], bool]
) -> Callable[[Any], None]:
    """Sleep in naps, between which output is sent and Stop is heard."""

    def sleep_in_naps(seconds: float, /) -> None:
        """Wait for `seconds`, as `time.sleep`; raises KeyboardInterrupt when stopped."""
        if seconds < 0:
            raise ValueError("sleep length must be non-negative")
        end = time.monotonic() + seconds
        while True:
            if _is_true_or_broken_off(stop_wanted):
                raise KeyboardInterrupt
            left = end - time.monotonic()
            if left <= 0:
                return
            sleep(min(left, NAP_SECONDS))

    sleep_in_naps.__name__ = "sleep"
    return sleep_in_naps


def _is_true_or_broken_off(ask: Callable[[], bool]) -> bool:
    """Ask JavaScript whether to stop.

    Pyodide looks for the same signal while it makes the call, and when it finds it there, the call
    fails to be converted: that is a yes.
    """
    try:
        return ask()
    except Exception:
        return True

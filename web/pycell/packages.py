"""The packages of this site beside the standard library: fetched when a cell is to import them.

    a cell's source ── imports.py ──▶ names ──┐
    `import` of a name made up as it runs ────┼──▶ the page fetches, checks, unpacks ──▶ import
    micropip.install ─────────────────────────┘

What could not be had is told where it is imported: an ImportError in the reader's own line.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

from pycell.imports import packages_imported

Wait = Callable[[Coroutine[Any, Any, None]], None]


class Packages:
    """Finds and loads them; a finder for `sys.meta_path`."""

    def __init__(
        self,
        names: Collection[str],
        bring: Callable[[str], Awaitable[str]],
        stopped: Callable[[], bool],
        waiter: Callable[[], Wait | None] = lambda: None,
    ) -> None:
        """Serve `names`. `bring(name)` makes one importable, or gives the reason why not.

        `stopped()` tells whether the reader has stopped a download of this run. `waiter()` is what
        can wait for a coroutine in the middle of an import, where anything can.
        """
        self.names = names
        self._bring = bring
        self._stopped = stopped
        self._waiter = waiter
        self._refused: dict[str, str] = {}
        self.on_load: Callable[[str], None] = lambda _name: None
        self.notice = ""

    async def prepare(self, source: str) -> None:
        """Load what `source` is going to import; raises KeyboardInterrupt when the reader stops it.

        A package that cannot be had raises nothing here: its import does, if it comes to that.
        """
        self._refused.clear()
        self.notice = ""
        for name in packages_imported(source, self.names):
            if PathFinder.find_spec(name) is None:
                await self.load(name)
                self._heed_stop()

    async def load(self, name: str) -> None:
        """Make `name` importable, or remember why it is not."""
        reason = await self._bring(name)
        if reason:
            self._refused[name] = self.stop_notice(name) or reason
        else:
            self.on_load(name)

    def stop_notice(self, what: str) -> str:
        """What to say if the reader stopped the download of `what`; empty if not.

        It is raised by who awaits no longer: a KeyboardInterrupt inside a task would reach the
        event loop instead of the cell.
        """
        if self._stopped():
            self.notice = f"You stopped the download of {what}. Run the cell again to load it."
        return self.notice

    def _heed_stop(self) -> None:
        if self.notice:
            raise KeyboardInterrupt

    def refusal(self, name: str) -> str:
        """Why a package could not be loaded during this run; empty when nothing is wrong."""
        return self._refused.get(name, "")

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Load a package nobody saw coming; raises ImportError with the reason when it cannot."""
        if path is not None or name not in self.names:
            return None
        wait = None if self.refusal(name) else self._waiter()
        if wait is not None:
            wait(self.load(name))
            self._heed_stop()
        if reason := self.refusal(name):
            raise ImportError(reason, name=name)
        return PathFinder.find_spec(name)

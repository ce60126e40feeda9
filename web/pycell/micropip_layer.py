"""micropip's compatibility layer for this page.

micropip reaches everything outside itself through one object, its compatibility layer, and asks a
package index for what no lock file names. Both are replaced here: wheels come from this origin, and
anything else is refused with a reason.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn
from urllib.parse import urlsplit

from pycell.errors import refusal_to_install
from pycell.packages import Packages, unpack

FetchWheel = Callable[[str], Awaitable[Any]]


class LoadedPackages:
    """Holds the packages that micropip has installed, as attributes that it sets."""

    def to_py(self) -> dict[str, str]:
        """Return the source of each package by its name."""
        return dict(vars(self))


class PageLayer:
    """The compatibility layer, with micropip's names for its methods."""

    lockfile_base_url = None

    def __init__(self, lock: dict[str, Any], packages: Packages, fetch_wheel: FetchWheel) -> None:
        """Offer the packages of `lock`; `fetch_wheel(url)` gives bytes, or text with a refusal."""
        self.lockfile_info: dict[str, str] = lock["info"]
        self.lockfile_packages: dict[str, dict[str, Any]] = lock["packages"]
        self.loadedPackages = LoadedPackages()
        self._packages = packages
        self._fetch_wheel = fetch_wheel

    def note_loaded(self, name: str) -> None:
        """Record that a package of the lock, which may be micropip itself, was loaded."""
        setattr(self.loadedPackages, name, "pyodide")
        if name == "micropip":
            _install_layer(self)

    async def loadPackage(self, names: list[str]) -> None:
        """Load packages of the lock; raises ValueError with the reason why one cannot be loaded."""
        for name in names:
            await self._packages.load(name)
            if reason := self._packages.refusal(name):
                raise ValueError(reason)

    async def fetch_bytes(self, url: str, _options: dict[str, Any]) -> bytes:
        """Return a wheel of this origin or of the interpreter's own files (`emfs:`).

        Raises ValueError with the reason why it cannot be fetched.
        """
        if url.startswith("emfs:"):
            return Path(urlsplit(url).path).read_bytes()
        answer = await self._fetch_wheel(url)
        if isinstance(answer, str):
            raise ValueError(self._packages.stop_notice(url.rpartition("/")[2]) or answer)
        return bytes(answer.to_bytes())

    async def install(
        self, wheel: bytes, _name: str, folder: str, notes: dict[str, str] | None = None
    ) -> None:
        """Unpack a wheel that `fetch_bytes` returned."""
        unpack(wheel, Path(folder), notes or {})

    def to_js(self, value: Any, **_options: Any) -> Any:
        """Return `value` unchanged: what micropip passes on stays in Python."""
        return value


def _install_layer(layer: PageLayer) -> None:
    """Make micropip, which is installed by now, use `layer` when it is imported."""
    seam = ModuleType("micropip._compat", "micropip's compatibility layer for this page.")
    seam.__dict__.update(CompatibilityLayer=PageLayer, compatibility_layer=layer)
    sys.modules["micropip._compat"] = seam

    from micropip import package_index  # type: ignore[import-not-found]

    async def query_package(name: str, _indexes: object, **_options: object) -> NoReturn:
        """Raise ValueError instead of asking a package index, which cannot be reached."""
        entry = layer.lockfile_packages.get(name, {})
        raise ValueError(refusal_to_install(name, entry.get("version", "")))

    package_index.query_package = query_package

"""micropip as it is, with this page in the place of the internet.

micropip reaches everything outside itself through one object, its compatibility layer, and asks an
index for what no lock file names. Both are given here: wheels come from this origin only, and
whatever it does not serve is refused in words.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn
from urllib.parse import urlsplit

from pycell.missing import refusal_to_install
from pycell.packages import Packages
from pycell.wheels import unpack

FetchWheel = Callable[[str], Awaitable[Any]]


class Loaded:
    """What micropip has installed, by name: it sets attributes and asks for all of them."""

    def to_py(self) -> dict[str, str]:
        """Source of each package by its name."""
        return dict(vars(self))


class PageLayer:
    """What micropip asks of the place it runs in, in micropip's own names."""

    lockfile_base_url = None

    def __init__(self, lock: dict[str, Any], packages: Packages, fetch_wheel: FetchWheel) -> None:
        """Offer the packages of `lock`; `fetch_wheel(url)` gives bytes, or text with a refusal."""
        self.lockfile_info: dict[str, str] = lock["info"]
        self.lockfile_packages: dict[str, dict[str, Any]] = lock["packages"]
        self.loadedPackages = Loaded()
        self._packages = packages
        self._fetch_wheel = fetch_wheel

    def note_loaded(self, name: str) -> None:
        """Take note that a package of the lock is here now, micropip itself among them."""
        setattr(self.loadedPackages, name, "pyodide")
        if name == "micropip":
            _give_layer(self)

    async def loadPackage(self, names: list[str]) -> None:
        """Load packages of the lock; raises ValueError with the reason why one cannot be had."""
        for name in names:
            await self._packages.load(name)
            if reason := self._packages.refusal(name):
                raise ValueError(reason)

    async def fetch_bytes(self, url: str, _options: dict[str, Any]) -> bytes:
        """Bytes of a wheel of this origin or of the interpreter's own files (`emfs:`).

        Raises ValueError with the reason why there are none.
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
        """Unpack a wheel that `fetch_bytes` gave."""
        unpack(wheel, Path(folder), notes or {})

    def to_js(self, value: Any, **_options: Any) -> Any:
        """Leave everything as it is: what micropip hands over stays in Python."""
        return value


def _give_layer(layer: PageLayer) -> None:
    """Let micropip, which is installed by now, use `layer` when it is imported."""
    seam = ModuleType("micropip._compat", "What micropip asks of this page.")
    seam.__dict__.update(CompatibilityLayer=PageLayer, compatibility_layer=layer)
    sys.modules["micropip._compat"] = seam

    from micropip import package_index  # type: ignore[import-not-found]

    async def query_package(name: str, _indexes: object, **_options: object) -> NoReturn:
        """Stand for the package index, which is out of reach."""
        entry = layer.lockfile_packages.get(name, {})
        raise ValueError(refusal_to_install(name, entry.get("version", "")))

    package_index.query_package = query_package

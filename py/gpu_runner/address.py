"""The address of the server on this machine: `train` prints its run there, `plan --open` a plan.

A server writes it into its folder of runs, where only its owner can read it, and removes it when it
ends. The token is in the fragment, which browsers never send.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

import psutil

FILE: Final = ".address.json"
CONNECT_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server answers: its origin without a slash, its token, and its process."""

    origin: str
    token: str
    pid: int

    def front(self) -> str:
        """Return the address of the article."""
        return f"{self.origin}/#t={self.token}"

    def run(self, run_id: str) -> str:
        """Return the address of a run."""
        return f"{self.origin}/runs/?run={quote(run_id, safe='')}#t={self.token}"

    def plan(self, query: str) -> str:
        """Return the address of a plan; `query` is that of `unfrozen.planner`."""
        plan = f"planner?{query}" if query else "planner"
        return f"{self.origin}/planner/#t={self.token}&{plan}"


@contextmanager
def published(runs: Path, address: Address) -> Iterator[None]:
    """Keep the address in `runs` during the block; a folder that cannot be written has none."""
    file = runs / FILE
    with suppress(OSError):
        runs.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)  # its mode is that of whoever made it
        file.touch(0o600, exist_ok=False)
        file.write_text(json.dumps(asdict(address)), "utf-8")
    try:
        yield
    finally:
        if _read(runs) == address:  # another server may have taken its place
            with suppress(OSError):
                file.unlink()


def find(runs: Path) -> Address | None:
    """Return the address of the server of these runs; None where none answers."""
    address = _read(runs)
    if address is None or not psutil.pid_exists(address.pid):
        return None
    parts = urlsplit(address.origin)
    try:
        socket.create_connection((parts.hostname, parts.port), CONNECT_SECONDS).close()
    except OSError:
        return None
    return address


def _read(runs: Path) -> Address | None:
    try:
        found = json.loads((runs / FILE).read_text("utf-8"))
        return Address(str(found["origin"]), str(found["token"]), int(found["pid"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None

"""The address of the server on this machine: `train` prints its run there, `plan --open` a plan.

A server writes it into its folder of runs, where only its owner can read it, and removes it when it
ends. The token is in the fragment, which browsers never send.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

import psutil

from gpu_runner.atomic import remove_file, write_file
from unfrozen.plain import read_json

FILE: Final = ".address.json"
MOST_BYTES: Final = 4096
CONNECT_SECONDS: Final = 0.5
_ORIGIN: Final = re.compile(r"http://(127\.0\.0\.1|localhost|\[::1\]):[0-9]{1,5}", re.ASCII)
_TOKEN: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)


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
        write_file(file, json.dumps(asdict(address)), private=True)
    try:
        yield
    finally:
        if _read(runs) == address:  # another server may have taken its place
            with suppress(OSError):
                remove_file(file)


def find(runs: Path) -> Address | None:
    """Return the address of the server of these runs; None where none answers."""
    address = _read(runs)
    if address is None or not psutil.pid_exists(address.pid):
        return None
    try:
        parts = urlsplit(address.origin)
        socket.create_connection((parts.hostname, parts.port), CONNECT_SECONDS).close()
    except (OSError, ValueError):  # nobody answers, or it is no port
        return None
    return address


def _read(runs: Path) -> Address | None:
    """Return what the file holds; None where it is not the user's own, or of no such server."""
    try:
        found = Address(**read_json(runs / FILE, MOST_BYTES, own=True))
        fits = _ORIGIN.fullmatch(found.origin) and _TOKEN.fullmatch(found.token)
        return found if fits and type(found.pid) is int and 0 < found.pid < 2**31 else None
    except (OSError, ValueError, TypeError):
        return None

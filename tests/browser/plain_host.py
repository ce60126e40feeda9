"""A plain file host of a copy of the site, of which a test may break, slow down and mend parts."""

from __future__ import annotations

import functools
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PIECE_BYTES = 65_536
ISOLATION = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
}

NOT_KEPT = """async () => {
  const names = ["pyodide.asm.wasm", "pyodide.asm.js", "pyodide.js", "python_stdlib.zip"];
  const paths = [...names.map((name) => `pyodide/${name}`), "python/unfrozen.zip"];
  const kept = (path) => caches.match(new URL(path, document.baseURI));
  const found = await Promise.all(paths.map(kept));
  return paths.filter((_, place) => !found[place]);
}"""
"""What starts Python and the browser has not kept yet, which it does a while after it came."""


class Host(ThreadingHTTPServer):
    """Serves the site in `folder`, below a path; its attributes may change between two requests."""

    daemon_threads = True

    def __init__(self, root: Path, below: str = "") -> None:
        self.folder = root / below
        self.headers: dict[str, str] = {}
        self.slow: tuple[str, ...] = (".whl",)
        """Endings of the files that the next two are about."""
        self.pause_seconds = 0.0
        """Between two pieces of such a file."""
        self.breaks_after = 0
        """Bytes of it after which the line goes dead; 0 for never."""
        self.types: dict[str, str] = {}
        """Types by the ending of a file, where they are not as usual."""
        self.redirects: dict[str, str] = {}
        """Paths that lead to another address."""
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), functools.partial(Handler, directory=str(root)))
        self.url = f"http://127.0.0.1:{self.server_port}/{below}"

    def lose(self, name: str) -> None:
        """Take a file away, as an incomplete upload does."""
        (self.folder / name).rename(self.folder / f"{name}.lost")

    def find(self, name: str) -> None:
        """Bring it back."""
        (self.folder / f"{name}.lost").rename(self.folder / name)

    def wheel(self, name: str) -> Path:
        """The wheel of a package."""
        return next(self.folder.glob(f"pyodide/{name}-*.whl"))

    def asked_for_wheels(self) -> list[str]:
        """The packages whose wheels were asked for, in order."""
        names = [path.rsplit("/", 1)[-1] for path in self.asked if path.endswith(".whl")]
        return [name.split("-")[0] for name in names]

    def handle_error(self, *_: Any) -> None:
        """Say nothing about a browser that hung up."""


class Handler(SimpleHTTPRequestHandler):
    server: Host

    def do_GET(self) -> None:
        """Serve a file; a wheel as slowly, and as far, as the host is told to."""
        self.server.asked.append(self.path)
        if target := self.server.redirects.get(self.path):
            self.send_response(302)
            self.send_header("Location", target)
            return self.end_headers()
        slow = self.server.pause_seconds or self.server.breaks_after
        if not (self.path.endswith(self.server.slow) and slow):
            super().do_GET()
        elif (source := self.send_head()) is not None:
            with source:
                self.drip(source.read())
        return None

    def guess_type(self, path: str) -> str:  # type: ignore[override]
        """Give a file the type that the host is told to."""
        return self.server.types.get(Path(path).suffix) or super().guess_type(path)

    def drip(self, data: bytes) -> None:
        """Send a body piece by piece."""
        end = self.server.breaks_after or len(data)
        for start in range(0, end, PIECE_BYTES):
            self.wfile.write(data[start : min(start + PIECE_BYTES, end)])
            self.wfile.flush()
            time.sleep(self.server.pause_seconds)

    def end_headers(self) -> None:
        """Keep nothing in caches, and add the headers under test."""
        self.send_header("Cache-Control", "no-store")
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def hosted(site: Path, folder: Path, below: str = "") -> Iterator[Host]:
    """Serve a copy of `site` in `folder`, below a path, while the block runs."""
    shutil.copytree(site, folder / below)
    with Host(folder, below) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()

"""Node for the pure renderers; for browsers, a gallery of baked figures under the site's rules."""

import functools
import http.server
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Browser, Page

import build
from conftest import watched_page
from site_builder.assets import style_sheet
from unfrozen.schema import page_schema
from widgets.node import HERE, Node

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; "
    "img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'"
)


@pytest.fixture(scope="session")
def node() -> Iterator[Node]:
    """One Node process, ended with the session."""
    running = Node()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def opened(chromium: Browser) -> Iterator[Page]:
    """One page for the tests of a module: it keeps the files of the gallery."""
    with watched_page(chromium.new_context()) as found:
        yield found


@pytest.fixture
def page(opened: Page) -> Page:
    """The same, as wide as at first and with no pointer over it; a test opens what it looks at."""
    opened.set_viewport_size({"width": 1280, "height": 720})
    opened.mouse.move(0, 0)
    return opened


class PolicyHandler(http.server.SimpleHTTPRequestHandler):
    """Files under the content security policy of the site."""

    def end_headers(self) -> None:
        """Add the policy to every answer."""
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("Cache-Control", "max-age=3600")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test output quiet."""


@pytest.fixture(scope="session")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a page with every example baked in and the widgets loaded."""
    folder = tmp_path_factory.mktemp("gallery")
    known = {**os.environ, "EVENT_SCHEMA": json.dumps(page_schema())}
    command = ["node", str(HERE / "gallery.mjs")]
    printed = subprocess.run(command, capture_output=True, check=True, env=known)
    (folder / "index.html").write_bytes(printed.stdout)
    (folder / "style.css").write_text(style_sheet(top="/web/style"))
    (folder / "gallery.css").write_text("main { max-width: 680px; margin: auto; padding: 0 16px }")
    names = ("tables/data-table", "plots/data-plot")
    (folder / "gallery.js").write_text("".join(f'import "/web/{n}.js";' for n in names))
    for name in ("web", "node_modules"):
        (folder / name).symlink_to(Path(build.ROOT) / name, target_is_directory=True)
    handler = functools.partial(PolicyHandler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()
    thread.join()

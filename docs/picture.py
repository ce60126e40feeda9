"""Take the README's picture of the page: `.venv/bin/python docs/picture.py` after a build.

Opens `dist/` from a loopback file server in the Chromium that the tests use and photographs
the first recorded run on the page of runs.
"""

from __future__ import annotations

import argparse
import functools
import os
import shutil
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parent.parent
BELOW_THE_BAR = """(view) => scrollBy({
  top: view.getBoundingClientRect().top - 54, behavior: "instant" })"""
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


class Quiet(SimpleHTTPRequestHandler):
    """The standard file handler without its line for each request."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def main() -> None:
    """Write docs/page.png, 1280 × 1280 pixels."""
    handler = functools.partial(Quiet, directory=str(ROOT / "dist"))
    browser_path = os.environ.get("UNFROZEN_CHROMIUM") or shutil.which("chromium")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, sync_playwright() as player:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser = player.chromium.launch(executable_path=browser_path, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 1280}, color_scheme="light")
        page.goto(f"http://127.0.0.1:{server.server_port}/runs/?recording=demo.jsonl")
        view = page.locator("run-view[data-state=finished]")
        view.locator("canvas").first.wait_for()
        page.wait_for_timeout(1000)
        view.evaluate(BELOW_THE_BAR)
        page.wait_for_timeout(1000)
        page.screenshot(path=ROOT / "docs" / "page.png")
        browser.close()
        server.shutdown()


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    main()

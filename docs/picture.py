"""Take the pictures of the pages: `.venv/bin/python docs/picture.py` after a build.

Opens `dist/` from a loopback file server in the Chromium that the tests use and photographs the
first recorded run for the README, and each page of the bar for previews of links to it.
"""

from __future__ import annotations

import argparse
import functools
import io
import os
import shutil
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parent.parent
BELOW_THE_BAR = """(view) => scrollBy({
  top: view.getBoundingClientRect().top - 54, behavior: "instant" })"""
DOORS = {  # by name: the address, and what stands at the top of the picture
    "article": ("", ".masthead"),
    "planner": ("planner/", ".masthead"),
    "runs": ("runs/?recording=demo.jsonl", ".run-head-slot"),
    "accuracy": ("accuracy/", ".accuracy-frame"),
    "docs": ("docs/", ".masthead"),
}
COLOURS = 64  # a third of the bytes
HEADLESS = "chromium-headless-shell"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


class Quiet(SimpleHTTPRequestHandler):
    """The standard file handler without its line for each request."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def main() -> None:
    """Write docs/page.png, 1280 × 1280 pixels, and web/pictures, 1200 × 630 each."""
    handler = functools.partial(Quiet, directory=str(ROOT / "dist"))
    browser_path = os.environ.get("UNFROZEN_CHROMIUM") or shutil.which(HEADLESS)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, sync_playwright() as player:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser = player.chromium.launch(executable_path=browser_path, args=FLAGS)
        look = {"viewport": {"width": 1280, "height": 1280}, "color_scheme": "light"}
        page = browser.new_page(**look, bypass_csp=True)
        site = f"http://127.0.0.1:{server.server_port}/"
        take_run(page, site)
        page.set_viewport_size({"width": 1200, "height": 630})
        for name, (path, top) in DOORS.items():
            page.goto(site + path)
            page.add_style_tag(content=".top-bar { display: none !important }")
            page.wait_for_timeout(2500)
            page.locator(top).first.evaluate(
                "(e) => scrollBy(0, e.getBoundingClientRect().top - 8)"
            )
            page.wait_for_timeout(500)
            drawn = Image.open(io.BytesIO(page.screenshot())).convert("RGB").quantize(COLOURS)
            drawn.save(ROOT / "web" / "pictures" / f"{name}.png", optimize=True)
        browser.close()
        server.shutdown()


def take_run(page: Page, site: str) -> None:
    """Write docs/page.png."""
    page.goto(f"{site}runs/?recording=demo.jsonl")
    view = page.locator("run-view[data-state=finished]")
    view.locator("canvas").first.wait_for()
    page.wait_for_timeout(1000)
    view.evaluate(BELOW_THE_BAR)
    page.wait_for_timeout(1000)
    page.screenshot(path=ROOT / "docs" / "page.png")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    main()

"""The built page in Chromium, for benches that measure what a reader waits for."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Page, sync_playwright

import build
from conftest import CHROMIUM_FLAGS, wait_for
from run_process import free_port


@contextmanager
def new_page() -> Iterator[tuple[Page, str]]:
    """A blank page, and the address of the built site behind a plain file server."""
    site, port, quiet = build.site(), free_port(), subprocess.DEVNULL
    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
    command += ["--directory", str(site)]
    with subprocess.Popen(command, stdout=quiet, stderr=quiet) as host, sync_playwright() as player:
        try:
            url = f"http://127.0.0.1:{port}/"
            wait_for(url)
            program = str(build.chromium())
            browser = player.chromium.launch(executable_path=program, args=CHROMIUM_FLAGS)
            page = browser.new_page()
            page.set_default_timeout(120_000)
            yield page, url
            browser.close()
        finally:
            host.terminate()

"""What a first visit fetches before Python, file by file, after brotli."""

import subprocess
import sys
import time
from urllib.error import URLError
from urllib.request import urlopen

from playwright.sync_api import sync_playwright

import build
from tests.bench import Ratio, show
from tests.house.weight import BUDGET_BYTES, brotli_bytes, fetched_paths

PORT = 8799


def main() -> None:
    """Visit the built site behind a plain file server and weigh what the browser asked for."""
    site, url = build.site(), f"http://127.0.0.1:{PORT}/"
    server = [sys.executable, "-m", "http.server", str(PORT), "--bind", "127.0.0.1"]
    quiet = subprocess.DEVNULL
    with subprocess.Popen([*server, "--directory", str(site)], stdout=quiet, stderr=quiet) as host:
        wait_for(url)
        with sync_playwright() as playwright:
            flags = ["--no-sandbox", "--disable-gpu"]
            program = str(build.chromium())
            browser = playwright.chromium.launch(executable_path=program, args=flags)
            sizes = brotli_bytes(site, fetched_paths(browser.new_page(), url))
            browser.close()
        host.terminate()
    rows = [Ratio(name, size, BUDGET_BYTES, "B") for name, size in sizes.items()]
    rows.append(Ratio("first visit", sum(sizes.values()), BUDGET_BYTES, "B"))
    show("page weight", "the budget of 350 kB", rows)


def wait_for(url: str) -> None:
    """Return once the server answers, at most ten seconds from now."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            urlopen(url, timeout=1).close()
            return
        except URLError:
            time.sleep(0.05)
    raise TimeoutError(f"nothing answers at {url} within 10 s; is the port taken?")


if __name__ == "__main__":
    main()

"""What a first visit fetches before Python, file by file, after brotli."""

import subprocess
import sys

from playwright.sync_api import sync_playwright

import build
from conftest import CHROMIUM_FLAGS, free_port, wait_for
from house.weight import BUDGET_BYTES, brotli_bytes, fetched_paths
from tests.bench import Ratio, show


def main() -> None:
    """Visit the built site behind a plain file server and weigh what the browser asked for."""
    site, port, quiet = build.site(), free_port(), subprocess.DEVNULL
    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
    command += ["--directory", str(site)]
    with subprocess.Popen(command, stdout=quiet, stderr=quiet) as host:
        url = f"http://127.0.0.1:{port}/"
        wait_for(url)
        with sync_playwright() as playwright:
            program = str(build.chromium())
            browser = playwright.chromium.launch(executable_path=program, args=CHROMIUM_FLAGS)
            sizes = brotli_bytes(site, fetched_paths(browser.new_page(), url))
            browser.close()
        host.terminate()
    rows = [Ratio(name, size, BUDGET_BYTES, "B") for name, size in sizes.items()]
    rows.append(Ratio("first visit", sum(sizes.values()), BUDGET_BYTES, "B"))
    show("page weight", "the budget of 350 kB", rows)


if __name__ == "__main__":
    main()

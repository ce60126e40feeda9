"""Python in the page beside a stock page of the same Pyodide, in Chromium, in one run.

Each reader has a browser's profile of their own, on disk, and comes back to it for a second visit.
A stock page calls `loadPyodide()` on its main thread and runs one line. What a tab holds is what
the browser itself counts, once every cell has run; that needs a browser with windows.
"""

from __future__ import annotations

import functools
import http.server
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import Any

from playwright.sync_api import BrowserContext, Page, Playwright, sync_playwright

import build
from tests.bench import Ratio, show

VISITS = 5
STOCK = """<!doctype html><title>stock</title><script type="module">
import { loadPyodide } from "./pyodide.mjs";
window.boot = async () => {
  const start = performance.now();
  const pyodide = await loadPyodide();
  if (pyodide.runPython("6 * 7") !== 42) throw new Error("no answer");
  return performance.now() - start;
};
window.ready = true;
</script>"""
LINE = """const cell = document.querySelector("live-cell");
  const run = async (before = () => {}) => {
    cell.code = "6 * 7";
    const start = performance.now();
    before();
    const { value } = await cell.run();
    if (value !== "42") throw new Error(value);
    return performance.now() - start;
  };"""
RUN = f"async () => {{ {LINE} return run(); }}"
RESTART = f"""async () => {{
  {LINE}
  return run(() => document.querySelector(".python-restart").click());
}}"""
KILL = f"""async () => {{
  {LINE}
  cell.code = "print('begun', flush=True)\\nsum(range(10**15))"; // no step of Python in it
  const long = cell.run();
  const rest = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  while (!cell.querySelector(".cell-output").textContent.includes("begun")) await rest(10);
  await rest(1000); // nobody stops a run sooner
  cell.stop();
  if (!(await long).cleared) throw new Error("it was not killed");
  return run();
}}"""
PLAN = """async () => {
  const planner = document.querySelector("memory-planner");
  const start = performance.now();
  planner.querySelector("[data-preset=qlora]").click();
  const rest = () => new Promise((resolve) => setTimeout(resolve, 1));
  while (planner.dataset.standing !== "live") await rest();
  return performance.now() - start;
}"""
BARS = {
    "first output": 0.33,
    "after a pointer rested on the cell for a second": 0.33,
    "on a second visit": 0.2,
    "the planner's first answer": 0.35,
}
HELD = """async () => {
  for (const cell of document.querySelectorAll("live-cell")) await cell.run();
  return (await performance.measureUserAgentSpecificMemory()).bytes / 1e6;
}"""
TAB_MEGABYTES = 300.0
MILLISECONDS = {"a pristine interpreter": 150.0, "after a Stop that had to kill": 300.0}


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A plain file server that tells browsers to keep files, as hosts do."""

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def copyfile(self, *files: Any) -> None:
        """Send a file, unless the browser has gone."""
        with suppress(ConnectionError):
            super().copyfile(*files)

    def end_headers(self) -> None:
        """Let a browser keep what it was sent, for a while."""
        self.send_header("Cache-Control", "max-age=600")
        super().end_headers()


class Isolated(Quiet):
    """One whose pages share a process with no others, so that their memory can be told."""

    def end_headers(self) -> None:
        """Isolate every page."""
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()


@contextmanager
def served(folder: Path, host: type[Quiet] = Quiet) -> Iterator[str]:
    """The address of a folder."""
    handler = functools.partial(host, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


def profile(player: Playwright, folder: Path) -> BrowserContext:
    """A browser with this profile, as a reader starts it."""
    return player.chromium.launch_persistent_context(
        str(folder),
        executable_path=str(build.chromium()),
        args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
    )


def visit(context: BrowserContext, url: str, ready: str) -> Page:
    """A new page at an address, once what it needs is there."""
    page = context.new_page()
    page.goto(url)
    page.locator(ready).first.wait_for(state="attached")
    page.wait_for_timeout(500)
    return page


def seconds(page: Page, work: str) -> float:
    """How long the page's own clock says that it took."""
    return float(page.evaluate(work)) / 1000


def measure(player: Playwright, site: str, stock: str, took: dict[str, list[float]]) -> None:
    """One reader's two visits to each page, from two fresh profiles."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("stock", "stock again"):
            context = profile(player, Path(folder, "stock"))
            took[name].append(seconds(visit(context, stock, "title"), "() => boot()"))
            context.close()
        for name in ("first output", "on a second visit"):
            context = profile(player, Path(folder, "reader"))
            page = visit(context, site, "python-status[data-phase]")
            took[name].append(seconds(page, RUN))
            page.wait_for_timeout(1000)  # a reader stays; the browser keeps what started Python
            if name == "on a second visit":
                took["a pristine interpreter"].append(seconds(page, RESTART))
                took["after a Stop that had to kill"].append(seconds(page, KILL))
            context.close()
        context = profile(player, Path(folder, "resting"))
        page = visit(context, site, "python-status[data-phase]")
        page.locator("live-cell .cell-source").first.hover()
        page.wait_for_timeout(1000)
        took["after a pointer rested on the cell for a second"].append(seconds(page, RUN))
        context.close()
        context = profile(player, Path(folder, "planner"))
        page = visit(context, f"{site}planner/", "memory-planner[data-standing=baked]")
        took["the planner's first answer"].append(seconds(page, PLAN))
        context.close()


def tab_megabytes(player: Playwright) -> float | None:
    """What the article's tab holds after all its cells; None without a browser that has windows."""
    program = next(filter(None, map(shutil.which, build.CHROMIUM_NAMES)), None)
    if program is None:
        return None
    with served(build.site(), Isolated) as site:
        browser = player.chromium.launch(
            executable_path=program,
            args=["--no-sandbox", "--disable-gpu", "--site-per-process"],
            ignore_default_args=["--disable-site-isolation-trials"],
        )
        page = browser.new_page()
        page.goto(site)
        page.locator("python-status[data-phase]").wait_for(state="attached")
        held = float(page.evaluate(HELD))
        browser.close()
    return held


def main() -> None:
    """Visit by turns and compare."""
    took: dict[str, list[float]] = {
        name: [] for name in ("stock", "stock again", *BARS, *MILLISECONDS)
    }
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as player:
        runtime = Path(folder, "stock")
        shutil.copytree(build.ROOT / "node_modules" / "pyodide", runtime)
        (runtime / "index.html").write_text(STOCK, "utf-8")
        with served(build.site()) as site, served(runtime) as stock:
            for _ in range(VISITS):
                measure(player, site, stock, took)
        held = tab_megabytes(player)
    middle = {name: median(values) for name, values in took.items()}
    again = {"on a second visit": "stock again"}
    show(
        "Python in the page",
        "a stock page of the same Pyodide, on the same visit",
        [Ratio(name, middle[name], middle[again.get(name, "stock")], "s") for name in BARS],
    )
    print("  bars: " + ", ".join(f"{name} {bar}" for name, bar in BARS.items()))
    rows = [Ratio(name, 1000 * middle[name], bar, "ms") for name, bar in MILLISECONDS.items()]
    show("Python anew", "its bar", rows)
    if held is not None:
        tab = Ratio("the article after every cell", held, TAB_MEGABYTES, "MB")
        show("What a tab holds", "its bar", [tab])


if __name__ == "__main__":
    main()

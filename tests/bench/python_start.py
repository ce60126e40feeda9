"""From the first Run to its result, with bytecode beside the sources and without, in Chromium."""

import io
import zipfile
from functools import partial
from statistics import median

from playwright.sync_api import Browser, Route

import build
from tests.bench import Ratio, show
from tests.bench.browser import new_page

VISITS = 5
ARCHIVES = ("pyodide/python_stdlib.zip", "python/unfrozen.zip")
RUN = """async () => {
  const cell = document.querySelector("live-cell");
  cell.code = "6 * 7";
  const start = performance.now();
  const { value } = await cell.run();
  if (value !== "42") throw new Error(value);
  return performance.now() - start;
}"""


def sources_alone(archive: bytes) -> bytes:
    """The archive as it would be if nothing were compiled before."""
    target = io.BytesIO()
    given = zipfile.ZipFile(io.BytesIO(archive))
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as out:
        for name in given.namelist():
            if not name.endswith(".pyc"):
                out.writestr(name, given.read(name))
    return target.getvalue()


def first_run(browser: Browser, url: str, archives: dict[str, bytes]) -> float:
    """Seconds of a first visitor's first Run, who is handed these archives."""
    page = browser.new_page()
    for name, data in archives.items():
        page.route(f"**/{name}", partial(Route.fulfill, body=data))
    page.goto(url)
    page.locator("python-status[data-phase]").wait_for()
    took = float(page.evaluate(RUN)) / 1000
    page.close()
    return took


def main() -> None:
    """Visit by turns and compare; the bytes that it costs beside it."""
    compiled = {name: (build.site() / name).read_bytes() for name in ARCHIVES}
    plain = {name: sources_alone(data) for name, data in compiled.items()}
    took: dict[str, list[float]] = {"with": [], "without": []}
    with new_page() as (page, url):
        browser = page.context.browser
        assert browser
        for _ in range(VISITS):
            took["with"].append(first_run(browser, url, compiled))
            took["without"].append(first_run(browser, url, plain))
    row = Ratio("first Run to its result", median(took["with"]), median(took["without"]), "s")
    show("start of Python with bytecode", "without", [row])
    more = sum(map(len, compiled.values())) - sum(map(len, plain.values()))
    print(f"  bytes more to fetch: {more / 1e6:.2f} MB")


if __name__ == "__main__":
    main()

"""The page of runs beside one second: its first content with 200 runs, and a run of 100,000 steps.

    python3 build.py bench runs

A real server and real logs. The first content is the list and the newest run, drawn; the long run
is whole when its curve reaches its last step.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from statistics import median

from playwright.sync_api import Page, sync_playwright

import build
from browser.door import door
from browser.run_reader import write, written
from conftest import CHROMIUM_FLAGS, Server
from tests.bench import Ratio, show

RUNS, STEPS, VISITS = 200, 100_000, 5
BAR_SECONDS = 1.0
LISTED = """(runs) => {
  const options = document.querySelectorAll("run-chooser label:first-of-type option");
  return options.length >= runs && document.querySelector("run-view .run-stage[data-range] canvas")
    ? performance.now() / 1000 : 0;
}"""
OPENED = """async ([id, steps]) => {
  const select = document.querySelector("run-chooser select");
  const start = performance.now();
  select.value = `live:${id}`;
  select.dispatchEvent(new Event("change", { bubbles: true }));
  const stage = document.querySelector("run-view .run-stage");
  while (stage.dataset.range !== `0 ${steps}`) await new Promise((next) => setTimeout(next));
  return (performance.now() - start) / 1000;
}"""


def write_runs(runs: Path) -> str:
    """Write RUNS finished runs, the oldest of STEPS steps; returns the oldest's id."""
    with write(runs, "long", "--steps", f"{STEPS}", "--end", "finished") as writer:
        writer.wait()
    log = written(runs, "short0", "--steps", "100", "--end", "finished")
    for number in range(1, RUNS - 1):
        copy = runs / f"short{number}"
        shutil.copytree(log.parent, copy)
        text = (copy / "events.jsonl").read_text("utf-8")
        (copy / "events.jsonl").write_text(text.replace('"short0"', f'"{copy.name}"'), "utf-8")
    return "long"


def visit(page: Page, url: str, long: str) -> tuple[float, float]:
    """Seconds until the first content of a visit, and from the choice of `long` to its end."""
    page.goto(door(url, "runs"))
    first = page.wait_for_function(LISTED, arg=RUNS).json_value()
    return first, page.evaluate(OPENED, [long, STEPS])


def main() -> int:
    """Visit the page by turns; 1 where it misses the bar."""
    with tempfile.TemporaryDirectory() as place, sync_playwright() as player:
        runs = Path(place) / "runs"
        runs.mkdir(mode=0o700)
        long = write_runs(runs)
        server = Server(site=build.site(), runs=runs, log=Path(place) / "server.log")
        server.start()
        program = str(build.chromium())
        browser = player.chromium.launch(executable_path=program, args=CHROMIUM_FLAGS)
        try:
            found = [
                visit(browser.new_context().new_page(), server.url, long) for _ in range(VISITS)
            ]
        finally:
            browser.close()
            server.stop()
    contents, opens = map(list, zip(*found, strict=True))
    rows = [
        Ratio(f"first content, {RUNS} runs", median(contents), BAR_SECONDS, "s"),
        Ratio(f"a run of {STEPS:,} steps", median(opens), BAR_SECONDS, "s"),
    ]
    show(f"the page of runs, median of {VISITS}", "its bar", rows)
    return int(any(row.value > row.baseline for row in rows))


if __name__ == "__main__":
    sys.exit(main())

"""The page of runs beside its bars: its first content, a long run, and eight of them compared.

    python3 build.py bench runs

A real server and real logs. The first content is the list and the newest run, drawn; the long run
is whole when its curve reaches its last step. The first picture of a comparison has the curves of
all eight runs to their last step; its cursor is moved over the whole logs. A letter of a search is
the slowest of one word typed into the list.
"""

from __future__ import annotations

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

RUNS, STEPS, VISITS, COMPARED, MOVES = 2000, 100_000, 5, 8, 50
FIRST_RUNS = 50
BAR_SECONDS, PICTURE_SECONDS, CURSOR_SECONDS, LETTER_SECONDS = 1.0, 1.5, 0.016, 0.05
LISTED = """(runs) => {
  const list = document.querySelector("run-list");
  const rows = list?.querySelectorAll("tbody tr[data-key^='live:']").length ?? 0;
  const told = Number.parseInt(list?.querySelector("output").value ?? "");
  const drawn = document.querySelector("run-view .run-stage[data-range] canvas");
  return rows >= 50 && told >= runs && drawn ? performance.now() / 1000 : 0;
}"""
OPENED = """async ([id, steps]) => {
  const search = document.querySelector("run-list input[type=search]");
  search.value = id;
  search.dispatchEvent(new Event("input", { bubbles: true }));
  const name = () => document.querySelector(`run-list tr[data-key="live:${id}"] a`);
  while (!name()) await new Promise((next) => setTimeout(next)); // until its log has been read
  const start = performance.now();
  name().click();
  const stage = document.querySelector("run-view .run-stage");
  while (stage.dataset.range !== `0 ${steps}`) await new Promise((next) => setTimeout(next));
  return (performance.now() - start) / 1000;
}"""
TYPED = """async () => {
  const search = document.querySelector("run-list input[type=search]");
  let slowest = 0;
  for (const text of ["s", "sh", "sho", "shor", "short1", "short19", ""]) {
    await new Promise((next) => requestAnimationFrame(next));
    const start = performance.now();
    search.value = text;
    search.dispatchEvent(new Event("input", { bubbles: true }));
    document.body.getBoundingClientRect(); // laid out
    slowest = Math.max(slowest, performance.now() - start);
  }
  return slowest / 1000;
}"""
COMPARISON = """([runs, steps]) => {
  const chart = document.querySelector("run-compare run-chart");
  const isWhole = ({ label, x }) => /^run \\d+$/.test(label) && x.at(-1) === steps;
  const lines = chart?.chart?.lines.filter(isWhole);
  const isDrawn = chart?.querySelector(".run-stage").dataset.range === `0 ${steps}`;
  return lines?.length === runs && isDrawn ? performance.now() / 1000 : 0;
}"""
WHOLE = """([runs, steps]) => document.querySelector("run-compare run-chart").chart.lines
  .filter(({ x }) => x.length >= steps).length === runs"""
MOVED = """async (moves) => {
  const over = document.querySelector("run-compare .u-over");
  const box = over.getBoundingClientRect();
  const took = [];
  for (let move = 0; move < moves; move += 1) {
    const [clientX, clientY] = [box.left + (box.width * (move + 0.5)) / moves, box.top + 40];
    const start = performance.now();
    for (const type of ["pointermove", "mousemove"]) {
      const Kind = type === "pointermove" ? PointerEvent : MouseEvent;
      over.dispatchEvent(new Kind(type, { clientX, clientY, movementX: 1, bubbles: true }));
    }
    took.push((performance.now() - start) / 1000);
    await new Promise(requestAnimationFrame);
  }
  const read = document.querySelectorAll("run-compare .run-readout:not(:empty)").length;
  return read > 1 ? took.sort((a, b) => a - b)[Math.floor(moves * 0.95)] : 1;
}"""


def write_runs(runs: Path) -> list[str]:
    """Write RUNS finished runs, the oldest of STEPS steps; returns the ids of these."""
    long = [f"long{number}" for number in range(COMPARED)]
    with write(runs, long[0], "--steps", f"{STEPS}", "--end", "finished") as writer:
        writer.wait()
    copies(runs, long)
    written(runs, "short0", "--steps", "100", "--end", "finished")
    copies(runs, [f"short{number}" for number in range(RUNS - COMPARED)])
    return long


def copies(runs: Path, names: list[str]) -> None:
    """Copy the first run under the other names."""
    text = (runs / names[0] / "events.jsonl").read_text("utf-8")
    for name in names[1:]:
        (runs / name).mkdir(mode=0o700)
        (runs / name / "events.jsonl").write_text(
            text.replace(f'"{names[0]}"', f'"{name}"'), "utf-8"
        )


def compare(page: Page, url: str, long: list[str]) -> tuple[float, float]:
    """Seconds until the first picture of a comparison, and of a move of its cursor (p95)."""
    page.goto(door(url, "runs").replace("#", f"?compare={','.join(long)}#"))
    first = page.wait_for_function(COMPARISON, arg=[len(long), STEPS]).json_value()
    page.wait_for_function(WHOLE, arg=[len(long), STEPS], timeout=300_000)
    page.wait_for_timeout(1000)  # drawn
    return first, page.evaluate(MOVED, MOVES)


def visit(page: Page, url: str, long: str, told: int = RUNS) -> tuple[float, float, float]:
    """Seconds until `told` runs are listed, of a letter typed, and from `long` to its end."""
    page.goto(door(url, "runs"))
    first = page.wait_for_function(LISTED, arg=told).json_value()
    return first, page.evaluate(TYPED), page.evaluate(OPENED, [long, STEPS])


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
                visit(browser.new_context().new_page(), server.url, long[0], told)
                for told in (FIRST_RUNS, *[RUNS] * VISITS)  # at first not all have been read
            ]
            compared = [
                compare(browser.new_context().new_page(), server.url, long) for _ in range(3)
            ]
        finally:
            browser.close()
            server.stop()
    contents, letters, opens = map(list, zip(*found, strict=True))
    pictures, moves = map(list, zip(*compared, strict=True))
    rows = [
        Ratio(f"first content, {RUNS:,} runs", median(contents[1:]), BAR_SECONDS, "s"),
        Ratio("the newest, at once after the server", contents[0], BAR_SECONDS, "s"),
        Ratio("the slowest letter of a search", median(letters), LETTER_SECONDS, "s"),
        Ratio(f"a run of {STEPS:,} steps", median(opens), BAR_SECONDS, "s"),
        Ratio(f"first picture of {COMPARED} such runs", median(pictures), PICTURE_SECONDS, "s"),
        Ratio("a move of their cursor, p95", median(moves), CURSOR_SECONDS, "s"),
    ]
    show(f"the page of runs, median of {VISITS}", "its bar", rows)
    return int(any(row.value > row.baseline for row in rows))


if __name__ == "__main__":
    sys.exit(main())

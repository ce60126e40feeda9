"""What 10,000 points on four lines cost the reader's main thread: drawing and pointing."""

import functools
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from statistics import median

from playwright.sync_api import sync_playwright

import build
from site_builder.assets import style_sheet
from tests.bench import Ratio, show

POINTS, LINES, ROUNDS = 10_000, 4, 15
DRAW_BUDGET_MILLISECONDS = 50.0
POINT_BUDGET_MILLISECONDS = 16.0
PAGE = f"""<!doctype html><style>{style_sheet("/web/style")}</style>
<main class="article"><data-plot></data-plot></main>
<script type="module" src="/web/plots/data-plot.js"></script>"""
MEASURE = """async ({ points, lines, rounds }) => {
  await customElements.whenDefined("data-plot");
  const plot = document.querySelector("data-plot");
  const wave = (line) => (_, index) => Math.sin(index / 300 + line) + ((index * 7919) % 101) / 200;
  const data = {
    title: "Bench", x_label: "Step", y_label: "Loss",
    x_data: Array.from({ length: points }, (_, index) => index),
    lines: Array.from({ length: lines }, (_, line) => (
      { label: `Line ${line}`, data: Array.from({ length: points }, wave(line)) })),
  };
  const timed = (act) => {
    const start = performance.now();
    act();
    plot.getBoundingClientRect();
    return performance.now() - start;
  };
  const draws = Array.from({ length: rounds }, () => timed(() => { plot.data = data; }));
  const stage = plot.querySelector(".plot-picture");
  const box = stage.getBoundingClientRect();
  const at = (clientX) => ({ bubbles: true, clientX, clientY: 99 });
  const move = (x) => new PointerEvent("pointermove", at(x));
  const moves = Array.from({ length: rounds }, (_, index) =>
    timed(() => stage.dispatchEvent(move(box.x + 80 + index * 20))));
  return [draws, moves];
}"""


class QuietHandler(SimpleHTTPRequestHandler):
    """Files of the repository, without a log."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def measure() -> tuple[list[float], list[float]]:
    """Milliseconds of each drawing and of each move of the pointer, layout included."""
    handler = functools.partial(QuietHandler, directory=str(build.ROOT))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, sync_playwright() as playwright:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        flags = ["--no-sandbox", "--disable-gpu"]
        program = str(build.chromium())
        browser = playwright.chromium.launch(executable_path=program, args=flags)
        page = browser.new_page(viewport={"width": 760, "height": 900})
        url = f"http://127.0.0.1:{server.server_address[1]}/"
        page.route(url, lambda route: route.fulfill(body=PAGE, content_type="text/html"))
        page.goto(url, wait_until="networkidle")
        sizes = {"points": POINTS, "lines": LINES, "rounds": ROUNDS}
        draws, points = page.evaluate(MEASURE, sizes)
        browser.close()
        server.shutdown()
    return draws, points


def main() -> None:
    """Measure in Chromium and compare with the budgets."""
    draws, points = measure()
    rows = [
        Ratio("first drawing", draws[0], DRAW_BUDGET_MILLISECONDS, "ms"),
        Ratio("drawing, median", median(draws), DRAW_BUDGET_MILLISECONDS, "ms"),
        Ratio("pointing, median", median(points), POINT_BUDGET_MILLISECONDS, "ms"),
    ]
    show(f"plot, {POINTS:,} points × {LINES} lines", "its budget", rows)


if __name__ == "__main__":
    main()

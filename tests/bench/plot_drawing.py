"""What 10,000 points on four lines cost the reader's main thread: drawing and pointing."""

from statistics import median

from tests.bench import Ratio, show
from tests.bench.browser import new_page

POINTS, LINES, ROUNDS = 10_000, 4, 15
DRAW_BUDGET_MILLISECONDS = 50.0
POINT_BUDGET_MILLISECONDS = 16.0
MEASURE = """async ({ points, lines, rounds }) => {
  await customElements.whenDefined("data-plot");
  const plot = document.createElement("data-plot");
  document.querySelector("main").prepend(plot);
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


def main() -> None:
    """Measure in Chromium and compare with the budgets."""
    with new_page() as (page, url):
        page.set_viewport_size({"width": 760, "height": 900})
        page.goto(url, wait_until="networkidle")
        sizes = {"points": POINTS, "lines": LINES, "rounds": ROUNDS}
        draws, points = page.evaluate(MEASURE, sizes)
    rows = [
        Ratio("first drawing", draws[0], DRAW_BUDGET_MILLISECONDS, "ms"),
        Ratio("drawing, median", median(draws), DRAW_BUDGET_MILLISECONDS, "ms"),
        Ratio("pointing, median", median(points), POINT_BUDGET_MILLISECONDS, "ms"),
    ]
    show(f"plot, {POINTS:,} points × {LINES} lines", "its budget", rows)


if __name__ == "__main__":
    main()

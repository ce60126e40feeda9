"""From a move of the planner's slider to its redrawn figures, in Chromium, Python being up."""

from statistics import median, quantiles

from playwright.sync_api import Page

from tests.bench import Ratio, show
from tests.bench.browser import new_page

MOVES = 120
REDRAW_BUDGET_MILLISECONDS = 50.0
LONGEST_TASK_MILLISECONDS = 50.0
DRAG = """async (moves) => {
  const planner = document.querySelector("memory-planner");
  const slider = planner.querySelector("[data-slides=seq_len]");
  const frame = () => new Promise(requestAnimationFrame);
  const tasks = [];
  new PerformanceObserver((list) => tasks.push(...list.getEntries().map((e) => e.duration)))
    .observe({ type: "longtask" });
  const took = [];
  for (let move = 0; move < moves; move += 1) {
    const before = planner.view;
    const start = performance.now();
    slider.value = String(5 + (move % 9));
    slider.dispatchEvent(new Event("input", { bubbles: true }));
    while (planner.view === before) await new Promise((resolve) => setTimeout(resolve));
    planner.getBoundingClientRect();
    took.push(performance.now() - start);
    await frame();
  }
  return { took, longest: Math.max(0, ...tasks) };
}"""
STARTED = """async () => {
  const planner = document.querySelector("memory-planner");
  const slider = planner.querySelector("[data-slides=seq_len]");
  const start = performance.now();
  slider.value = String(Number(slider.value) + 1);
  slider.dispatchEvent(new Event("input", { bubbles: true }));
  while (planner.dataset.standing !== "live") await new Promise((resolve) => setTimeout(resolve));
  return performance.now() - start;
}"""


def measure(page: Page, url: str) -> tuple[float, list[float], float]:
    """Milliseconds of the first answer, of each redraw, and of the longest task on the page."""
    page.goto(url)
    page.locator("memory-planner").scroll_into_view_if_needed()
    page.locator("memory-planner[data-standing=baked]").wait_for()
    first = page.evaluate(STARTED)
    page.locator("memory-planner:not([data-waits])").wait_for()
    found = page.evaluate(DRAG, MOVES)
    return first, found["took"], found["longest"]


def main() -> None:
    """Drag the slider of the built page and compare with the budget."""
    with new_page() as (page, url):
        first, took, longest = measure(page, url)
    rows = [
        Ratio("redraw, median", median(took), REDRAW_BUDGET_MILLISECONDS, "ms"),
        Ratio(
            "redraw, 95th percentile", quantiles(took, n=20)[18], REDRAW_BUDGET_MILLISECONDS, "ms"
        ),
        Ratio("longest task of the page", longest, LONGEST_TASK_MILLISECONDS, "ms"),
    ]
    show("planner, slider to redraw", "its budget", rows)
    print(f"  first answer, Python's start included: {first / 1000:.1f} s")


if __name__ == "__main__":
    main()

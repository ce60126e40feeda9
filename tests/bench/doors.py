"""What a reader of each page waits for on a slow phone: its largest paint, blocked time, Python.

    python3 build.py bench doors

First visits. The largest paint is taken by the clock, the processor slowed down to a quarter.
Blocked time is what tasks of the page take beyond 50 ms each, on a slow 4G line (1.6 Mbit/s,
150 ms) until three seconds after it is loaded: four times their processor time, so that other work
on this machine does not count. While Python starts for a cell as printed, none of them may be long.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from statistics import median

from playwright.sync_api import Browser, CDPSession, Page, sync_playwright

import build
from conftest import CHROMIUM_FLAGS
from tests.bench import Ratio, show
from tests.bench.boot import served

DOORS = {"/": "", "/planner/": "planner/", "/runs/": "runs/", "/accuracy/": "accuracy/"}
VISITS = 3
SLOWDOWN = 4
PAINT_SECONDS = 0.8
BLOCKED_MILLISECONDS = 200.0
QUIET_MILLISECONDS = 3000
FREE = 50.0
SLOW_4G = {
    "offline": False,
    "latency": 150,
    "downloadThroughput": 1_600_000 / 8,
    "uploadThroughput": 750_000 / 8,
}
RUN = "() => document.querySelector('live-cell').run().then(() => null)"
WATCH = """
globalThis.seen = { paint: 0, element: "" };
new PerformanceObserver((list) => {
  const last = list.getEntries().at(-1);
  seen.paint = last.startTime;
  seen.element = last.element?.id || last.element?.className || last.element?.tagName || "";
}).observe({ type: "largest-contentful-paint", buffered: true });
"""


def first_visit(browser: Browser) -> tuple[Page, CDPSession]:
    """A blank page that has seen nothing, and its developer tools."""
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    return page, page.context.new_cdp_session(page)


def largest_paint(browser: Browser, url: str) -> tuple[float, str]:
    """Seconds until the largest element was painted, and its name."""
    page, devtools = first_visit(browser)
    page.add_init_script(WATCH)
    devtools.send("Emulation.setCPUThrottlingRate", {"rate": SLOWDOWN})
    page.goto(url)
    page.wait_for_timeout(QUIET_MILLISECONDS)
    seen = page.evaluate("seen")
    page.context.close()
    return seen["paint"] / 1000, seen["element"]


def slow_tasks(browser: Browser, url: str) -> list[float]:
    """Milliseconds of the tasks of the page as it comes, on the slowed processor."""
    page, devtools = first_visit(browser)
    devtools.send("Network.enable")
    devtools.send("Network.emulateNetworkConditions", SLOW_4G)
    return traced(browser, page, lambda: page.goto(url, timeout=120_000))


def start_tasks(browser: Browser, url: str) -> list[float]:
    """The same, as Python starts and a cell of the page runs."""
    page, _ = first_visit(browser)
    page.goto(url)
    page.wait_for_timeout(QUIET_MILLISECONDS)
    return traced(browser, page, lambda: page.evaluate(RUN))


def traced(browser: Browser, page: Page, work: Callable[[], object]) -> list[float]:
    """Milliseconds of the tasks of a page, on the slowed processor, until it is quiet again."""
    browser.start_tracing(page=page, categories=["toplevel"])
    work()
    page.wait_for_timeout(QUIET_MILLISECONDS)
    events = json.loads(browser.stop_tracing())["traceEvents"]
    page.context.close()
    names = {e["tid"]: e["args"]["name"] for e in events if e.get("name") == "thread_name"}
    return [
        SLOWDOWN * event.get("tdur", 0) / 1000
        for event in events
        if event.get("ph") == "X"
        and event["name"].endswith("RunTask")
        and names.get(event["tid"]) == "CrRendererMain"
    ]


def main() -> int:
    """Visit all pages by turns; 1 where one misses a bar."""
    paints: dict[str, list[tuple[float, str]]] = {name: [] for name in DOORS}
    tasks: dict[str, list[list[float]]] = {name: [] for name in DOORS}
    with served(build.site()) as site, sync_playwright() as player:
        program = str(build.chromium())
        browser = player.chromium.launch(executable_path=program, args=CHROMIUM_FLAGS)
        for _ in range(VISITS):
            for name, path in DOORS.items():
                paints[name].append(largest_paint(browser, site + path))
                tasks[name].append(slow_tasks(browser, site + path))
        longest_of_python = median(max(start_tasks(browser, site)) for _ in range(VISITS))
        browser.close()
    rows = [Ratio(name, min(paints[name])[0], PAINT_SECONDS, "s") for name in DOORS]
    show(f"largest paint, the best of {VISITS}", "the bar of 0.8 s", rows)
    over = {n: [sum(max(0.0, t - FREE) for t in one) for one in tasks[n]] for n in DOORS}
    blocked = [Ratio(name, median(over[name]), BLOCKED_MILLISECONDS, "ms") for name in DOORS]
    show("blocked by tasks", "the bar of 200 ms", blocked)
    starts = [Ratio("the longest task as Python starts", longest_of_python, FREE, "ms")]
    show("Python's start", "the bar of 50 ms", starts)
    for name in DOORS:
        longest = median(max(one) for one in tasks[name])
        print(f"  {name} painted {min(paints[name])[1]}; its longest task takes {longest:.0f} ms")
    return int(any(row.value > row.baseline for row in [*rows, *blocked, *starts]))


if __name__ == "__main__":
    sys.exit(main())

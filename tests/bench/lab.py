"""The fine-tune in the page, in Chromium, beside its bars; ends with an error where one is missed.

    python3 build.py bench lab

Seconds, memory and the longest task are those of the built page. On a machine with other work, the
run and the reply to Stop are counted as on a processor of their own: by the clock, times the share
of one that the worker had; the clock's own seconds are printed too. The kernel and numpy take turns
in one interpreter, made of the worker's own files: whatever slows the machine slows both.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any, Final

from playwright.sync_api import Page

from browser.page_run_reader import LONG, SHORT, PageRunReader
from tests.bench import Ratio, show
from tests.bench.browser import new_page
from tests.bench.lab_kernel import measured_kernel

RUN_SECONDS: Final = 45.0
FIRST_POINT_SECONDS: Final = 3.0
ANSWER_SECONDS: Final = 2.0
ANSWER_TOKENS: Final = 8
STOP_SECONDS: Final = 0.5
LONGEST_TASK_MILLISECONDS: Final = 50.0
REDRAW_MILLISECONDS: Final = 50.0
MEMORY_APART: Final = 0.03
KERNEL_STEP_RATIO: Final = 0.5
"""A step with the kernel over one without: above it, the kernel does not pay for its bytes."""
STOPS: Final = 7
QUESTIONS: Final = (
    "The capital of Jordan is",
    "Write 826 with dashes:",
    "Spell backwards: e n g i n e =",
)
HEAVY: Final = ("demo/", "pyodide/", "python/")
RUN: Final = """async () => {
  const element = document.querySelector("page-run");
  const charts = () => [...element.querySelectorAll("run-chart")];
  const before = new Set(charts().map(({ chart }) => chart));
  const isMeasured = ({ dashed, x }) => !dashed && x.length > 0;
  const tasks = [];
  const watcher = new PerformanceObserver((list) => tasks.push(...list.getEntries()));
  watcher.observe({ type: "longtask" });
  const start = performance.now();
  const seconds = {};
  const look = () => {
    const drawn = charts().filter((one) => !before.has(one.chart) && one.querySelector("canvas"));
    const now = (performance.now() - start) / 1000;
    if (drawn.some(({ chart }) => chart.lines.some(isMeasured))) seconds.point ??= now;
    if (!seconds.over) requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
  const ended = await element.start();
  seconds.over = (performance.now() - start) / 1000;
  await new Promise((resolve) => setTimeout(resolve, 300));
  watcher.disconnect();
  const { predicted, measured } = element.state.memory;
  return { ended, seconds, tasks: tasks.map(({ duration }) => duration), predicted, measured };
}"""
BACK: Final = """async () => {
  const element = document.querySelector("page-run");
  const slider = element.querySelector(".page-run-back input");
  const status = element.querySelector(".page-run-back-status");
  const rest = () => new Promise((resolve) => setTimeout(resolve));
  const moved = async (alpha) => {
    slider.value = alpha;
    const start = performance.now();
    slider.dispatchEvent(new Event("input", { bubbles: true }));
    while (!status.textContent.startsWith(`α = ${alpha}`)) await rest();
    slider.getBoundingClientRect();
    return performance.now() - start;
  };
  const start = performance.now();
  await element.blend(0.55);
  const mixture = (performance.now() - start) / 1000;
  const stops = Array.from({ length: 11 }, (_, stop) => stop / 10);
  for (const alpha of stops) await moved(alpha);
  const took = [];
  for (const alpha of stops) took.push(await moved(alpha));
  return { mixture, redraw: Math.max(...took) };
}"""
STOP: Final = """async (pause) => {
  const element = document.querySelector("page-run");
  const before = element.state.run;
  const begun = element.start();
  const rest = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
  while (element.state.run === before || !element.state.step) await rest(20);
  await rest(pause);
  const start = performance.now();
  element.querySelector(".page-run-stop").click();
  const { status } = await begun;
  return { status, seconds: (performance.now() - start) / 1000 };
}"""


def open_page(page: Page, url: str) -> tuple[PageRunReader, list[str]]:
    """A reader before the element, and what of Python and the model was fetched on the way."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url.removeprefix(url)))
    reader = PageRunReader(page, url)
    page.wait_for_timeout(1000)
    return reader, [name for name in asked if name.startswith(HEAVY)]


def seconds_of_an_answer(reader: PageRunReader) -> float:
    """Of ANSWER_TOKENS tokens, where both models answer."""
    rates = []
    for question in QUESTIONS:
        start = time.monotonic()
        said = reader.ask(question)
        seconds = time.monotonic() - start
        tokens = len(said["before"]["pieces"]) + len(said["after"]["pieces"])
        rates.append(seconds / max(1, tokens))
    return ANSWER_TOKENS * max(rates)


def traced(page: Page, script: str) -> tuple[Any, list[float], float]:
    """What `script` returns; processor time of the page's tasks in ms, and of its worker in s."""
    browser = page.context.browser
    assert browser is not None
    browser.start_tracing(page=page, categories=["toplevel"])
    result = page.evaluate(script)
    events = json.loads(browser.stop_tracing())["traceEvents"]
    names = {e["tid"]: e["args"]["name"] for e in events if e.get("name") == "thread_name"}
    tasks: dict[int, list[float]] = {}
    for event in events:
        if event.get("ph") == "X" and event["name"].endswith("RunTask"):
            tasks.setdefault(event["tid"], []).append(event.get("tdur", 0) / 1000)
    mains = [tid for tid, name in names.items() if name == "CrRendererMain" and tid in tasks]
    workers = [tid for tid, name in names.items() if "DedicatedWorker" in name and tid in tasks]
    page_thread = max(mains, key=lambda tid: len(tasks[tid]))
    return result, tasks[page_thread], max(sum(tasks[tid]) for tid in workers) / 1000


def memory_apart(found: dict[str, Any]) -> dict[str, float]:
    """By instant: what numpy held over what was predicted, less one."""
    predicted = {name: sum(parts.values()) for name, parts in found["predicted"].items()}
    return {
        name: measured["bytes"] / predicted[name] - 1
        for name, measured in found["measured"].items()
    }


def seconds_to_stop(reader: PageRunReader) -> list[float]:
    """From the press of Stop to the end of the run, at several places of a step."""
    reader.choices = LONG
    found = [reader.page.evaluate(STOP, 37 * number) for number in range(STOPS)]
    assert {one["status"] for one in found} == {"stopped"}
    return [one["seconds"] for one in found]


def measured_page(page: Page, url: str) -> tuple[list[Ratio], list[str]]:
    """Every bar of the page, and what is to be said beside them."""
    reader, early = open_page(page, url)
    assert reader.train(SHORT)["ok"]
    reader.choices = {}
    reader.root.locator("run-view").scroll_into_view_if_needed()
    found, tasks, worker_seconds = traced(page, RUN)
    assert found["ended"]["ok"], found["ended"]
    seconds, apart, long = found["seconds"], memory_apart(found), found["tasks"]
    back = page.evaluate(BACK)
    answer, stops = seconds_of_an_answer(reader), seconds_to_stop(reader)
    furthest = max(map(abs, apart.values()))
    share = min(1.0, worker_seconds / seconds["over"])
    rows = [
        Ratio("the default run", share * seconds["over"], RUN_SECONDS, "s"),
        Ratio("first point on a chart", seconds["point"], FIRST_POINT_SECONDS, "s"),
        Ratio(f"an answer of {ANSWER_TOKENS} tokens", answer, ANSWER_SECONDS, "s"),
        Ratio(f"Stop, the slowest of {STOPS}", share * max(stops), STOP_SECONDS, "s"),
        Ratio("α to its bars, slowest stop", back["redraw"], REDRAW_MILLISECONDS, "ms"),
        Ratio("longest task of the page", max(tasks), LONGEST_TASK_MILLISECONDS, "ms"),
        Ratio("memory off its prediction", 100 * furthest, 100 * MEMORY_APART, "%"),
        Ratio("files fetched unasked", len(early), 0.5, ""),
    ]
    instants = ", ".join(f"{name} {100 * ratio:+.1f}%" for name, ratio in apart.items())
    notes = [
        f"by the clock: the run {seconds['over']:.1f} s, the slowest Stop {max(stops):.2f} s; the"
        f" worker had {share:.0%} of a processor",
        f"tasks are judged by processor time; by the clock {len(long)} of {len(tasks):,} took over"
        f" 50 ms, the longest {max(long, default=0):.0f} ms",
        f"a mixture that no stop has, asked for at the end of the run: {back['mixture']:.1f} s",
        f"memory: {instants}",
    ]
    return rows, notes + early


def main() -> int:
    """The page beside its bars, the kernel beside numpy; 1 where a bar is missed."""
    with new_page() as (page, url):
        rows, notes = measured_page(page, url)
        kernel, same_bits = measured_kernel(page, url)
    show("a fine-tune in the page, Python warm", "its bar", rows)
    print("".join(f"  {note}\n" for note in notes), end="")
    show("matmuls, exponentials and AdamW by WebAssembly", "numpy in the same interpreter", kernel)
    print(f"  bits: {'the same' if same_bits else 'not those of numpy'}")
    problems = [row.what for row in rows if row.value > row.baseline]
    if kernel[0].value > KERNEL_STEP_RATIO * kernel[0].baseline or not same_bits:
        problems.append("the kernel")
    if problems:
        print(f"\nmissed: {', '.join(problems)}")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())

"""What one logged step costs the trainer: twelve scalars, one line, one write."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory

from gpu_runner.log.writer import EventLog, SystemClock
from tests.bench import Ratio, show
from unfrozen.events import METRICS

EVENTS = 20_000
P50_BUDGET_MICROSECONDS = 25.0
P99_BUDGET_MICROSECONDS = 100.0
SCALARS = {metric.name: 1.2345678 for metric in METRICS[:12]}


def percentiles_microseconds(call: Callable[[int], object]) -> tuple[float, float]:
    """Median and 99th percentile of the time of one call, over all events."""
    times = []
    for step in range(EVENTS):
        start = time.perf_counter_ns()
        call(step)
        times.append((time.perf_counter_ns() - start) / 1000)
    cuts = quantiles(times, n=100)
    return cuts[49], cuts[98]


def main() -> None:
    """Compare the log with its budget, and with the least that could be written at all."""
    with TemporaryDirectory() as folder:
        with EventLog(Path(folder) / "events.jsonl", run="bench", clock=SystemClock()) as log:
            p50, p99 = percentiles_microseconds(lambda step: log.emit("metrics", step, m=SCALARS))
        bare = os.open(Path(folder) / "bare.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        least, _ = percentiles_microseconds(
            lambda _: os.write(bare, json.dumps(SCALARS).encode() + b"\n")
        )
        os.close(bare)
    budget = [
        Ratio("one event, median", p50, P50_BUDGET_MICROSECONDS, "µs"),
        Ratio("one event, 99th percentile", p99, P99_BUDGET_MICROSECONDS, "µs"),
    ]
    show("event log, 12 scalars", "its budget", budget)
    show("event log, 12 scalars", "json.dumps and os.write", [Ratio("median", p50, least, "µs")])


if __name__ == "__main__":
    main()

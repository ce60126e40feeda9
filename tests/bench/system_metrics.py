"""What the sampler's thread takes of a processor, and how long its end waits."""

import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from gpu_runner.log.writer import EventLog, SystemClock
from gpu_runner.system.sampler import SECONDS, Sampler
from tests.bench import Ratio, show

SAMPLES = 200
SHARE_BUDGET = 0.001
"""Of one processor, at the pace of a run."""
END_BUDGET_SECONDS = 0.2


def main() -> None:
    """The cost of one sample at the pace of a run, and of the end of the thread."""
    with (
        TemporaryDirectory() as folder,
        EventLog(Path(folder) / "events.jsonl", run="bench", clock=SystemClock()) as log,
    ):
        sampler = Sampler(log, lambda: 1, seconds=0.01)
        sampler.start()
        while sampler.samples < SAMPLES:
            time.sleep(0.01)
        started = time.perf_counter()
        sampler.stop()
        ended = time.perf_counter() - started
    each = sampler.cost_seconds / sampler.samples
    found = [
        Ratio(f"one sample in {SECONDS:g} s", 1e6 * each, 1e6 * SHARE_BUDGET * SECONDS, "µs"),
        Ratio("the end of the thread", 1e3 * ended, 1e3 * END_BUDGET_SECONDS, "ms"),
    ]
    show(f"system metrics, {threading.active_count()} thread left", "its budget", found)


if __name__ == "__main__":
    main()

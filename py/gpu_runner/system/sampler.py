"""A thread that logs the machine every few seconds, beside a loop that must not wait for it.

    with Sampler(log, lambda: state.step, open_gpus=partial(Gpus.open, uuids)):
        …

Between samples the thread sleeps. It holds no lock while it queries a driver, and reports each of
its own errors once, never to the loop. It samples at once and after one second, so that a short run
has samples; then every SECONDS, and in a long run after the share THINNED of the time so far, so
that their number grows with the logarithm of its length.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Final, Protocol

import psutil

from gpu_runner.system import limits
from gpu_runner.system.gpus import ALARMING, Gpus, GpuSample, GpusUnavailable

SECONDS: Final = 5.0
FIRST_SECONDS: Final = 1.0
THINNED: Final = 1 / 2000
LEAVE_SECONDS: Final = 0.2
"""The time that `stop` waits for a silent driver; the thread ends with the process."""
MOST_ERRORS: Final = 3  # in a row, before it gives up


class Sink(Protocol):
    """Where events go; see `gpu_runner.log.writer`."""

    def emit(self, kind: str, step: int, **payload: object) -> bool:
        """Append one event."""


class Sampler:
    """Writes `sys` events to `log` between `start` and `stop`.

    step           returns the current step; called from the thread
    open_gpus      opens the GPUs, in the thread; None without any
    report         receives (level, text, step) of a problem; by default it becomes an `alert` event
    more_metrics   returns further metrics for each sample
    enabled        whether `start` does anything: only one of several processes has a log
    """

    def __init__(
        self,
        log: Sink,
        step: Callable[[], int],
        *,
        open_gpus: Callable[[], Gpus] | None = None,
        report: Callable[[str, str, int], None] | None = None,
        more_metrics: Callable[[], Mapping[str, float]] = dict,
        seconds: float = SECONDS,
        enabled: bool = True,
    ) -> None:
        self.samples = 0
        self.cost_seconds = 0.0
        """Processor time of all samples together."""
        self._log, self._step, self._seconds = log, step, seconds
        self._more_metrics, self._open = more_metrics, open_gpus
        self._report = report or self._emit_alert
        self._process = psutil.Process()
        self._reported: set[str] = set()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._owner = os.getpid()
        self._enabled = enabled
        self._gpus: Gpus | None = None

    def start(self) -> None:
        """Start the thread. Where the system has no thread left, report that and sample nothing."""
        if not self._enabled:
            return
        self._thread = threading.Thread(target=self._run, name="unfrozen-sampler", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:
            self._thread = None
            self._report_once("warn", f"The machine is not sampled: {error}.")

    def stop(self) -> None:
        """Stop the thread, within LEAVE_SECONDS; in a forked child there is none to stop.

        The thread may stop itself: garbage collection runs in any thread.
        """
        if self._thread is None or os.getpid() != self._owner:
            return
        self._over.set()
        if self._thread is not threading.current_thread():
            self._thread.join(LEAVE_SECONDS)
        self._thread = None

    def __enter__(self) -> Sampler:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _run(self) -> None:
        begun = time.monotonic()
        self._open_gpus()
        self._process.cpu_percent()  # a share of the time since the last call
        psutil.cpu_percent()
        errors, pause = 0, min(FIRST_SECONDS, self._seconds)
        while errors < MOST_ERRORS:
            errors = 0 if self._take_sample() else errors + 1
            if self._over.wait(pause):
                break
            pause = max(self._seconds, THINNED * (time.monotonic() - begun))
        if self._gpus is not None:
            self._gpus.close()

    def _open_gpus(self) -> None:
        try:
            self._gpus = self._open() if self._open else None
        except GpusUnavailable as problem:
            self._report_once("info", str(problem))
        except Exception as error:
            self._report_once("warn", f"The GPUs are not sampled: {type(error).__name__}: {error}.")

    def _take_sample(self) -> bool:
        """Log one sample; return whether that was possible."""
        started = time.thread_time()
        try:
            step, payload = self._step(), self._payload()
            if not self._over.is_set():
                self._log.emit("sys", step, **payload)
        except Exception as error:  # a fault of the sampler does not stop a run
            self._report_once(
                "warn", f"The machine was not sampled: {type(error).__name__}: {error}."
            )
            return False
        self.samples += 1
        self.cost_seconds += time.thread_time() - started
        return True

    def _payload(self) -> dict[str, object]:
        memory = limits.memory()
        found: dict[str, float] = {
            "sys/rss_bytes": self._process.memory_info().rss,
            "sys/ram_bytes": memory.used_bytes,
            "sys/ram_total_bytes": memory.total_bytes,
        }
        if self.samples:  # the first has no time to be a share of
            cores = psutil.cpu_count() or 1
            found["sys/process_cpu"] = round(self._process.cpu_percent() / 100 / cores, 4)
            found["sys/machine_cpu"] = round(psutil.cpu_percent() / 100, 4)
        payload: dict[str, object] = {"m": found}
        throttled = {}
        for gpu in self._sample_gpus():
            found |= {f"{name}/{gpu.index}": value for name, value in gpu.values.items()}
            if gpu.reasons:
                throttled[str(gpu.index)] = list(gpu.reasons)
        found |= self._more_metrics()
        return payload | ({"throttle": throttled} if throttled else {})

    def _sample_gpus(self) -> list[GpuSample]:
        if self._gpus is None:
            return []
        found = self._gpus.read()
        for text in self._gpus.lost:
            self._report_once("warn", text)
        self._gpus.lost.clear()
        for gpu in found:
            for reason in ALARMING.intersection(gpu.reasons):
                at = gpu.values.get("gpu/temperature")
                heat = f" at {at:.0f} °C" if at is not None else ""
                cause = reason.replace("_", " ")
                text = f"GPU {gpu.index} is throttled{heat}: {cause}."
                self._report_once("warn", text, f"{gpu.index} {reason}")
        return found

    def _report_once(self, level: str, text: str, key: str = "") -> None:
        """Report a problem once; problems with the same `key` count as one."""
        if (key or text) in self._reported or self._over.is_set():
            return
        self._reported.add(key or text)
        try:
            self._report(level, text, self._step())
        except Exception:  # the log is closed, or its reader is gone
            return

    def _emit_alert(self, level: str, text: str, step: int) -> None:
        self._log.emit("alert", step, level=level, text=text)

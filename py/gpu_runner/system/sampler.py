"""A thread that logs the machine every few seconds, beside a loop that must not wait for it.

    with Sampler(log, lambda: state.step, cards=Cards.open):
        …

The thread sleeps; nothing is computed between two samples, no lock is held while a driver is asked,
and any error of its own is told once and never reaches the loop. It takes one sample at once and
one after a second, so that a short run has some; then one every SECONDS, in a long run one after
THINNED of what went by: their number grows with the logarithm of its length.
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
from gpu_runner.system.cards import ALARMING, CardReading, Cards, NoCards

SECONDS: Final = 5.0
FIRST_SECONDS: Final = 1.0
THINNED: Final = 1 / 2000
LEAVE_SECONDS: Final = 0.2
"""How long `stop` waits for a driver that does not answer; the thread ends with the process."""
MOST_ERRORS: Final = 3  # in a row, before it gives up


class Sink(Protocol):
    """Where events go; see `gpu_runner.log.writer`."""

    def emit(self, kind: str, step: int, **payload: object) -> bool:
        """Append one event."""


class Sampler:
    """Writes `sys` events to `log` between `start` and `stop`.

    step      the step that is done now; called from the thread
    cards     opens the cards, in the thread, where there are some
    tell      is given (level, text, step) of what should be known; else it is an `alert` in the log
    also      more metrics for each sample
    wanted    whether `start` does anything: one process of several has a log
    """

    def __init__(
        self,
        log: Sink,
        step: Callable[[], int],
        *,
        cards: Callable[[], Cards] | None = None,
        tell: Callable[[str, str, int], None] | None = None,
        also: Callable[[], Mapping[str, float]] = dict,
        seconds: float = SECONDS,
        wanted: bool = True,
    ) -> None:
        self.samples = 0
        self.cost_seconds = 0.0
        """Processor time of all samples together."""
        self._log, self._step, self._also, self._seconds = log, step, also, seconds
        self._open = cards
        self._tell = tell or self._alert
        self._process = psutil.Process()
        self._told: set[str] = set()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._owner = os.getpid()
        self._wanted = wanted
        self._cards: Cards | None = None

    def start(self) -> None:
        """Begin. A machine that has no thread left is told of; nothing is sampled then."""
        if not self._wanted:
            return
        self._thread = threading.Thread(target=self._run, name="unfrozen-sampler", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:
            self._thread = None
            self._say("warn", f"The machine is not sampled: {error}.")

    def stop(self) -> None:
        """End, within LEAVE_SECONDS. In a child that was forked off there is nothing to end.

        The thread itself may be the one that stops: garbage is collected wherever it is noticed.
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
        self._open_cards()
        self._process.cpu_percent()  # a share of the time since it was asked before
        psutil.cpu_percent()
        errors, pause = 0, min(FIRST_SECONDS, self._seconds)
        while errors < MOST_ERRORS:
            errors = 0 if self._sampled() else errors + 1
            if self._over.wait(pause):
                break
            pause = max(self._seconds, THINNED * (time.monotonic() - begun))
        if self._cards is not None:
            self._cards.close()

    def _open_cards(self) -> None:
        try:
            self._cards = self._open() if self._open else None
        except NoCards as problem:
            self._say("info", str(problem))
        except Exception as error:
            self._say("warn", f"The cards are not sampled: {type(error).__name__}: {error}.")

    def _sampled(self) -> bool:
        """Take a sample; whether that was possible."""
        started = time.thread_time()
        try:
            step, payload = self._step(), self._sample()
            if not self._over.is_set():
                self._log.emit("sys", step, **payload)
        except Exception as error:  # ours, and no reason for a run to end
            self._say("warn", f"The machine was not sampled: {type(error).__name__}: {error}.")
            return False
        self.samples += 1
        self.cost_seconds += time.thread_time() - started
        return True

    def _sample(self) -> dict[str, object]:
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
        held = {}
        for card in self._readings():
            found |= {f"{name}/{card.index}": value for name, value in card.values.items()}
            if card.reasons:
                held[str(card.index)] = list(card.reasons)
        found |= self._also()
        return payload | ({"throttle": held} if held else {})

    def _readings(self) -> list[CardReading]:
        if self._cards is None:
            return []
        found = self._cards.read()
        for text in self._cards.lost:
            self._say("warn", text)
        self._cards.lost.clear()
        for card in found:
            for reason in ALARMING.intersection(card.reasons):
                at = card.values.get("gpu/temperature")
                heat = f" at {at:.0f} °C" if at is not None else ""
                words = reason.replace("_", " ")
                text = f"Card {card.index} holds its clocks back{heat}: {words}."
                self._say("warn", text, f"{card.index} {reason}")
        return found

    def _say(self, level: str, text: str, key: str = "") -> None:
        """Tell it once; what has the same `key` is the same."""
        if (key or text) in self._told or self._over.is_set():
            return
        self._told.add(key or text)
        try:
            self._tell(level, text, self._step())
        except Exception:  # the log is closed, or whoever is told is gone
            return

    def _alert(self, level: str, text: str, step: int) -> None:
        self._log.emit("alert", step, level=level, text=text)

"""Ends this process soon after another process of the run has ended before its time.

Whoever waits in a collective for a process that is gone waits until its timeout, half an hour,
which cannot be shorter than a checkpoint takes: NCCL reports no error, and Python runs no signal
handler meanwhile. So a thread of each process looks at the others once a second, over the store
through which they found each other:

    failed       why the run cannot go on; written by a process that fails, and by who sees one gone
    left/RANK    this process has come to its end
    alive/RANK   a count of the first process of each machine, watched by that of the next machine

Processes of one machine see each other's process id. When the run cannot go on, the main thread has
GRACE_SECONDS to raise what it sees itself; then the process is ended, whatever it waits for.
"""

from __future__ import annotations

import os
import platform
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from gpu_runner.errors import ExitCode
from gpu_runner.text import printable

TICK_SECONDS: Final = 1.0
GRACE_SECONDS: Final = 5.0
SILENT_SECONDS: Final = 300.0
"""Without a new count, after which a machine is lost; without the store, its own. The library that
writes whole files holds Python's lock for minutes.
"""
_FAILED: Final = "failed"


@dataclass(frozen=True, slots=True)
class Peer:
    """One process of a run: the machine it is on, its id there, and when it was born."""

    machine: str
    pid: int
    born: float

    @staticmethod
    def this() -> Peer:
        """Return this process."""
        boot, space = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
        parts = [platform.node()]
        parts += [boot.read_text().strip()] if boot.exists() else []
        parts += [str(space.readlink())] if space.is_symlink() else []
        process = psutil.Process()
        return Peer(" ".join(parts), process.pid, process.create_time())

    def ended(self) -> bool:
        """Return whether a process of this machine is gone, or only waits to be buried."""
        try:
            process = psutil.Process(self.pid)
            dead = process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
            return dead or abs(process.create_time() - self.born) > 1
        except psutil.NoSuchProcess:
            return True
        except psutil.Error:  # not to be looked at
            return False


def end_soon() -> None:
    """End this process in a while, whatever it waits for by then."""
    timer = threading.Timer(2 * GRACE_SECONDS, os._exit, (int(ExitCode.SYSTEM),))
    timer.daemon = True
    timer.start()


def report(reason: str) -> None:
    """Print why this process ends, once for each machine."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        print(
            f"Error: another process of this run has ended: {printable(reason)}. Resume from the"
            " last checkpoint.",
            file=sys.stderr,
        )


class Peers:
    """The other processes of a run, looked at from a thread of process `rank` until it leaves.

    `everyone` are all of them by rank; `store` is a connection of its own.
    """

    def __init__(self, rank: int, everyone: list[Peer], store: Any) -> None:
        self.on_lost: Callable[[str], None] = report
        """Is called on the thread before the process is ended, with the reason."""
        self._rank, self._everyone, self._store = rank, everyone, store
        machines = list(dict.fromkeys(peer.machine for peer in everyone))
        first = {peer.machine: n for n, peer in reversed(list(enumerate(everyone)))}
        own = everyone[rank].machine
        self._beside = [n for n, peer in enumerate(everyone) if peer.machine == own and n != rank]
        self._counts = first[own] == rank and len(machines) > 1
        self._next = first[machines[(machines.index(own) + 1) % len(machines)]]
        self._heard, self._heard_at = -1, time.monotonic()
        self._reason = ""
        self._known, self._over, self._idle = (threading.Event() for _ in range(3))
        self._idle.set()
        self._thread = threading.Thread(target=self._watch, name="peers", daemon=True)
        self._thread.start()

    def reason(self) -> str:
        """Return why the run cannot go on, once that is known; "" if nothing is within a while."""
        self._known.wait(3 * TICK_SECONDS)
        return self._reason

    @contextmanager
    def working(self) -> Iterator[None]:
        """While this lasts, the process waits for nobody: it may finish what it does, a file."""
        self._idle.clear()
        try:
            yield
        finally:
            self._idle.set()

    def fail(self, error: BaseException) -> None:
        """Tell the others that this process ends by an error."""
        text = " ".join(str(error).split())[:500]
        self._tell(f"{self._name(self._rank)} failed: {type(error).__name__}: {text}")
        self.leave()

    def leave(self) -> None:
        """Stop looking: this process comes to its end."""
        self._over.set()
        if self._thread is not threading.current_thread():
            self._thread.join(TICK_SECONDS)
        self._try(lambda: self._store.set(f"left/{self._rank}", ""))

    def _name(self, rank: int) -> str:
        return f"process {rank} of {len(self._everyone)}"

    def _watch(self) -> None:
        seen = time.monotonic()
        while not self._over.wait(TICK_SECONDS):
            try:
                reason, seen = self._look(), time.monotonic()
            except RuntimeError:  # DistStoreError, DistNetworkError
                reason = ""
                if time.monotonic() - seen > SILENT_SECONDS:
                    reason = f"{self._name(0)} cannot be reached any more"
            if reason:
                self._end(reason)
                return

    def _look(self) -> str:
        """Return why the run cannot go on; "" while it can. Raises `RuntimeError`."""
        gone = [rank for rank in self._beside if self._everyone[rank].ended()]
        if self._store.check([_FAILED]):
            return str(self._store.get(_FAILED).decode("utf-8", "replace"))
        for rank in gone:
            if not self._store.check([f"left/{rank}"]):
                return f"{self._name(rank)} ended without a word: it was killed, or crashed"
        return self._listen() if self._counts else ""

    def _listen(self) -> str:
        """Count for the machine before this one, and look whether the next one still counts."""
        self._store.add(f"alive/{self._rank}", 1)
        heard = self._store.add(f"alive/{self._next}", 0)
        if heard != self._heard or self._store.check([f"left/{self._next}"]):
            self._heard, self._heard_at = heard, time.monotonic()
        if time.monotonic() - self._heard_at < SILENT_SECONDS:
            return ""
        return f"the machine of {self._name(self._next)} has been silent for {SILENT_SECONDS:.0f} s"

    def _end(self, reason: str) -> None:
        """Let the main thread raise what it sees; end the process where it does not."""
        self._reason = reason
        self._known.set()
        self._tell(reason)
        self._idle.wait()
        if self._over.wait(GRACE_SECONDS):
            return
        try:
            self.on_lost(reason)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(ExitCode.SYSTEM)

    def _tell(self, reason: str) -> None:
        self._try(lambda: self._store.compare_set(_FAILED, "", reason))

    @staticmethod
    def _try(work: Callable[[], object]) -> None:
        try:
            work()
        except RuntimeError:  # the store is gone, and who kept it
            return

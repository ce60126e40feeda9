"""A directory that all processes write, each its own files; it appears complete or not at all.

    all        begin    the first process makes the temporary folder of `atomic`
    each       do       writes its files, flushed, with checksums; or `start`: on a thread
    all        end      checksums are gathered; the first process adds small files, seals, renames

A process that dies at any moment leaves that folder, which is never read. Every process must see
the same file system, as for the rest of a run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Thread
from typing import Final

from gpu_runner.atomic import NewFolder, Saved, Written, is_write_error
from gpu_runner.checkpoint.directory import checkpoint_failure
from gpu_runner.errors import SystemFailure, everyones
from gpu_runner.world import World
from gpu_runner.world.sharded_files import Shard, file_name, write

OPTIMIZER: Final = "optimizer"
INITIAL: Final = "initial"  # θ₀, where its source does not hold it under the same names
FISHER: Final = "fisher"  # of EWC
HELD_OUT: Final = "held-out-reference"  # of the KL from θ₀ at evaluations
DERIVED: Final = (
    INITIAL,
    FISHER,
    HELD_OUT,
)  # folders of a run, or files where one process wrote them

Parts = Mapping[str, Mapping[str, Shard]]
"""Folder → name of a tensor → what this process writes of it."""
Work = Callable[[Path], Mapping[str, Written]]
"""Writes files into a directory; returns those that it has flushed, by name."""


def writing_shards(parts: Parts, world: World, metadata: Mapping[str, str] | None = None) -> Work:
    """Return what writes this process's shards."""
    name = file_name(world.rank, world.size)

    def work(directory: Path) -> dict[str, Written]:
        for folder in (folder for folder, shards in parts.items() if shards):
            (directory / folder).mkdir(exist_ok=True)
        return {
            f"{folder}/{name}": write(directory / folder / name, shards, metadata or {})
            for folder, shards in parts.items()
            if shards
        }

    return work


class ShardedDirectory:
    """Writes one directory, `final`; every process of `world` has one such object.

    Raises `SystemFailure` on all of them where one could not write; nothing half-written stays.
    """

    def __init__(self, final: Path, world: World, *, private: bool = True) -> None:
        self._final = final
        self._world = world
        self._private = private
        self.seconds = 0.0
        """Seconds that this process took to write its files."""
        self._written: dict[str, Written] = {}
        self._problem = ""
        self._thread: Thread | None = None
        self._folder: NewFolder | None = None  # of the first process

    def begin(self) -> None:
        """Make the temporary folder."""
        self.path = self._world.on_first(self._make)

    def _make(self) -> Path:
        self._folder = NewFolder(self._final, private=self._private)
        return self._folder.path

    def do(self, work: Work) -> None:
        """Let `work` write into the temporary folder; `end` raises an error."""
        started = time.monotonic()
        try:
            self._written |= work(self.path)
        except Exception as error:  # every process must raise it
            failure = f"{self._final}: {type(error).__name__}: {error}"
            refused = is_write_error(error)
            self._problem = str(checkpoint_failure(self._final, error)) if refused else failure
        self.seconds = time.monotonic() - started

    def start(self, work: Work) -> None:
        """Do `work` on a thread: it must write copies that nothing changes."""
        self._thread = Thread(target=self.do, args=(work,), name="checkpoint", daemon=True)
        self._thread.start()

    @property
    def written(self) -> bool:
        """Whether this process has nothing more to write."""
        return self._thread is None or not self._thread.is_alive()

    def end(self, fill: Callable[[Path], None]) -> Saved:
        """Wait for all processes; the first adds what `fill` writes, seals it and renames it."""
        if self._thread is not None:
            self._thread.join()
        everyone = self._world.everyones((self._problem, self._written))
        problem = next((reason for reason, _ in everyone if reason), "")
        known = {name: one for _, files in everyone for name, one in files.items()}
        return self._world.on_first(lambda: self._complete(fill, known, problem))

    def _complete(
        self, fill: Callable[[Path], None], known: Mapping[str, Written], problem: str
    ) -> Saved:
        assert self._folder is not None
        try:
            if problem:
                raise everyones(SystemFailure(problem))
            fill(self._folder.path)
            return self._folder.complete(known)
        except BaseException as error:
            self._folder.discard()
            if is_write_error(error):
                raise checkpoint_failure(self._final, error) from error
            raise


def publish_sharded(final: Path, world: World, parts: Parts) -> Saved:
    """Write `final` by all processes, each its own parts; see `ShardedDirectory`."""
    one = ShardedDirectory(final, world)
    one.begin()
    one.do(writing_shards(parts, world))
    return one.end(lambda _: None)

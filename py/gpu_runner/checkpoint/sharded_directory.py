"""A directory that all processes write: each its own files, whole or absent as any other.

    all        begin    the first process makes step-000120.tmp/
    each       write    its shards, flushed, with checksums; in the background of training, if asked
    all        end      checksums are gathered; the first process adds small files, seals, renames

Sealing is `directory`'s: a process that dies at any moment leaves a `.tmp`, which nobody reads.
Every process must see the same file system, as for the rest of a run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Final

from safetensors import SafetensorError

from gpu_runner.checkpoint import directory
from gpu_runner.checkpoint.directory import Saved
from gpu_runner.errors import SystemFailure, everyones
from gpu_runner.world import World
from gpu_runner.world.sharded_files import Shard, Written, file_name, write

OPTIMIZER: Final = "optimizer"
INITIAL: Final = "initial"  # θ₀, where its source does not hold it under the same names
FISHER: Final = "fisher"  # of EWC
DERIVED: Final = (INITIAL, FISHER)  # folders of a run, or files where one process wrote them

Parts = Mapping[str, Mapping[str, Shard]]
"""Folder → name of a tensor → what this process writes of it."""


@dataclass(slots=True)
class ShardedDirectory:
    """One directory, `final`, on its way to the disk; every process of `world` has one.

    Raises `SystemFailure` on all of them where one could not write; nothing half-written stays.
    """

    final: Path
    world: World
    parts: Parts
    metadata: Mapping[str, str] = field(default_factory=dict)
    private: bool = True
    _written: dict[str, Written] = field(default_factory=dict)
    _problem: str = ""
    _thread: Thread | None = None

    def begin(self) -> None:
        """Make its temporary directory, with a folder for each kind of part."""
        self.world.on_first(self._make)

    def _make(self) -> None:
        try:
            path = directory.begin(self.final, private=self.private)
            for folder in self.parts:
                (path / folder).mkdir()
        except OSError as error:
            raise directory.discard(self.final, error) from error

    def write(self) -> None:
        """Write what this process has; an error waits for `end`."""
        self.do(self._write_parts)
        self.parts = {}  # free what was copied for it

    def _write_parts(self, path: Path) -> None:
        name = file_name(self.world.rank, self.world.size)
        for folder, shards in self.parts.items():
            if shards:
                written = write(path / folder / name, shards, self.metadata)
                self._written[f"{folder}/{name}"] = written

    def do(self, work: Callable[[Path], None]) -> None:
        """Let `work` write into the temporary directory; an error waits for `end`."""
        try:
            work(self.final.with_name(self.final.name + directory.UNFINISHED))
        except (OSError, SafetensorError) as error:
            self._problem = str(directory.write_failure(self.final, error))
        except Exception as error:  # every process must raise it
            self._problem = f"{self.final}: {type(error).__name__}: {error}"

    def start_writing(self) -> None:
        """The same on a thread: `parts` must be copies that nothing changes any more."""
        self._thread = Thread(target=self.write, name="checkpoint", daemon=True)
        self._thread.start()

    @property
    def written(self) -> bool:
        """Whether this process has nothing more to write."""
        return self._thread is None or not self._thread.is_alive()

    def end(self, fill: Callable[[Path], None]) -> Saved:
        """Wait for everybody; the first one adds what `fill` writes and lets it appear."""
        if self._thread is not None:
            self._thread.join()
        everyone = self.world.everyones((self._problem, self._written))
        problem = next((reason for reason, _ in everyone if reason), "")
        known = {name: one for _, files in everyone for name, one in files.items()}
        return self.world.on_first(lambda: self._complete(fill, known, problem))

    def _complete(
        self, fill: Callable[[Path], None], known: Mapping[str, Written], problem: str
    ) -> Saved:
        path = self.final.with_name(self.final.name + directory.UNFINISHED)
        try:
            if problem:
                raise everyones(SystemFailure(problem))
            fill(path)
            return directory.complete(self.final, known, private=self.private)
        except BaseException as error:
            if (failure := directory.discard(self.final, error)) is error:
                raise
            raise failure from error


def publish_sharded(
    final: Path,
    world: World,
    parts: Parts,
    fill: Callable[[Path], None] = lambda _: None,
    metadata: Mapping[str, str] | None = None,
) -> Saved:
    """Let every process write its part of `final`, all of it at once; see `ShardedDirectory`."""
    one = ShardedDirectory(final, world, parts, metadata or {})
    one.begin()
    one.write()
    return one.end(fill)

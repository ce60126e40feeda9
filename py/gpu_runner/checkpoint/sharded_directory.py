"""A directory that all processes write, each its own files; it appears complete or not at all.

    all        begin    the first process makes step-000120.tmp/
    each       write    its shards, flushed, with checksums; on a thread during training, if asked
    all        end      checksums are gathered; the first process adds small files, seals, renames

`directory` seals it: a process that dies at any moment leaves a `.tmp`, which is never read. Every
process must see the same file system, as for the rest of a run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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


class ShardedDirectory:
    """Writes one directory, `final`; every process of `world` has one such object.

    Raises `SystemFailure` on all of them where one could not write; nothing half-written stays.
    """

    def __init__(
        self,
        final: Path,
        world: World,
        parts: Parts,
        metadata: Mapping[str, str] | None = None,
        *,
        private: bool = True,
    ) -> None:
        self._final = final
        self._world = world
        self._parts = parts
        self._metadata = metadata or {}
        self._private = private
        self._written: dict[str, Written] = {}
        self._problem = ""
        self._thread: Thread | None = None

    def begin(self) -> None:
        """Make the temporary directory, with a folder for each kind of part."""
        self._world.on_first(self._make)

    def _make(self) -> None:
        try:
            path = directory.begin(self._final, private=self._private)
            for folder in self._parts:
                (path / folder).mkdir()
        except OSError as error:
            raise directory.discard(self._final, error) from error

    def write(self) -> None:
        """Write this process's shards; `end` raises an error."""
        self.do(self._write_parts)
        self._parts = {}  # free the copies that were made for it

    def _write_parts(self, path: Path) -> None:
        name = file_name(self._world.rank, self._world.size)
        for folder, shards in self._parts.items():
            if shards:
                written = write(path / folder / name, shards, self._metadata)
                self._written[f"{folder}/{name}"] = written

    def do(self, work: Callable[[Path], None]) -> None:
        """Let `work` write into the temporary directory; `end` raises an error."""
        try:
            work(self._final.with_name(self._final.name + directory.UNFINISHED))
        except (OSError, SafetensorError) as error:
            self._problem = str(directory.write_failure(self._final, error))
        except Exception as error:  # every process must raise it
            self._problem = f"{self._final}: {type(error).__name__}: {error}"

    def start_writing(self) -> None:
        """Write this process's shards on a thread: `parts` must be copies that nothing changes."""
        self._thread = Thread(target=self.write, name="checkpoint", daemon=True)
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
        path = self._final.with_name(self._final.name + directory.UNFINISHED)
        try:
            if problem:
                raise everyones(SystemFailure(problem))
            fill(path)
            return directory.complete(self._final, known, private=self._private)
        except BaseException as error:
            if (failure := directory.discard(self._final, error)) is error:
                raise
            raise failure from error


def publish_sharded(
    final: Path,
    world: World,
    parts: Parts,
    fill: Callable[[Path], None] = lambda _: None,
    metadata: Mapping[str, str] | None = None,
) -> Saved:
    """Write `final` by all processes, each its own parts; see `ShardedDirectory`."""
    one = ShardedDirectory(final, world, parts, metadata)
    one.begin()
    one.write()
    return one.end(fill)

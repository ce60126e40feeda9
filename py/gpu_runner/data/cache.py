"""The cache of encoded sources: each entry is named by a hash of everything that it depends on.

Another file or another setting makes another entry; the same one is made once, however many runs
and processes ask for it. The oldest entries are removed when all together take too much disk. An
entry is a folder with the arrays of `examples`, and complete when it holds `meta.json`.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
import weakref
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import asdict
from functools import cached_property
from itertools import islice
from multiprocessing import resource_tracker
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

import numpy as np
from platformdirs import user_cache_path

from gpu_runner.atomic import (
    MANIFEST,
    check_files,
    publish,
    remove_folder,
    write_file,
)
from gpu_runner.config.source import RowSource, parse
from gpu_runner.data import hub
from gpu_runner.data.dataset import MOST_NAMED, DroppedExample, EncodedDataset, EncodingSummary
from gpu_runner.data.encode import Encoder
from gpu_runner.data.examples import (
    ExampleArrays,
    StoredExamples,
    StoredPlaces,
    StoredRows,
    fingerprint,
    open_arrays,
    pack,
)
from gpu_runner.data.rows import PlacedRow, ReportProgress, SourceReader, no_progress, no_rows
from gpu_runner.errors import CheckpointError, DataError, SystemFailure
from gpu_runner.installed import installed_version
from gpu_runner.locks import wait_for_lock
from gpu_runner.system import foreign
from unfrozen.plain import read_json

CACHE_ENV: Final = "UNFROZEN_CACHE"
LEAST_BYTES: Final = 16 * 2**20
"""Size from which a source is cached."""
FEW: Final = 2_000
"""Rows that are encoded in about a second, and not cached."""
MOST_BYTES: Final = 20 * 2**30
"""Of all entries together."""
_VERSION: Final = 4  # of how rows are read, encoded and stored
_META: Final = "meta.json"
_MOST_META_BYTES: Final = 2**28
_BLOCK: Final = 4 * 2**20


def is_large(source: str) -> bool:
    """Return whether a source is large enough to be cached: a file, or a named set of the hub.

    Raises `DataError` for what is neither.
    """
    wanted = parse(source)
    try:
        path = Path(wanted.place).expanduser()
    except RuntimeError:  # no home directory of that name: its reader reports it
        return False
    if path.exists():
        return path.is_file() and path.stat().st_size >= LEAST_BYTES
    dataset = hub.load(wanted)
    return bool(hub.fingerprint(dataset)) and hub.size_bytes(dataset) >= LEAST_BYTES


def _entry_path(
    source: str, encoder: Encoder, progress: ReportProgress, *, skip_bad: bool, most: int | None
) -> Path:
    """Return the folder of the entry for a source or its first rows, which may not exist."""
    wanted = parse(source)
    path = Path(wanted.place).expanduser()
    name = hashlib.sha256(_file_hash(path, progress) if path.exists() else _hub_name(wanted))
    settings = (
        installed_version(),
        _VERSION,
        wanted.columns,
        skip_bad,
        path.suffixes,
        encoder.cache_key(),
        *([] if most is None else [most]),
    )
    name.update(repr(settings).encode("utf-8", "surrogatepass"))
    return _folder() / name.hexdigest()[:40]


def _file_hash(path: Path, progress: ReportProgress) -> bytes:
    """Return the SHA-256 of a file."""
    whole, done, size = hashlib.sha256(), 0, max(1, path.stat().st_size)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            whole.update(block)
            done += len(block)
            progress(f"hashing {path.name}", done / size, 0)
    return whole.digest()


def _hub_name(wanted: RowSource) -> bytes:
    """Return the name of a data set of the hub and of its revision."""
    dataset = hub.load(wanted)
    return repr((wanted.place, wanted.subset, wanted.split, hub.fingerprint(dataset))).encode()


def _folder() -> Path:
    given = os.environ.get(CACHE_ENV)
    folder = Path(given).expanduser() if given else user_cache_path("unfrozen", appauthor=False)
    return folder / "rows"


@contextmanager
def exclusive_lock(path: Path) -> Iterator[None]:
    """Let one process at a time write or read the entry `path`; without locks, every one may."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_suffix(".lock").open("a")
    except OSError:
        yield
        return
    with lock:
        wait_for_lock(lock.fileno())
        yield


def remove_oldest(newest: Path) -> None:
    """Remove the oldest entries until the others are small enough; never the newest."""
    others = (path for path in newest.parent.iterdir() if path.is_dir() and path != newest)
    folders = [path for path in others if (path / MANIFEST).is_file()]
    sizes = {path: sum(file.stat().st_size for file in path.iterdir()) for path in folders}
    total_bytes = sum(sizes.values()) + sum(file.stat().st_size for file in newest.iterdir())
    for path in sorted(folders, key=lambda path: path.stat().st_mtime):
        if total_bytes <= MOST_BYTES:
            return
        total_bytes -= sizes[path] * remove_folder(path)


class CachedSource:
    """A source that is encoded on disk."""

    def __init__(self, source: str, arrays: ExampleArrays, meta: dict[str, Any]) -> None:
        self.source = source
        self.arrays = arrays
        self.bad = tuple(map(str, meta["bad"]))
        self._summary = EncodingSummary.merge(meta["summaries"])
        self._first_sha256: str | None = meta["sha256"]

    @staticmethod
    def open(source: str, folder: Path) -> CachedSource:
        """Return an entry. Raises OSError, ValueError or KeyError where it is incomplete."""
        meta = read_json(folder / _META, _MOST_META_BYTES)
        return CachedSource(source, ExampleArrays(folder), meta)

    @cached_property
    def _origins(self) -> Any:
        """(rows,) the index in the source of each row, bad ones left out."""
        return np.unique(self.arrays.origin)

    @property
    def sha256(self) -> str:
        """SHA-256 of all examples."""
        return self._digest(np.arange(len(self.arrays.origin)))

    def __len__(self) -> int:
        return len(self._origins)

    def select(
        self, name: str, rows: Sequence[int] | None = None, *, held_out: bool = False
    ) -> EncodedDataset:
        """Return the data set of some rows; see `dataset.EncodedSource`.

        Unless it is held out, its remarks are those of the whole source. Its SHA-256 follows from
        hashes; that of the first rows of a source is the same as in memory.
        """
        arrays, place = self.arrays, parse(self.source).place
        wanted = self._wanted(rows)
        chosen = np.flatnonzero(wanted & (arrays.trainable > 0))
        cut = arrays.cut[wanted]
        others = np.flatnonzero(wanted & (arrays.trainable == 0))
        most = others[np.argsort(-arrays.cut[others], kind="stable")[:MOST_NAMED]]
        stored = StoredPlaces(arrays, most, place), StoredRows(arrays, most)
        summary, bad = self._summary, self.bad
        if held_out:
            summary, bad = EncodingSummary(read=len(np.unique(arrays.origin[wanted]))), ()
        return EncodedDataset(
            name=name,
            rows=StoredRows(arrays, chosen),
            examples=StoredExamples(arrays, chosen),
            rows_read=summary.read + len(bad),
            cut_rows=int((cut > 0).sum()),
            cut_tokens=int(cut.sum()),
            untrainable_rows=len(others),
            dropped=tuple(map(DroppedExample, *stored, StoredExamples(arrays, most))),
            sha256=self._first_sha256 or self._digest(chosen),
            bad_rows=bad,
            notes=summary.notes,
            split_rows=summary.split,
            template_rows=summary.in_template,
            places=StoredPlaces(arrays, chosen, place),
        )

    def no_trainable(self, name: str, rows: Sequence[int] | None = None) -> DataError:
        """Return the error for a data set without trainable tokens."""
        return DataError(
            f"0 of {int(self._wanted(rows).sum())} examples have trainable tokens in the {name}"
            " data: look at some with `unfrozen data`."
        )

    def _wanted(self, rows: Sequence[int] | None) -> Any:
        """(N,) bool: which examples are made of these rows."""
        if rows is None:
            return np.ones(len(self.arrays.origin), np.bool_)
        return np.isin(self.arrays.origin, self._origins[rows])

    def _digest(self, chosen: Any) -> str:
        """Return the SHA-256 of the tokens' hashes of some examples, and of what is trained."""
        digest = hashlib.sha256(self.arrays.digest[chosen].tobytes())
        digest.update(self.arrays.trained.data)
        return digest.hexdigest()


def load_encoded(
    source: str,
    encoder: Encoder,
    *,
    skip_bad: bool = False,
    most: int | None = None,
    progress: ReportProgress = no_progress,
) -> CachedSource:
    """Return a source, or at most its first `most` rows, from the cache; encode it where needed.

    Raises `DataError` for the first bad row, unless bad ones are skipped, and for no row.
    """
    path = _entry_path(source, encoder, progress, skip_bad=skip_bad, most=most)
    with exclusive_lock(path):
        try:
            check_files(path)
            found = CachedSource.open(source, path)
            os.utime(path)
        except (OSError, ValueError, KeyError, CheckpointError):
            reader = SourceReader(source, skip_bad=skip_bad)
            found = _encode_into(path, reader, encoder, skip_bad, most, progress)
    if not len(found):
        raise no_rows(source, found.bad)
    return found


def _encode_into(
    path: Path,
    reader: SourceReader,
    encoder: Encoder,
    skip_bad: bool,
    most: int | None,
    progress: ReportProgress,
) -> CachedSource:
    """Encode a source into the entry `path`, or a temporary folder where that cannot be written."""

    def fill(folder: Path) -> None:
        _write_entry(folder, reader, encoder, skip_bad, most, progress)

    try:
        if os.access(path.parent, os.W_OK):
            publish(path, fill)
            remove_oldest(path)
            return CachedSource.open(reader.source, path)
        beside = TemporaryDirectory(prefix="unfrozen-rows-")
        fill(Path(beside.name))
    except (OSError, SystemFailure) as error:
        why = getattr(error.__cause__ or error, "strerror", None) or str(error).rstrip(".")
        raise SystemFailure(
            f"encoded examples cannot be cached in {path.parent} ({why}): give"
            f" {CACHE_ENV} another folder."
        ) from None
    found = CachedSource.open(reader.source, Path(beside.name))
    weakref.finalize(found.arrays, beside.cleanup)
    return found


def _write_entry(
    folder: Path,
    reader: SourceReader,
    encoder: Encoder,
    skip_bad: bool,
    most: int | None,
    progress: ReportProgress,
) -> None:
    """Write arrays and meta data of a source; for `most` rows, with their `fingerprint`."""
    summaries: list[EncodingSummary] = []
    bad: list[str] = []
    with (
        open_arrays(folder) as write,
        closing(_encoded_parts(reader, encoder, most, progress)) as parts,
    ):
        for part in parts:
            if part.bad and not skip_bad:
                raise DataError(part.bad[0])
            bad += [text.rstrip(".") for text in part.bad]
            summaries.append(part.summary)
            write(part.arrays)
    sha256 = None
    if most is not None:
        arrays = ExampleArrays(folder)
        sha256 = fingerprint(map(arrays.example, arrays.trainable.nonzero()[0]))
    meta = {
        "source": reader.source,
        "summaries": [asdict(summary) for summary in summaries],
        "bad": [*reader.bad, *bad],
        "sha256": sha256,
    }
    write_file(folder / _META, json.dumps(meta))


_AT_ONCE: Final = 2_000  # rows that one process encodes at once
_AHEAD: Final = 4  # times as many for each process are read before they are encoded
_encoder: Encoder | None = None  # of a worker process


class _Job(NamedTuple):
    """Rows that one process encodes; `start` is the index of the first in the source.

    `share` is how much of the source is read with them.
    """

    start: int
    rows: list[PlacedRow]
    share: float


class EncodedPart(NamedTuple):
    """Some rows of a source, encoded: packed arrays, a summary, and why bad rows are left out."""

    arrays: dict[str, bytes]
    summary: EncodingSummary
    bad: list[str]


def _encoded_parts(
    reader: SourceReader, encoder: Encoder, most: int | None, progress: ReportProgress
) -> Generator[EncodedPart]:
    """Yield the parts of a source in order, encoded by as many processes as there are cores."""
    rows = 0
    what = f"encoding {Path(parse(reader.source).place).name}"
    for job, part in _in_order(_jobs(reader, most), encoder):
        rows += len(job.rows)
        progress(what, job.share, rows)
        yield part
    progress(what, 1.0, rows)


def _in_order(jobs: Iterator[_Job], encoder: Encoder) -> Iterator[tuple[_Job, EncodedPart]]:
    """Yield each job with what was made of it, in the order of the jobs."""
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    first = list(islice(jobs, 2))
    if workers == 1 or len(first) < 2:
        for job in (*first, *jobs):
            yield job, encode_part(encoder, job.start, job.rows)
        return
    context = multiprocessing.get_context("spawn")
    resource_tracker.ensure_running()  # or its start would unblock SIGINT below
    with ProcessPoolExecutor(workers, context, _begin, (encoder,)) as pool:
        waiting: list[tuple[_Job, Future[EncodedPart]]] = []

        def send(job: _Job) -> None:
            with _blocked_interrupts():
                waiting.append((job, pool.submit(_work, job.start, job.rows)))

        try:
            for job in first:
                send(job)
            while waiting:
                while len(waiting) < workers * _AHEAD and (more := next(jobs, None)) is not None:
                    send(more)
                job, done = waiting.pop(0)
                try:
                    yield job, done.result()
                except BrokenProcessPool:
                    raise DataError(
                        f"{job.rows[0][0]}, or a row up to {_AT_ONCE:,} behind it: the model's chat"
                        f" template or tokenizer worked for more than {foreign.CPU_SECONDS} seconds"
                        f" or needed more than {foreign.ROOM_BYTES / 2**30:g} GiB of memory."
                    ) from None
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _blocked_interrupts() -> Iterator[None]:
    """Let a process that starts here ignore Ctrl-C; the main process receives it and ends it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _jobs(reader: SourceReader, most: int | None) -> Iterator[_Job]:
    rows, start = islice(iter(reader), most), 0
    while some := list(islice(rows, _AT_ONCE)):
        yield _Job(start, some, min(1.0, reader.share))
        start += len(some)


def _begin(encoder: Encoder) -> None:
    global _encoder
    _encoder = encoder
    foreign.limit_process()


def _work(start: int, rows: list[PlacedRow]) -> EncodedPart:
    assert _encoder is not None
    foreign.grant_time()
    return encode_part(_encoder, start, rows)


def encode_part(encoder: Encoder, start: int, rows: Iterable[PlacedRow]) -> EncodedPart:
    """Return some rows encoded; `start` is the index of the first in the source."""
    encoded, origins, bad = [], [], []
    for origin, one in enumerate(encoder.encode_rows(rows), start):
        if isinstance(one, str):
            bad.append(one)
        else:
            encoded.append(one)
            origins.append(origin)
    arrays = pack(
        (origin, dict(text.row), example)
        for origin, one in zip(origins, encoded, strict=True)
        for text, example in zip(one.texts, one.examples, strict=True)
    )
    return EncodedPart(arrays, EncodingSummary.of(encoded), bad)

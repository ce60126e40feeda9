"""The cache of encoded examples: each entry is named by a hash of all that it depends on.

Another file, or another setting, makes another entry; the same one is never made twice, however
many runs and processes ask. The oldest entries are removed when they take too much of the disk.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import weakref
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import closing, contextmanager
from itertools import islice
from multiprocessing import resource_tracker
from pathlib import Path
from tempfile import mkdtemp
from typing import Final, NamedTuple

from platformdirs import user_cache_path

from gpu_runner.config.source import RowSource, parse
from gpu_runner.data import hub, stored
from gpu_runner.data.dataset import fingerprint
from gpu_runner.data.encode import BadRow, Encoder
from gpu_runner.data.files import ReadShare, Watch, unwatched
from gpu_runner.data.sources import Row, no_rows, refusal, stream_rows
from gpu_runner.errors import DataError, SystemFailure
from gpu_runner.installed import installed_version

CACHE_ENV: Final = "UNFROZEN_CACHE"
LEAST_BYTES: Final = 16 * 2**20  # of a source that is worth it
FEW: Final = 2_000  # rows that are encoded in about a second: these are not worth it
MOST_BYTES: Final = 20 * 2**30  # of all entries
_VERSION: Final = 3  # of how examples are read, encoded and stored
_BLOCK: Final = 4 * 2**20


def is_large(source: str) -> bool:
    """Whether a source is worth keeping encoded: a file, or a set of the hub that can be named.

    Raises `DataError` for what is neither.
    """
    wanted = parse(source)
    try:
        path = Path(wanted.place).expanduser()
    except RuntimeError:  # no home directory of that name: its reader reports it
        return False
    if path.exists():
        return path.is_file() and path.stat().st_size >= LEAST_BYTES
    found = hub.loaded(wanted)
    return bool(hub.fingerprint(found)) and hub.size_bytes(found) >= LEAST_BYTES


def cache_path(
    source: str, encoder: Encoder, watch: Watch, *, skip: bool, most: int | None = None
) -> Path:
    """The folder of what is made of a source or its first rows, whether it is there or not."""
    wanted = parse(source)
    path = Path(wanted.place).expanduser()
    whole = hashlib.sha256(_content(path, watch) if path.exists() else _named(wanted))
    follows = (
        installed_version(),
        _VERSION,
        wanted.columns,
        skip,
        path.suffixes,
        encoder.identity(),
        *([] if most is None else [most]),
    )
    whole.update(repr(follows).encode("utf-8", "surrogatepass"))
    return _folder() / whole.hexdigest()[:40]


def _content(path: Path, watch: Watch) -> bytes:
    """A hash of what a file holds."""
    whole, done, size = hashlib.sha256(), 0, max(1, path.stat().st_size)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            whole.update(block)
            done += len(block)
            watch(f"looking at {path.name}", done / size, 0)
    return whole.digest()


def _named(wanted: RowSource) -> bytes:
    """What stands for the rows of a set of the hub: its name, and that of its revision."""
    found = hub.loaded(wanted)
    return repr((wanted.place, wanted.subset, wanted.split, hub.fingerprint(found))).encode()


def _folder() -> Path:
    given = os.environ.get(CACHE_ENV)
    folder = Path(given).expanduser() if given else user_cache_path("unfrozen", appauthor=False)
    return folder / "rows"


@contextmanager
def exclusive_lock(path: Path) -> Iterator[None]:
    """Let one process at a time make or read the entry `path`; without locks, every process may."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_suffix(".lock").open("a")
    except OSError:
        yield
        return
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def remove_oldest(newest: Path) -> None:
    """Remove the oldest until the rest is small enough; never the newest."""
    folders = [path for path in newest.parent.iterdir() if path.is_dir() and path != newest]
    sizes = {path: sum(file.stat().st_size for file in path.iterdir()) for path in folders}
    total_bytes = sum(sizes.values()) + sum(file.stat().st_size for file in newest.iterdir())
    for path in sorted(folders, key=lambda path: path.stat().st_mtime):
        if total_bytes <= MOST_BYTES:
            return
        shutil.rmtree(path, ignore_errors=True)
        total_bytes -= sizes[path]


_TOGETHER: Final = 2_000  # rows that one process encodes at once
_AHEAD: Final = 4  # of those for each process, read before they are encoded
_encoder: Encoder | None = None  # of a process that encodes


class _Job(NamedTuple):
    """Rows that one process encodes, the first of them number `start`; read up to `share`."""

    start: int
    rows: list[tuple[str, Row]]
    share: float


def load_encoded(
    source: str,
    encoder: Encoder,
    bad: list[str] | None,
    watch: Watch = unwatched,
    most: int | None = None,
) -> stored.Arrays:
    """The encoded rows of a source. Raises `DataError` for the first row that is none.

    With a list `bad`, such rows are left out and the reasons appended to it. With `most`, only the
    first so many rows are read, and their `dataset.fingerprint` is in the meta data as `sha256`.
    """
    path = cache_path(source, encoder, watch, skip=bad is not None, most=most)
    before = len(bad or ())
    with exclusive_lock(path):
        try:
            found = stored.Arrays(path)
            os.utime(path)
        except (OSError, ValueError, KeyError):
            shutil.rmtree(path, ignore_errors=True)
            found = _encode_into_cache(source, encoder, bad, path, watch, most)
        else:
            if bad is not None:
                bad += found.meta["bad"]
    if not len(found.origin):
        raise no_rows(source, (bad or [])[before:])
    return found


def notes(found: stored.Arrays) -> list[tuple[str, int, str]]:
    """Return the notes on the examples: (text, of how many, where the first one is)."""
    counts: Counter[str] = Counter()
    firsts: dict[str, str] = {}
    for summary in found.meta["summaries"]:
        for text, count, first in summary["notes"]:
            counts[text] += count
            firsts.setdefault(text, first)
    return [(text, count, firsts[text]) for text, count in counts.most_common()]


def total(found: stored.Arrays, name: str) -> int:
    """Return the total of a number in the summaries of all parts."""
    return sum(summary[name] for summary in found.meta["summaries"])


def _encode_into_cache(
    source: str,
    encoder: Encoder,
    bad: list[str] | None,
    path: Path,
    watch: Watch,
    most: int | None,
) -> stored.Arrays:
    """Encode all rows, into the cache where it can be written, else where it is forgotten."""
    reasons: list[str] = [] if bad is None else bad
    before = len(reasons)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(mkdtemp(dir=path.parent, prefix="making-"))
    except OSError:
        folder = Path(mkdtemp(prefix="unfrozen-rows-"))
    try:
        with closing(_encode_all(source, encoder, bad, watch, most)) as parts:
            stored.write(folder, parts, {"source": source})
        found = stored.Arrays(folder)
        more = {
            "bad": reasons[before:],
            "sha256": None if most is None else _rows_fingerprint(found),
        }
        (folder / stored.META).write_text(json.dumps({**found.meta, **more}), "utf-8")
        if folder.parent == path.parent:
            folder.rename(path)
            remove_oldest(path)
            folder = path
        found = stored.Arrays(folder)
        if folder != path:
            weakref.finalize(found, shutil.rmtree, folder, ignore_errors=True)
        return found
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise SystemFailure(
            f"encoded examples cannot be cached in {folder.parent} ({error.strerror}): give"
            f" {CACHE_ENV} another folder."
        ) from None
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _rows_fingerprint(found: stored.Arrays) -> str:
    """That of the rows with something to train on, as a set in memory has it."""
    return fingerprint(found.example(index) for index in found.trainable.nonzero()[0])


def _encode_all(
    source: str, encoder: Encoder, bad: list[str] | None, watch: Watch, most: int | None
) -> Generator[stored.EncodedExamples]:
    """Parts in the order of their rows, encoded by as many processes as there are cores."""
    reading, rows = ReadShare(), 0
    what = f"encoding {Path(parse(source).place).name}"
    wanted = islice(stream_rows(source, bad, reading), most)
    for job, part in _in_order(_jobs(wanted, reading), encoder):
        found = part.summary.pop("bad")
        if found and bad is None:
            raise DataError(found[0])
        if bad is not None:
            bad += [text.rstrip(".") for text in found]
        rows += len(job.rows)
        watch(what, job.share, rows)
        yield part
    watch(what, 1.0, rows)


def _in_order(
    jobs: Iterator[_Job], encoder: Encoder
) -> Iterator[tuple[_Job, stored.EncodedExamples]]:
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    first = list(islice(jobs, 2))
    if workers == 1 or len(first) < 2:
        for job in (*first, *jobs):
            yield job, encode_part(encoder, job.start, job.rows)
        return
    context = multiprocessing.get_context("spawn")
    resource_tracker.ensure_running()  # or it would undo what follows when it starts
    with ProcessPoolExecutor(workers, context, _begin, (encoder,)) as pool:
        waiting: list[tuple[_Job, Future[stored.EncodedExamples]]] = []

        def send(job: _Job) -> None:
            with _uninterrupted():
                waiting.append((job, pool.submit(_work, job.start, job.rows)))

        try:
            for job in first:
                send(job)
            while waiting:
                while len(waiting) < workers * _AHEAD and (more := next(jobs, None)) is not None:
                    send(more)
                job, done = waiting.pop(0)
                yield job, done.result()
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """A process that starts here ignores Ctrl-C: the main process, which receives it, ends it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _jobs(rows: Iterator[tuple[str, Row]], reading: ReadShare) -> Iterator[_Job]:
    start = 0
    while some := list(islice(rows, _TOGETHER)):
        yield _Job(start, some, min(1.0, reading.share))
        start += len(some)


def _begin(encoder: Encoder) -> None:
    global _encoder
    _encoder = encoder


def _work(start: int, rows: list[tuple[str, Row]]) -> stored.EncodedExamples:
    assert _encoder is not None
    return encode_part(_encoder, start, rows)


def encode_part(
    encoder: Encoder, start: int, rows: Iterable[tuple[str, Row]]
) -> stored.EncodedExamples:
    """Return some rows encoded, the first of them number `start`; bad ones go into the summary."""
    rendered, origins, bad = [], [], []
    counts: Counter[str] = Counter()
    firsts: dict[str, str] = {}
    split = read = 0
    for number, (where, row) in enumerate(rows, start):
        try:
            texts = encoder.render(row)
        except BadRow as error:
            bad.append(refusal(where, error))
            continue
        read, split = read + 1, split + (len(texts) > 1)
        rendered += texts
        origins += [number] * len(texts)
        for note in texts[0].notes:
            counts[note] += 1
            firsts.setdefault(note, where)
    examples = encoder.examples(rendered) if rendered else []
    texts_of = (dict(one.row) for one in rendered)
    summary = {
        "notes": [(text, count, firsts[text]) for text, count in counts.items()],
        "bad": bad,
        "read": read,
        "split": split,
        "in_template": sum(one.in_template for one in rendered),
    }
    return stored.pack(zip(origins, texts_of, examples, strict=True), summary)

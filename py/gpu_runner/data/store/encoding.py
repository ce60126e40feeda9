"""The rows of a large file, encoded into arrays by several processes, or found there from before.

What is made is named by everything it follows from: what the file holds, the tokenizer, the chat
template and the choices of a run. Another file, or another choice, makes other arrays; the same
ones are never made twice, however many runs and processes ask. The oldest are removed when they
take too much of the disk.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import multiprocessing
import os
import shutil
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

from platformdirs import user_cache_path

from gpu_runner.config.source import parse
from gpu_runner.data.encode import BadRow, Encoder
from gpu_runner.data.lines import Row, stream_rows
from gpu_runner.data.store import arrays
from gpu_runner.errors import DataError, SystemFailure
from gpu_runner.installed import installed_version

CACHE_ENV: Final = "UNFROZEN_CACHE"
LEAST_BYTES: Final = 16 * 2**20  # of a file that is worth it
MOST_BYTES: Final = 20 * 2**30  # of everything that is kept
_VERSION: Final = 1  # of how rows are encoded and kept
_TOGETHER: Final = 2_000  # rows that one process encodes at once
_AHEAD: Final = 4  # of those for each process, read before they are encoded
_encoder: Encoder | None = None  # of a process that encodes


def is_large(source: str) -> bool:
    """Whether a source is a file that is worth keeping encoded."""
    path = Path(parse(source).place).expanduser()
    return path.is_file() and path.stat().st_size >= LEAST_BYTES


def stored(source: str, encoder: Encoder, bad: list[str] | None) -> arrays.Arrays:
    """The encoded rows of a file. Raises `DataError` for the first row that is none.

    With a list `bad`, such rows are left out and told there.
    """
    name = _name(source, encoder, skip=bad is not None)
    place = _cache() / name
    with _alone(place):
        try:
            found = arrays.Arrays(place)
            os.utime(place)
        except (OSError, ValueError, KeyError):
            shutil.rmtree(place, ignore_errors=True)
            found = _made(source, encoder, bad, place)
        else:
            if bad is not None:
                bad += found.meta["bad"]
    return found


def notes(found: arrays.Arrays) -> list[tuple[str, int, str]]:
    """What is to be said of the rows: the words, of how many, and where the first one is."""
    counts: Counter[str] = Counter()
    firsts: dict[str, str] = {}
    for told in found.meta["told"]:
        for text, count, first in told["notes"]:
            counts[text] += count
            firsts.setdefault(text, first)
    return [(text, count, firsts[text]) for text, count in counts.most_common()]


def total(found: arrays.Arrays, name: str) -> int:
    """The sum of a number that was told with every part."""
    return sum(told[name] for told in found.meta["told"])


def _made(source: str, encoder: Encoder, bad: list[str] | None, place: Path) -> arrays.Arrays:
    """Encode all rows, into the cache where it can be written, else where it is forgotten."""
    told: list[str] = [] if bad is None else bad
    before = len(told)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(mkdtemp(dir=place.parent, prefix="making-"))
    except OSError:
        folder = Path(mkdtemp(prefix="unfrozen-rows-"))
    try:
        parts = _encoded(stream_rows(source, bad), encoder, told, skip=bad is not None)
        arrays.write(folder, parts, {"source": source})
        meta = json.loads((folder / arrays.META).read_text("utf-8"))
        (folder / arrays.META).write_text(json.dumps({**meta, "bad": told[before:]}), "utf-8")
        if folder.parent == place.parent:
            folder.rename(place)
            _make_room(place)
            folder = place
        found = arrays.Arrays(folder)
        if folder != place:
            weakref.finalize(found, shutil.rmtree, folder, ignore_errors=True)
        return found
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise SystemFailure(
            f"encoded rows cannot be kept in {folder.parent} ({error.strerror}): give"
            f" {CACHE_ENV} another folder."
        ) from None
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _encoded(
    rows: Iterator[tuple[str, Row]], encoder: Encoder, bad: list[str], *, skip: bool
) -> Iterator[arrays.EncodedRows]:
    """Parts in the order of their rows, encoded by as many processes as there are cores."""
    jobs = _jobs(rows)
    for part in _in_order(jobs, encoder):
        found = part.told.pop("bad")
        if found and not skip:
            raise DataError(found[0])
        bad += [text.rstrip(".") for text in found]
        yield part


def _in_order(
    jobs: Iterator[tuple[int, list[tuple[str, Row]]]], encoder: Encoder
) -> Iterator[arrays.EncodedRows]:
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    first = list(islice(jobs, 2))
    if workers == 1 or len(first) < 2:
        for start, rows in (*first, *jobs):
            yield encode_part(encoder, start, rows)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _begin, (encoder,)) as pool:
        waiting: list[Future[arrays.EncodedRows]] = [pool.submit(_work, *job) for job in first]
        try:
            while waiting:
                while len(waiting) < workers * _AHEAD and (job := next(jobs, None)) is not None:
                    waiting.append(pool.submit(_work, *job))
                yield waiting.pop(0).result()
        finally:
            pool.shutdown(cancel_futures=True)


def _jobs(rows: Iterator[tuple[str, Row]]) -> Iterator[tuple[int, list[tuple[str, Row]]]]:
    start = 0
    while some := list(islice(rows, _TOGETHER)):
        yield start, some
        start += len(some)


def _begin(encoder: Encoder) -> None:
    global _encoder
    _encoder = encoder


def _work(start: int, rows: list[tuple[str, Row]]) -> arrays.EncodedRows:
    assert _encoder is not None
    return encode_part(_encoder, start, rows)


def encode_part(
    encoder: Encoder, start: int, rows: Iterable[tuple[str, Row]]
) -> arrays.EncodedRows:
    """Some rows, the first of them number `start` of its file; bad ones are told."""
    rendered, origins, bad = [], [], []
    counts: Counter[str] = Counter()
    firsts: dict[str, str] = {}
    split = read = 0
    for number, (where, row) in enumerate(rows, start):
        try:
            texts = encoder.render(row)
        except BadRow as error:
            bad.append(f"{where}: {error}.")
            continue
        read, split = read + 1, split + (len(texts) > 1)
        rendered += texts
        origins += [number] * len(texts)
        for note in texts[0].notes:
            counts[note] += 1
            firsts.setdefault(note, where)
    examples = encoder.examples(rendered) if rendered else []
    texts_of = (dict(one.row) for one in rendered)
    told = {
        "notes": [(text, count, firsts[text]) for text, count in counts.items()],
        "bad": bad,
        "read": read,
        "split": split,
        "in_template": sum(one.in_template for one in rendered),
    }
    return arrays.pack(zip(origins, texts_of, examples, strict=True), told)


def _name(source: str, encoder: Encoder, *, skip: bool) -> str:
    """The name of what is made: a hash of everything it follows from."""
    wanted = parse(source)
    whole = hashlib.sha256()
    with Path(wanted.place).expanduser().open("rb") as file:
        whole.update(hashlib.file_digest(file, "sha256").digest())
    follows = (
        installed_version(),
        _VERSION,
        wanted.columns,
        skip,
        Path(wanted.place).suffixes,
        encoder.identity(),
    )
    whole.update(repr(follows).encode("utf-8", "surrogatepass"))
    return whole.hexdigest()[:40]


def _cache() -> Path:
    given = os.environ.get(CACHE_ENV)
    folder = Path(given).expanduser() if given else user_cache_path("unfrozen", appauthor=False)
    return folder / "rows"


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """One process at a time makes or reads what is called `place`; where no lock can be, all do."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        lock = place.with_suffix(".lock").open("a")
    except OSError:
        yield
        return
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make_room(newest: Path) -> None:
    """Remove the oldest until the rest is small enough; never the newest."""
    folders = [path for path in newest.parent.iterdir() if path.is_dir() and path != newest]
    sizes = {path: sum(file.stat().st_size for file in path.iterdir()) for path in folders}
    held = sum(sizes.values()) + sum(file.stat().st_size for file in newest.iterdir())
    for path in sorted(folders, key=lambda path: path.stat().st_mtime):
        if held <= MOST_BYTES:
            return
        shutil.rmtree(path, ignore_errors=True)
        held -= sizes[path]

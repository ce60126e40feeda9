"""Finished runs, frozen into a copy of the site for any static host.

The copy is the site as it is served, its own recordings behind the runs that are published. Of a
log every event that can be read is copied, with the folders of this machine cut out of its texts;
what still names a place of it is reported. A token or a folder of somebody's stops all of it.
"""

from __future__ import annotations

import json
import lzma
import os
import platform
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from gpu_runner import atomic
from gpu_runner.errors import UsageError
from gpu_runner.installed import short
from gpu_runner.log.runs import RunIndex, RunInfo
from gpu_runner.log.tail import LOG_NAME, MOST_LINE_BYTES
from gpu_runner.log.writer import SystemClock
from gpu_runner.outgoing import find_private, require_public, texts_in
from gpu_runner.serve.site import FORMS, PACKED, SPLICED, site_files, spliced
from unfrozen.plain import open_plain
from unfrozen.schema.event_log import read_line
from unfrozen.schema.offline import SERVICE_WORKER, with_list

RECORDINGS: Final = "recordings"
INDEX: Final = "index.json"
GOING_ON: Final = ("running", "paused", "stalled")
MOST_NAME: Final = 200
"""Characters of a file's name: most file systems take 255 bytes with what is added."""
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")
_ROOTED: Final = re.compile(r"(?:^|[\s\"'=(])(/(?:[\w.+-]+/)+[\w.+-]*|[A-Za-z]:\\[\w.\\+-]*)")


@dataclass(frozen=True, slots=True)
class Published:
    """A run in the copy: its file below recordings/, its events, and what still names a place.

    `left_out` counts properties of events that this version does not know; `private` is what
    should not be published, with file and line.
    """

    run: str
    file: str
    events: int
    damaged: int
    left_out: int
    traces: tuple[str, ...]
    private: tuple[str, ...]


def publish(
    directories: Sequence[Path], site: Path, out: Path, package: Path, *, private: bool = False
) -> list[Published]:
    """Write a copy of `site` with these runs to `out`: a new or empty folder, or an older copy.

    `package` is the installed one, whose files a site of a wheel shares. Raises UsageError for a
    run that is none or goes on, and for one that tells what is private unless that is allowed;
    SystemFailure for an `out` that is another folder. Then nothing is written.
    """
    infos = [_finished(directory) for directory in directories]
    done: list[Published] = []

    def fill(folder: Path) -> None:
        _copy(site, folder, package)
        done.extend(_add_runs(directories, infos, folder))
        private_parts = [part for each in done for part in each.private]
        require_public(private_parts, "This site", allowed=private)

    atomic.publish(out, fill, private=False, of="a published site")
    return done


def _add_runs(
    directories: Sequence[Path], infos: Sequence[RunInfo], folder: Path
) -> Iterator[Published]:
    """Add runs to the recordings of a copy of the site, before those that it has."""
    listing = folder / RECORDINGS / INDEX
    before = json.loads(listing.read_text("utf-8"))
    taken = {entry["file"] for entry in before}
    entries = []
    for directory, info in zip(directories, infos, strict=True):
        name = _file_name(info.id, taken)
        taken.add(name)
        entry = {"id": Path(name).stem, "file": name, **_description(info)}
        entries.append(entry | {"run": info.recorded()})
        yield _freeze(directory, folder / RECORDINGS / name, entries[-1])
    listing.write_text(json.dumps([*entries, *before], ensure_ascii=False, indent=2), "utf-8")
    script = folder / SERVICE_WORKER
    if script.is_file():  # the files of a wheel are packed otherwise than they were
        files = ((address.lstrip("/"), path.read_bytes()) for address, path in site_files(folder))
        script.write_text(with_list(script.read_text("utf-8"), files), "utf-8")
    for file in (listing, script):
        for suffix in FORMS.values():  # of what it was before
            file.with_name(f"{file.name}{suffix}").unlink(missing_ok=True)


def _finished(directory: Path) -> RunInfo:
    """Return what is listed of a run. Raises UsageError unless it has ended."""
    index = RunIndex(directory.parent, SystemClock())
    found = next((info for info in index.infos() if info.id == directory.name), None)
    if found is None:
        raise UsageError(f"There is no run {directory.name!r} in {short(directory.parent)}.")
    if found.problem:
        raise UsageError(f"The run {directory.name!r} cannot be published: {found.problem}.")
    if found.status in GOING_ON:
        reason = f"The run {directory.name!r} is {found.status}, after step {found.step}"
        raise UsageError(f"{reason}: publish it when it has ended.")
    return found


def _copy(site: Path, out: Path, package: Path) -> None:
    """Copy the site; what a wheel holds packed or in parts becomes the files that are served."""
    for address, path in site_files(site):
        if path == site / atomic.MANIFEST:  # of an older copy
            continue
        target = out / address.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == PACKED:
            target.with_suffix("").write_bytes(lzma.decompress(path.read_bytes()))
        elif path.suffix == SPLICED:
            target.with_suffix("").write_bytes(spliced(path.read_bytes(), package))
        else:
            shutil.copyfile(path, target)


def _file_name(run: str, taken: set[str]) -> str:
    """Return a file name that any host can serve, and that no other run has."""
    name = _UNSAFE.sub("-", run).strip(".-")[:MOST_NAME] or "run"
    names = (f"{name}{end}.jsonl" for end in ("", *(f"-{number}" for number in range(2, 10_000))))
    return next(each for each in names if each not in taken)


def _description(info: RunInfo) -> dict[str, str]:
    """Return title and description of a run in the list of recordings."""
    day = datetime.fromtimestamp(info.started)
    when = f" on {day.day} {day:%B %Y}" if info.started else ""
    return {
        "title": f"{info.model or 'A run'} · {info.id}",
        "description": f"{info.step:,} steps{when}; {info.status}.",
    }


def _freeze(directory: Path, target: Path, entry: dict[str, Any]) -> Published:
    """Copy what the page can read of a log; `entry` is that of the list."""
    places = _places(directory)
    events = damaged = left_out = 0
    named: dict[str, None] = {}
    listed = "\n".join(texts_in(entry))
    private = [f"the name of the run {directory.name}: {what}" for _, what in find_private(listed)]
    with target.open("w", encoding="utf-8") as out:
        for number, line in enumerate(_lines(directory / LOG_NAME), 1):
            checked = read_line(line)
            left_out += checked.unknown
            if checked.problem:
                damaged += 1
                continue
            event = without(checked.value, places)
            text = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
            out.write(f"{text}\n")
            events += 1
            named |= dict.fromkeys(traces(text))
            found = find_private("\n".join(texts_in(event)))
            private += [f"{directory.name}/{LOG_NAME}, line {number}: {what}" for _, what in found]
    found_in = directory.name, target.name, events, damaged, left_out
    return Published(*found_in, tuple(named), tuple(private))


def _lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a log; of one that is too long the start, which is none of an event."""
    with os.fdopen(open_plain(path), "rb") as log:
        while line := log.readline(MOST_LINE_BYTES + 2):
            yield line.rstrip(b"\n")
            while not line.endswith(b"\n") and (line := log.readline(MOST_LINE_BYTES)):
                pass


def _places(directory: Path) -> list[str]:
    """Return the folders of this machine that a log may name, the longest first."""
    folders = [directory.parent, Path.cwd(), Path.home()]
    found = {f"{place}{os.sep}" for folder in folders for place in (folder, folder.resolve())}
    return sorted((place for place in found if len(place) > 1), key=len, reverse=True)


def without(event: Any, places: Sequence[str]) -> Any:
    """Return the event with every place cut out of its texts; lists and objects are walked."""
    if isinstance(event, dict):
        return {key: without(value, places) for key, value in event.items()}
    if isinstance(event, list):
        return [without(value, places) for value in event]
    if isinstance(event, str):
        for place in places:
            event = event.replace(place, "").replace(place.rstrip(os.sep), "")
    return event


def traces(text: str) -> list[str]:
    """Return what still tells of the machine: folders from its root, its name, its user's."""
    names = [platform.node(), os.environ.get("USER", ""), Path.home().name]
    found = [match.group(1) for match in _ROOTED.finditer(text)]
    return found + [n for n in names if len(n) > 3 and re.search(rf"\b{re.escape(n)}\b", text)]

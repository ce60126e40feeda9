"""Finished runs, frozen into a copy of the site for any static host.

The copy is the site as it is served, its own recordings behind the runs that are published. Of a
log every event that can be read is copied, with the folders of this machine cut out of its texts;
what still names a place of it is reported.
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

from gpu_runner.errors import UsageError
from gpu_runner.installed import short
from gpu_runner.log.runs import RunIndex, RunInfo
from gpu_runner.log.tail import LOG_NAME
from gpu_runner.log.writer import SystemClock
from gpu_runner.plain import open_plain
from gpu_runner.serve.site import FORMS, PACKED, SPLICED, site_files, spliced
from unfrozen.schema.offline import SERVICE_WORKER, with_list

RECORDINGS: Final = "recordings"
INDEX: Final = "index.json"
GOING_ON: Final = ("running", "paused", "stalled")
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")
_ROOTED: Final = re.compile(r"(?:^|[\s\"'=(])(/(?:[\w.+-]+/)+[\w.+-]*|[A-Za-z]:\\[\w.\\+-]*)")


@dataclass(frozen=True, slots=True)
class Published:
    """A run in the copy: its file below recordings/, its events, and what still names a place."""

    run: str
    file: str
    events: int
    damaged: int
    traces: tuple[str, ...]


def publish(directories: Sequence[Path], site: Path, out: Path, package: Path) -> list[Published]:
    """Write a copy of `site` with these runs to `out`, a new or an empty folder.

    `package` is the installed one, whose files a site of a wheel shares. Raises UsageError for a
    run that is none or goes on, and for an `out` that holds something; nothing is written then.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"--out {short(out)} is not empty: name a new folder, or empty it.")
    infos = [_finished(directory) for directory in directories]
    _copy(site, out, package)
    listing = out / RECORDINGS / INDEX
    before = json.loads(listing.read_text("utf-8"))
    taken = {entry["file"] for entry in before}
    done, entries = [], []
    for directory, info in zip(directories, infos, strict=True):
        name = _file_name(info.id, taken)
        taken.add(name)
        done.append(_freeze(directory, out / RECORDINGS / name, info))
        entry = {"id": Path(name).stem, "file": name, **_description(info)}
        entries.append(entry | {"run": info.recorded()})
    listing.write_text(json.dumps([*entries, *before], ensure_ascii=False, indent=2), "utf-8")
    _list_for_offline(out)
    for file in (listing, out / SERVICE_WORKER):
        for suffix in FORMS.values():  # of what it was before
            file.with_name(f"{file.name}{suffix}").unlink(missing_ok=True)
    return done


def _list_for_offline(out: Path) -> None:
    """Have browsers keep the files of the copy: its own runs, and what a wheel holds otherwise."""
    script = out / SERVICE_WORKER
    if script.is_file():
        files = ((address.lstrip("/"), path.read_bytes()) for address, path in site_files(out))
        script.write_text(with_list(script.read_text("utf-8"), files), "utf-8")


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
    name = _UNSAFE.sub("-", run).strip(".-") or "run"
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


def _freeze(directory: Path, target: Path, info: RunInfo) -> Published:
    places = _places(directory)
    events = damaged = 0
    named: dict[str, None] = {}
    with target.open("w", encoding="utf-8") as out:
        for line in _lines(directory / LOG_NAME):
            try:
                event = json.loads(line)
            except ValueError:
                damaged += 1
                continue
            text = json.dumps(without(event, places), ensure_ascii=False, separators=(",", ":"))
            out.write(f"{text}\n")
            events += 1
            named |= dict.fromkeys(traces(text))
    return Published(info.id, target.name, events, damaged, tuple(named))


def _lines(path: Path) -> Iterator[str]:
    with os.fdopen(open_plain(path), "rb") as log:
        for line in log:
            yield line.decode("utf-8", "replace")


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

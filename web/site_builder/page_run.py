"""The first view of `<page-run>`, the fine-tune that runs in the page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from site_builder import wheels
from site_builder.browser_python import DEMO, python_bytes
from site_builder.compression import transferred_bytes
from site_builder.formats import mb
from site_builder.measurements import read_json, read_presets
from unfrozen.lab import choices
from unfrozen.lab.demo import FILES
from unfrozen.lab.scoring import parts


def view(_: Mapping[str, object]) -> dict[str, Any]:
    """Return everything that `<page-run>` draws; it has no state to start from.

    `plane` holds the loss before training and the results of runs with one control each.
    """
    known = read_json("forgetting.json")["demo"]
    steps = known["choices"]["steps"]
    text = (
        f"Letters: the same model after {steps} steps of 32 examples by the runner, each with one"
        f" choice added, means of {known['seeds']} seeds"
    )
    dots = [
        {key: control[key] for key in ("title", "flags", "task", "general")}
        for control in known["controls"]
    ]
    before = read_presets()["presets"]["plain"]["losses"]
    start = {"task": before["task"][0], "general": before["general"][0]}
    plane = {"start": start, "known": dots, "text": text}
    numpy = wheels.CACHE / wheels.read_lock()["packages"]["numpy"]["file_name"]
    files = [path.read_bytes() for path in (numpy, *(DEMO / name for name in FILES))]
    packed, plain = python_bytes()
    fetches = {
        "compressed": _download_note(packed + transferred_bytes(files)),
        "plain": _download_note(plain + sum(map(len, files))),
    }
    layers = json.loads((DEMO / "model/config.json").read_text())["num_hidden_layers"]
    return choices.view() | {"plane": plane, "fetches": fetches, "parts": parts(layers)}


def _download_note(total_bytes: int) -> str:
    return (
        f"The first time, it loads {mb(total_bytes)}: Python, numpy and a language model and its"
        " data. Nothing leaves this page."
    )

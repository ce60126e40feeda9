"""The first view of `<page-run>`, the fine-tune that runs in the page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from site_builder import wheels
from site_builder.browser_python import DEMO, first_bytes, python_bytes
from site_builder.compression import transferred_bytes
from unfrozen.lab import choices
from unfrozen.lab.answers import parts
from unfrozen.lab.demo import FILES

QUESTIONS: Final = 16
"""Held-out rows of each set that the page can ask."""


def view(_: Mapping[str, object]) -> dict[str, Any]:
    """Return everything that `<page-run>` draws; it has no state to start from."""
    numpy = wheels.CACHE / wheels.read_lock()["packages"]["numpy"]["file_name"]
    files = [path.read_bytes() for path in (numpy, *(DEMO / name for name in FILES))]
    packed, plain = python_bytes()
    fetches = {
        "compressed": _download_note(packed + transferred_bytes(files)),
        "plain": _download_note(plain + sum(map(len, files))),
    }
    layers = json.loads((DEMO / "model/config.json").read_text())["num_hidden_layers"]
    return choices.view() | {
        "fetches": fetches,
        "parts": parts(layers),
        "questions": _questions(),
    }


def _questions() -> list[dict[str, str]]:
    """Return the first held-out rows of each set, one of each in turn: what a reader may ask."""
    sets = [
        [json.loads(line) for line in (DEMO / name).read_text("utf-8").splitlines()[:QUESTIONS]]
        for name in FILES
        if name == "data/task_eval.jsonl" or "general_" in name
    ]
    return [
        {"prompt": row["prompt"], "answer": row["completion"].strip()}
        for rows in zip(*sets, strict=True)
        for row in rows
    ]


def _download_note(total_bytes: int) -> str:
    return (
        f"The first time, it loads {first_bytes(total_bytes)}: Python, numpy, a language model and"
        " its data. Nothing leaves this page."
    )

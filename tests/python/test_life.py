"""One worker: its owner hears of whatever happens to it, once, and of nothing after its end."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

SCENES = Path(__file__).with_name("life.mjs")


@pytest.mark.parametrize(
    ("scene", "found", "heard"),
    [
        (
            "spoken",
            [True, "test", [{"type": "boot", "bare": False}, "ask"]],
            [["hear", "answer"]],
        ),
        ("replaced", [[True, True], False], [["hear", "heard"]]),
        (
            "broken",
            [True, True],
            [["broke", "boom"], ["broke", "its script could not be loaded"]],
        ),
        (
            "refused",
            [False],
            [["refused", "The browser refused to start a worker for Python (forbidden)."]],
        ),
        ("silent", [], [["silent", 0.03]]),
        (
            "unguarded",
            [["file:", True, False], ["blob:", False, True]],
            [["hear", "late, and no first word"], ["hear", {"type": "bare"}]],
        ),
        (
            "unguardable",
            [
                ["file:", True, False],
                ["blob:", True, True],
                ["file:", True, True],
                ["file:", False, True],
            ],
            [["hear", "heard"]],
        ),
    ],
)
def test_its_owner_is_told_once(node: str, scene: str, found: list[Any], heard: list[Any]) -> None:
    done = subprocess.run([node, str(SCENES), scene], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"found": found, "heard": heard}

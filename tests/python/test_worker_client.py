"""One worker: its client is called once for whatever happens to it, and not after its end."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

PREPARE = {"type": "prepare", "unguarded": False}
OTHER_VERSION = (
    "This page and the Python of its site are of two versions. "
    "Reload the page; your edits are kept."
)
SCENES = Path(__file__).with_name("worker-client.mjs")


@pytest.mark.parametrize(
    ("scene", "found", "heard"),
    [
        (
            "spoken",
            [True, "planner", [PREPARE, {"type": "boot", "role": "planner"}, "ask"]],
            [["receive", 1], ["refuse"]],
        ),
        ("replaced", [[True, True], False], [["receive", 2]]),
        (
            "broken",
            [True, True],
            [["error", "boom"], ["error", "its script could not be loaded"]],
        ),
        (
            "refused",
            [False],
            [["fail", "The browser refused to start a worker for Python (forbidden)."]],
        ),
        ("silent", [], [["fail", "Python sent nothing for 0.03 seconds while it worked."]]),
        ("abandoned", [[True, 1]], []),
        (
            "scriptless",
            [False, ["file:", True, False]],
            [["error", "its script could not be loaded"]],
        ),
        ("older", [["file:", True, False]], [["fail", OTHER_VERSION]]),
        ("unloaded", [False], [["fail", "Python could not be loaded (no wasm)."]]),
        (
            "unguarded",
            [["file:", True, False], ["blob:", False, True]],
            [["receive", 4], ["refuse"]],
        ),
        ("alone", [["blob:", False, True]], []),
        (
            "unguardable",
            [
                ["file:", True, False],
                ["blob:", True, True],
                ["file:", True, True],
                ["file:", False, True],
            ],
            [["receive", 3]],
        ),
    ],
)
def test_its_client_is_called_once(node: str, scene: str, found: Any, heard: list[Any]) -> None:
    done = subprocess.run([node, str(SCENES), scene], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"found": found, "heard": heard}

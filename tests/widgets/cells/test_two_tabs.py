"""An edit of a cell outlives another tab that edits the same cell."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

import build

TABS = Path(__file__).with_name("two-tabs.mjs")
Step = tuple[str, ...]
State = list[str | None]
"""The stored version, the one stored beside it, and the one that the tab offers."""


def states(steps: list[Step], before: str | None) -> list[State]:
    """What follows from each step: a tab, an action, and the code where it changes."""
    given = json.dumps({"before": before, "steps": steps})
    command = [str(build.front_end()), str(TABS), given]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: list[State] = json.loads(done.stdout)
    return found


CASES: dict[str, tuple[list[Step], State, Any]] = {
    "one tab": ([("a", "save", "a1"), ("a", "save", "a2")], ["a2", None, None], None),
    "a tab that was told": (
        [("a", "save", "a1"), ("b", "take"), ("b", "save", "b1")], ["b1", "a1", "a1"], None,
    ),
    "a tab that was not told yet": (
        [("a", "save", "a1"), ("b", "save", "b1")], ["b1", "a1", "a1"], None,
    ),
    "both type on": (
        [("a", "save", "a1"), ("b", "save", "b1"), ("a", "take"), ("a", "save", "a2"),
         ("b", "take"), ("b", "save", "b2")],
        ["b2", "a2", "a2"], None,
    ),
    "a tab that only looks": ([("a", "save", "a1"), ("b", "take")], ["a1", None, "a1"], None),
    "the same edit in both": (
        [("a", "save", "a1"), ("b", "take", "a1"), ("b", "save", "a1")], ["a1", None, None], None,
    ),
    "one is kept": (
        [("a", "save", "a1"), ("b", "save", "b1"), ("b", "choose"), ("b", "save", "b1")],
        ["b1", None, None], None,
    ),
    "a reset keeps the other's": (
        [("a", "save", "a1"), ("b", "save", "b1"), ("b", "remove")], ["a1", None, "a1"], None,
    ),
    "a reset in the other": (
        [("a", "save", "a1"), ("b", "take", "a1"), ("a", "remove"), ("b", "take")],
        [None, None, "article"], None,
    ),
    "both from an earlier visit": (
        [("a", "take"), ("b", "save", "b1")], ["b1", "old", "old"],
        {"hash": "hash", "code": "mine", "other": "old"},
    ),
    "a damaged entry": ([("a", "take"), ("a", "save", "a1")], ["a1", None, None], {"code": 7}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_no_version_is_lost_before_the_reader_has_chosen(case: str) -> None:
    steps, last, before = CASES[case]
    found = states(steps, before and json.dumps(before))
    assert len(found) == len(steps)
    assert found[-1] == last

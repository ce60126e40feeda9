"""Printed text is read as a terminal reads it, however it is cut into pieces."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import build

SHOW = Path(__file__).with_name("terminal.mjs")


def shown(*cuts: list[str]) -> list[str]:
    """What the page shows of a text, for each way to cut it into pieces."""
    command = [str(build.front_end()), str(SHOW), json.dumps(cuts)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: list[str] = json.loads(done.stdout)
    return found


SHOWN = [
    ("plain\ntext\n", "plain\ntext\n"),
    ("\x1b[1;31mred\x1b[0m and \x1b[38;2;1;2;3mmore\x1b[m", "red and more"),
    ("\x1b]8;;https://example.com\x07link\x1b]8;;\x1b\\", "link"),
    ("\x1b]0;title\x07text\x1b[2K\x1b[1A", "text"),
    ("10 %\r20 %\r100 %\n", "100 %\n"),
    ("long line\rshort", "shortline"),
    ("windows\r\nlines\r\n", "windows\nlines\n"),
    ("abc\b\bX", "aXc"),
    ("\b\b\bstart", "start"),
    ("one\ntwo\rTWO\nthree", "one\nTWO\nthree"),
    ("a\x1b", "a"),
]


def test_it_is_shown_as_a_terminal_shows_it() -> None:
    cuts = []
    for printed, _ in SHOWN:
        half = len(printed) // 2
        cuts += [[printed], [*printed], [printed[:half], printed[half:]]]
    assert shown(*cuts) == [text for _, text in SHOWN for _ in range(3)]


def test_a_bar_of_progress_takes_one_line() -> None:
    pieces = [f"\r{share} % {'#' * share}" for share in range(101)]
    assert shown(["before\n", *pieces, "\ndone"]) == [f"before\n100 % {'#' * 100}\ndone"]

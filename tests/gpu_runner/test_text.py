"""Text for a terminal: control characters of untrusted text are shown, never obeyed."""

import io

import pytest
from rich.console import Console
from rich.text import Text

from gpu_runner.run.terminal import RunSummary, Terminal, show_summary
from gpu_runner.text import printable, sentence


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, ünïcode, 日本語 😀\n\tand lines", "plain, ünïcode, 日本語 😀\n\tand lines"),
        ("\x1b[31mred\x1b]0;title\x07", r"\x1b[31mred\x1b]0;title\x07"),
        ("\x9b31m\x85", r"\x9b31m\x85"),
        ("a\rb\x08c\x00", r"a\rb\x08c\x00"),
        ("\u202egnp.exe\u2066", r"\u202egnp.exe\u2066"),
        ("caf\udce9\ud800", r"caf\udce9\ud800"),
        ("\u2028", r"\u2028"),
    ],
)
def test_control_characters_are_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown
    printable(text).encode("utf-8")


def test_no_text_of_a_run_controls_the_terminal() -> None:
    hostile = "\x1b]0;owned\x07 [/] [red] \udce9"
    console = Console(file=io.StringIO(), width=120)
    with Terminal(console, 5, 0) as terminal:
        terminal.say(hostile)
        terminal.warn(hostile)
    summary = RunSummary(
        hostile,
        losses={hostile: (2.0, 1.0)},
        samples=[[hostile, hostile, hostile]],
        next_steps=[hostile],
    )
    show_summary(console, summary)
    assert isinstance(console.file, io.StringIO)
    said = console.file.getvalue()
    assert "\x1b" not in said
    assert said.count(r"\x1b]0;owned\x07") == 8
    said.encode("utf-8")


def test_a_sentence_stays_one_line_outside_a_terminal() -> None:
    console = Console(file=io.StringIO(), width=20)
    sentence(console, Text("a sentence that is longer than twenty signs"))
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue() == "a sentence that is longer than twenty signs\n"

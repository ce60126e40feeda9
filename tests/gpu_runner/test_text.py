"""Text for a terminal: control characters of untrusted text are shown, never obeyed."""

import io
import os
import subprocess
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from gpu_runner.installed import short
from gpu_runner.run.terminal import RunSummary, Terminal, show_summary
from gpu_runner.text import make_console, printable, sentence, typed


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, ünïcode, 日本語 👩‍💻\tand tabs", "plain, ünïcode, 日本語 👩‍💻\tand tabs"),
        ("one\nline", r"one\nline"),
        ("zero\u200bwidth\u3164\ufeff\U000e0041", r"zero\u200bwidth\u3164\ufeff\U000e0041"),
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


ODD = (
    "two words",
    "$(touch owned)",
    "it's `x`",
    "a\\b\n\tc\x1b]0;t\x07",
    "\u202egnp\x85",
    "é\udce9",
)


def test_a_word_is_typed_so_that_a_shell_reads_it_back(tmp_path: Path) -> None:
    line = "printf '%s\\0' " + " ".join(map(typed, ODD))
    assert printable(line) == line
    shell = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, check=True)
    assert shell.stdout.split(b"\0")[:-1] == [os.fsencode(word) for word in ODD]
    assert not [*tmp_path.iterdir()]


def test_a_path_is_typed_from_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for word in (*ODD, "-x"):
        (tmp_path / word).mkdir()
        command = f'cd -- {short(Path(word))} && basename -- "$PWD"'
        shell = subprocess.run(["bash", "-c", command], capture_output=True, check=True)
        assert shell.stdout[:-1] == os.fsencode(word)


def test_a_console_reads_no_markup_and_escapes_what_tables_and_bars_hold() -> None:
    hostile = "\x1b]0;owned\x07\u202e [/] [red]"
    console = make_console(file=io.StringIO(), width=120)
    table = Table(hostile)
    table.add_row(hostile)
    console.print(table, hostile, Text(hostile))
    with console.status(hostile), Progress(console=console) as progress:
        progress.add_task("x")
        console.print(hostile)
    shown = console.file.getvalue()
    assert not set(shown) & {"\x1b", "\x07", "\u202e"}
    escaped = r"\x1b]0;owned\x07\u202e [/] [red]"
    assert shown.count(escaped) == 4  # the head of the table, its cell, the lines
    assert escaped.replace(r"\x07", "") in shown  # Text drops a bell by itself


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

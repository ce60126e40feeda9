"""While rows are read: a bar on a terminal, a line now and then elsewhere, nothing when quiet."""

from collections.abc import Callable

import pytest
from rich.console import Console

from gpu_runner.plan.data_report import EVERY_SECONDS, SHORT_SECONDS, show_reading


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def told(clock: Clock, seconds: float) -> None:
    """Something that is read for so long, told of every second."""
    with show_reading(Console(), clock) as progress:
        for second in range(int(seconds) + 1):
            clock.now = 100.0 + second
            progress("encoding [b]rows\u202e.jsonl", min(1.0, second / seconds), 1000 * second)


def test_in_a_file_there_is_a_line_every_few_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    told(Clock(), 3 * EVERY_SECONDS)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        f"encoding [b]rows\\u202e.jsonl: {share}%, {rows:,} examples"
        for share, rows in ((33, 5000), (67, 10000), (100, 15000))
    ]


def test_what_is_short_is_not_told(capsys: pytest.CaptureFixture[str]) -> None:
    told(Clock(), EVERY_SECONDS - 1)
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_there_is_a_bar_beside_the_output_that_goes_away(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    clock = Clock()
    with show_reading(Console(), clock) as progress:
        progress("looking at rows.jsonl", 0.1, 0)
        assert capsys.readouterr().err == ""
        clock.now += SHORT_SECONDS
        progress("looking at rows.jsonl", 0.5, 0)
        progress("encoding rows.jsonl", 0.25, 1234)
    out, err = capsys.readouterr()
    assert out == ""
    assert "encoding rows.jsonl" in err
    assert "1,234 examples" in err
    assert err.endswith("\x1b[2K")  # the last thing is a line that is wiped


def test_a_quiet_console_tells_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with show_reading(Console(quiet=True), clock) as progress:
        clock.now += 100
        progress("encoding", 0.5, 10)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("terminal", [False, True])
def test_an_interruption_goes_through(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
    clock = Clock()

    def interrupted(progress: Callable[[str, float, int], None]) -> None:
        clock.now += 10
        progress("encoding", 0.5, 10)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), show_reading(Console(), clock) as progress:
        interrupted(progress)

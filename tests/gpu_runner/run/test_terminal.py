import io
import re

import pytest
from rich.console import Console
from rich.text import Text

from gpu_runner.run import terminal
from gpu_runner.run.terminal import RunSummary, Terminal, distinct, show_summary, sparkline
from gpu_runner.text import sentence, signed
from gpu_runner.train.evaluate import Score
from gpu_runner.train.loop import State, StepResult
from unfrozen.held_out import ExactMatch


def step(number: int) -> StepResult:
    return StepResult(number, 1.5, 2.0, False, 1e-3, 400, 0.5, None)


def drawn(*, terminal: bool, width: int = 120) -> str:
    text = io.StringIO()
    console = Console(file=text, width=width, force_terminal=terminal, color_system=None)
    with Terminal(console, 100, 2_000_000) as shown:
        shown.busy("evaluating")
        shown.scores(0, [Score("task", 3.0, 10)], {"task": 3.0})
        for number in range(1, 21):
            shown.step(State(step=number), step(number), 1_900_000)
        answers = ExactMatch(5, 2, 1)
        found = [Score("task", 2.5, 10, answers), Score("general/sums", 1.25, 10)]
        found.append(Score("general", 1.25, 10))  # the same once more
        shown.scores(20, found, {"task": 3.0, "general/sums": 1.0})
        shown.warn("look out [not markup]")
    return text.getvalue()


def test_a_pipe_gets_plain_lines_at_tenths_and_evaluations() -> None:
    lines = drawn(terminal=False).splitlines()
    assert [line.split("  ")[0] for line in lines if "loss 1.500" in line] == [
        "step 10/100",
        "step 20/100",
    ]
    assert "step 20/100  held-out loss: task 2.500 (−0.500), sums +0.250" in lines
    assert "step 20/100  exact match: task 5/8 (+2 that do not stop)" in lines
    assert distinct(["task", "general/sums", "general"]) == ["task", "general/sums"]
    both = ["task", "general/sums", "general/cats", "general"]
    assert distinct(both) == both
    assert "Note: look out [not markup]" in lines
    assert "\x1b" not in drawn(terminal=False)


def test_what_takes_long_before_a_step_is_said_in_a_pipe_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now)
    text = io.StringIO()
    with Terminal(Console(file=text, width=80), 100, 0) as shown:
        for share in range(0, 100, 10):
            shown.busy(f"evaluating: {share}%")
            now += 3.0
        shown.say("done")
        shown.busy("saving")
    assert text.getvalue().splitlines() == ["evaluating: 40% …", "evaluating: 80% …", "done"]


def test_a_terminal_gets_one_live_line() -> None:
    text = drawn(terminal=True)
    assert "20/100" in text
    assert "800 tok/s" in text
    assert "memory 1.81 MiB of 1.91 MiB predicted" in text


def test_the_live_line_fits_eighty_columns() -> None:
    text = drawn(terminal=True, width=80)
    assert "20/100 loss 1.500  lr 1.0e-03  800 tok/s  1.81 MiB / 1.91 MiB" in text


def test_the_live_line_of_a_long_run_of_a_large_model_fits_eighty_columns_too() -> None:
    text = io.StringIO()
    console = Console(file=text, width=80, force_terminal=True, color_system=None)
    with Terminal(console, 12_000, 87 * 2**30) as shown:
        done = StepResult(11_999, 11.25, 2.0, False, 1e-5, 90_000, 0.5, None)
        shown.step(State(step=11_999), done, 85 * 2**30)
    assert not [
        line
        for line in re.split(r"[\r\n]|\x1b\[[0-9;?]*[A-Za-z]", text.getvalue())
        if not len(line) <= 80
    ]
    assert "lr 1.0e-05  180,000 tok/s  85.0 GiB / 87.0 GiB" in text.getvalue()


@pytest.mark.parametrize(("terminal", "lines"), [(True, 3), (False, 1)])
def test_a_sentence_breaks_between_words_on_a_terminal_and_nowhere_else(
    terminal: bool, lines: int
) -> None:
    text = io.StringIO()
    path = "/a" * 60
    words = f"{'word ' * 18}{path}"
    sentence(Console(file=text, width=80, force_terminal=terminal), Text(words))
    assert text.getvalue().count("\n") == lines
    assert "".join(text.getvalue().split()) == "word" * 18 + path
    assert path in text.getvalue()


def test_a_change_that_rounds_to_nothing_has_no_sign() -> None:
    assert [signed(change) for change in (0.0123, -0.3, 0.0004, -0.0004)] == [
        "+0.012",
        "−0.300",
        "0.000",
        "0.000",
    ]


def test_a_pause_is_seen_in_the_live_line_and_not_in_the_remaining_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text, now = io.StringIO(), 1000.0
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now)
    console = Console(file=text, width=120, force_terminal=True, color_system=None)
    with Terminal(console, 100, 0) as shown:
        shown.step(State(step=1), step(1), 0)
        started = shown.working_seconds()
        shown.hold(still=True)
        shown._bar.refresh()
        now += 30
        assert shown.working_seconds() == started
        shown.hold(still=False)
        now += 2
        assert shown.working_seconds() == started + 2
    assert "1/100 paused …  loss 1.500" in text.getvalue()


def test_the_summary_shows_before_and_after() -> None:
    text = io.StringIO()
    summary = RunSummary(
        headline="Finished: 3 steps.",
        losses={"task": (3.0, 1.0), "general": (1.0, 1.25)},
        exact={"task": {"before": {"right": 0, "of": 8}, "after": {"right": 7, "of": 8}}},
        drift=0.01,
        predicted_bytes=2**20,
        measured_bytes=2**20,
        training=[2.0, 1.5, 1.0],
        seconds=75,
        samples=[["1+1=", "7", "2"], ["2+2=", "4", ""]],
        next_steps=["Look."],
    )
    show_summary(Console(file=text, width=100), summary)
    for part in (
        "change  exact before  exact after",
        "−2.000           0/8          7/8",
        "+0.250",
        "1.00% of their norm",
        "1.00 MiB measured, 1.00 MiB predicted (1.00×)",
        "1 min 15 s",
        "training loss  █▅▁  2.000 → 1.000",
        "prompt  before  after",
        "1+1=    7       2",
        "2+2=    4       (nothing)",
        "Look.",
    ):
        assert part in text.getvalue()


def test_weights_that_barely_moved_are_not_said_to_have_stood_still() -> None:
    text = io.StringIO()
    show_summary(
        Console(file=text, width=100), RunSummary(headline="Finished: 1 step.", drift=4e-5)
    )
    assert "moved by less than 0.01% of their norm" in text.getvalue()


@pytest.mark.parametrize(
    ("values", "curve"),
    [
        ([], ""),
        ([1.0], ""),
        ([3.0, 3.0], "▁▁"),
        ([0.0, 7.0, float("nan"), 3.0], "▁█▄"),
        (
            [float(n // 100) for n in range(800)],
            "▁" * 5 + "▂" * 5 + "▃" * 5 + "▄" * 5 + "▅" * 5 + "▆" * 5 + "▇" * 5 + "█" * 5,
        ),
    ],
)
def test_a_course_is_drawn_in_one_short_line(values: list[float], curve: str) -> None:
    assert sparkline(values) == curve

"""Questions to a model: what may be asked, and how a run that is training is asked.

    {"v":1,"run":"2026…","att":0,"seq":1764101523417000,"prompt":"…","tokens":64,
     "temperature":0.0,"seed":0}

It lies in `question.json` beside the run's commands, one of which says that it was asked. The
answer is an event of the run's log.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gpu_runner.atomic import write_file
from gpu_runner.data.chat.messages import BadRow, check_unicode
from gpu_runner.errors import RunnerError, UsageError
from gpu_runner.log.commands import VERSION, Commands, post_command
from gpu_runner.log.tail import Tail, parse
from gpu_runner.text import printable
from unfrozen.plain import read_whole
from unfrozen.schema import QUESTION, read_file
from unfrozen.schema.check import check as check_shape
from unfrozen.schema.shapes import Shape, integer, number, record, string

if TYPE_CHECKING:
    from rich.console import Console

NAME: Final = "question.json"
MOST_BYTES: Final = 64 * 1024
MOST_CHARACTERS: Final = 100_000
MOST_LIVE: Final = {"characters": 4000, "tokens": 256}
"""The answer of a run that trains has to fit into a line of its log."""
BOUNDS: Final = {"tokens": (1, 4096), "temperature": (0, 5), "seed": (0, 2**53 - 1)}
ASKED: Final[Shape] = record(
    {
        "prompt": string(MOST_CHARACTERS),
        "tokens": integer(*BOUNDS["tokens"]),
        "temperature": number(*BOUNDS["temperature"]),
        "seed": integer(*BOUNDS["seed"]),
    },
    ("prompt",),
    closed=True,
)
LOOK_SECONDS: Final = 0.05
THETA_0: Final = "θ₀, the model before"


class NoAnswer(RunnerError):
    """A run that trains did not answer in time."""


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt and how to answer it: at most so many tokens, sampled unless `temperature` is 0."""

    prompt: str
    tokens: int = 64
    temperature: float = 0.0
    seed: int = 0

    @classmethod
    def read(cls, line: str, usual: Question) -> Question:
        """Return the question of a line of JSON: a text, or an object with some of these fields.

        What it leaves out is as `usual`. Raises `UsageError` for anything else.
        """
        try:
            found = json.loads(line)
            given = {"prompt": found} if isinstance(found, str) else dict(found)
            whole = asdict(usual) | given
            verdict = check_shape(ASKED, whole, "the question")
        except (ValueError, TypeError, RecursionError):
            raise UsageError(
                'a line is no question: give "TEXT" or {"prompt": "TEXT", "tokens": 64}.'
            ) from None
        if verdict.problem:
            raise UsageError(f"{verdict.problem}.")
        return cls(**whole)

    def check(self) -> Question:
        """Return it, if it can be asked. Raises `UsageError` with the bound."""
        for name, (low, high) in BOUNDS.items():
            value = getattr(self, name)
            if not low <= value <= high:  # NaN neither
                raise UsageError(
                    f"--{name} {value} is out of bounds: give a number from {low} to {high:,}."
                )
        if not self.prompt.strip():
            raise UsageError("the prompt is empty: give a question, or the beginning of a text.")
        self._check_length("characters", len(self.prompt), MOST_CHARACTERS)
        try:
            check_unicode(self.prompt)
        except BadRow as error:
            raise UsageError(f"the prompt cannot be read: {error}.") from None
        return self

    def check_live(self) -> Question:
        """Return it, if a run that trains can be asked. Raises `UsageError`."""
        self.check()
        self._check_length("characters", len(self.prompt), MOST_LIVE["characters"])
        if self.tokens > MOST_LIVE["tokens"]:
            most = MOST_LIVE["tokens"]
            raise UsageError(f"--tokens {self.tokens}: of a run that trains, give at most {most}.")
        return self

    def _check_length(self, unit: str, length: int, most: int) -> None:
        if length > most:
            raise UsageError(f"the prompt has {length:,} {unit}: give at most {most:,}.")


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """The text that a model wrote, and whether it ended by itself.

    `model` names it for a person; `pieces` are the texts of its tokens, or none.
    """

    model: str
    text: str
    ended: bool
    pieces: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class AnswerPair:
    """The answers of two models to a prompt."""

    prompt: str
    before: ModelAnswer
    after: ModelAnswer

    @classmethod
    def of(cls, event: Mapping[str, Any], run: str) -> AnswerPair:
        """Return the answers that an event of a run's log holds."""

        def answer(name: str, found: Mapping[str, Any]) -> ModelAnswer:
            return ModelAnswer(name, found["text"], found["ended"], found.get("pieces") or ())

        now = f"step {event['step']:,} of {run}"
        return cls(event["prompt"], answer(THETA_0, event["before"]), answer(now, event["after"]))

    def as_json(self) -> dict[str, Any]:
        """Return them as plain data."""
        sides = {"before": self.before, "after": self.after}
        return {
            "prompt": self.prompt,
            **{name: asdict(one) | {"pieces": list(one.pieces)} for name, one in sides.items()},
        }

    def show(self, console: Console) -> None:
        """Print both; what follows their first difference is bold."""
        from rich.padding import Padding
        from rich.text import Text

        pairs = list(zip(self.before.pieces, self.after.pieces, strict=False))
        same = next((n for n, (a, b) in enumerate(pairs) if a != b), len(pairs))
        for one in (self.before, self.after):
            start = "".join(one.pieces[:same])
            text = Text(printable(start, lines=True))
            text.append(printable(one.text[len(start) :], lines=True), "bold")
            if not one.ended:
                text.append("  … stopped", "dim")
            elif not one.text.strip():
                text.append("(it ends at once)", "dim")
            console.print(Text(printable(one.model), "dim"))
            console.print(Padding(text, (0, 0, 0, 2)))


def post_question(directory: Path, run: str, attempt: int, question: Question) -> Commands:
    """Ask the run in `directory`; return the state now wanted of it, whose `ask` is its number.

    Raises `UsageError`, `OSError`.
    """
    question.check_live()

    def write(seq: int) -> None:
        head = {"v": VERSION, "run": run, "att": attempt, "seq": seq}
        write_file(directory / NAME, json.dumps(head | asdict(question)) + "\n", private=True)

    return post_command(directory, run, attempt, "ask", write)


def read_question(directory: Path, run: str, attempt: int, seq: int) -> Question | None:
    """Return the question of that number; None where another has replaced it, or it is not ours."""
    try:
        verdict = read_file(QUESTION, read_whole(directory / NAME, MOST_BYTES))
    except OSError:
        return None
    data = dict(verdict.value or {})
    head = {"v": VERSION, "run": run, "att": attempt, "seq": seq}
    if any(data.pop(key, None) != value for key, value in head.items()):
        return None
    return Question(**data)


def wait_for_answer(log: Path, seq: int, after: int, seconds: float) -> dict[str, Any]:
    """Return the event that answers question `seq`, written behind the byte `after`.

    Raises `NoAnswer` where the run ends first, or `seconds` are over; `OSError`.
    """
    for event in _events(Tail(log, after), time.monotonic() + seconds):
        if event["kind"] == "answer" and event.get("asked") == seq:
            return event
        if event["kind"] == "run.end":
            raise NoAnswer("the run has ended before it answered: ask it again.")
    raise NoAnswer(
        f"the run has not answered within {seconds:.0f} s: it answers between two steps. Pause it,"
        " or ask its newest checkpoint with --step."
    )


def _events(tail: Tail, deadline: float) -> Iterator[dict[str, Any]]:
    while time.monotonic() < deadline:
        for _, line in tail.read() if tail.has_grown() else ():
            if (event := parse(line)) is not None:
                yield event
        time.sleep(LOOK_SECONDS)

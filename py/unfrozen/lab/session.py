"""One reader's fine-tunes, driven by the page's worker: text in, text out.

start(choices) ─▶ work() ─▶ work() ─▶ … ─▶ None         events as lines of JSON, piece by piece
                    └── stop() ends after the piece that is on; ask() answers between pieces

After a run, `ask` and `blend` take a model between θ₀ and what it has become: α of the way.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np

from unfrozen.errors import InputError, PlanError
from unfrozen.events import finite, line
from unfrozen.lab.answers import NOTHING, Answer, RowScore, blend, generate, score
from unfrozen.lab.choices import Choices, format_title
from unfrozen.lab.demo import GENERAL, TASK, Demo
from unfrozen.lab.fine_tune import ClockFunctions, Event, FineTune, Place
from unfrozen.lab.llama import Weights

ANSWER_TOKENS: Final = 16
PROMPT_CHARACTERS: Final = 20_000
NO_RUN: Final = "There is no run yet: train first."


class LabSession:
    """The demo model in a worker: at most one fine-tune at a time; the newest can be asked."""

    def __init__(self, files: Mapping[str, bytes], clock: ClockFunctions) -> None:
        self._demo, self._clock = Demo.read(files), clock
        self._run: FineTune | None = None
        self._events: Iterator[Event | None] = iter(())

    def start(self, choices: str, name: str, versions: str) -> str:
        """Begin a run with these choices, a JSON object.

        JSON of `problem`, why not, in words, `title`, what the run is called, and `command`, the
        same run by the runner.
        """
        try:
            given = Choices.read(_object(choices))
        except InputError as error:
            return json.dumps({"problem": str(error), "title": "", "command": ""})
        place = Place(name, json.loads(versions))
        self._run = FineTune(self._demo, given, self._clock, place)
        self._events = self._run.events()
        return json.dumps({"problem": "", "title": format_title(given), "command": given.command()})

    def work(self) -> str | None:
        """Do a piece of work; its events as lines of JSON, "" if it has none, None at the end."""
        try:
            event = next(self._events)
        except StopIteration:
            return None
        return "" if event is None else line(event)

    def stop(self) -> None:
        """End the run that is on, after the piece of work that is on."""
        if self._run is not None:
            self._run.stop()

    def ask(self, prompt: str, alpha: float = 1.0) -> str:
        """Return JSON of what θ₀ writes after `prompt`, and what the newest run's weights write.

        `before` and `after` hold `text` and `pieces`, its tokens, and `parts`, the place of the
        first token in which the two differ; `after` is null before the first run. `note` says what
        was not read. `alpha` as for `blend`; while a run trains it has no effect.
        """
        prompt = prompt[-PROMPT_CHARACTERS:]
        before = self._answer(prompt, self._demo.start)
        if problem := _refuse(alpha):
            return json.dumps({"problem": problem})
        after = self._run and self._answer(prompt, self._weights(self._run, alpha))
        differ = _first_difference(before, after) if after else None
        found = {
            "prompt": prompt,
            "before": _plain(before),
            "after": _plain(after) if after else None,
            "parts": differ,
            "step": self._run.step if self._run else 0,
            "note": _note(prompt, before),
        }
        return json.dumps(found, ensure_ascii=False)

    def blend(self, alpha: float) -> str:
        """Return JSON of the losses and the exact matches, by suite, of θ₀ + α(θ* − θ₀).

        `problem` says why there is no answer: no run, one that still trains, an α beyond 0 … 1.
        """
        if self._run is None or self._run.status == "running":
            problem = "It still trains: wait for its end, or stop it." if self._run else NO_RUN
        else:
            problem = _refuse(alpha)
        if problem or self._run is None:
            return json.dumps({"problem": problem, "losses": {}, "exact": {}})
        weights = self._weights(self._run, alpha)
        found: dict[str, RowScore] = {GENERAL: NOTHING}
        with np.errstate(all="ignore"):
            for suite, rows in self._demo.suites.items():
                chosen = rows[: self._run.choices.eval_rows]
                found[suite] = sum(score(self._demo.model, weights, chosen), NOTHING)
                found[GENERAL] += found[suite] if suite != TASK else NOTHING
        losses = {suite: finite(one.loss) for suite, one in found.items()}
        exact = {suite: one.exact.as_json() for suite, one in found.items()}
        return json.dumps({"problem": "", "losses": losses, "exact": exact})

    def _weights(self, run: FineTune, alpha: float) -> Weights:
        """Return θ₀ + α(θ − θ₀); of a run that trains, θ."""
        end = run.trainer.weights
        is_between = run.status != "running" and alpha != 1
        return blend(self._demo.start, end, alpha) if is_between else end

    def _answer(self, prompt: str, weights: Weights) -> Answer:
        return generate(self._demo.model, weights, self._demo.tokenizer, prompt, ANSWER_TOKENS)


def _object(text: str) -> dict[str, Any]:
    found = json.loads(text)
    if not isinstance(found, dict):
        raise PlanError("choices", found, "they must be an object", "such as {lr: 0.001}")
    return found


def _refuse(alpha: object) -> str:
    """Return why there is no such model between θ₀ and θ*; "" where there is."""
    is_number = isinstance(alpha, int | float) and not isinstance(alpha, bool)
    if not is_number or not 0 <= alpha <= 1:  # type: ignore[operator]
        return f"α is {alpha}: it must be a number from 0, before training, to 1, after it."
    return ""


def _first_difference(before: Answer, after: Answer) -> int:
    pairs = zip(before.pieces, after.pieces, strict=False)
    same = (place for place, (one, other) in enumerate(pairs) if one != other)
    return next(same, min(len(before.pieces), len(after.pieces)))


def _plain(found: Answer) -> dict[str, object]:
    return {"text": found.text, "pieces": list(found.pieces), "ended": found.ended}


def _note(prompt: str, found: Answer) -> str:
    if not prompt:
        return "Of an empty line, the model reads the token that separates texts."
    if not found.whole:
        return f"It read the last {found.read_tokens} tokens, as many as leave room for an answer."
    return ""

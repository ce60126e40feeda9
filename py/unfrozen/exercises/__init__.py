"""The exercises of the quiz: random jobs to work out, and a judge of answers.

Pure and seeded: a seed names one exercise, the same at build time, in the page and in a test.

Reading order:

1. `exercise` — a job, a question, hints, common mistakes; sizes as text
2. `questions` — the kinds of exercises: states between steps, and what a step adds
3. `compute_it` — the exercise of a seed, and a judge of answers
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unfrozen.exercises import compute_it
from unfrozen.exercises.compute_it import Json

__all__ = ["exercise", "judge"]


def exercise(given: Mapping[str, Any]) -> Json:
    """Return the exercise of a `seed`, as the page draws it."""
    return compute_it.as_json(given["seed"])


def judge(given: Mapping[str, Any]) -> Json:
    """Return the reply to an answer, `text`, to the exercise of a `seed`."""
    return compute_it.judge(given["seed"], given["text"])

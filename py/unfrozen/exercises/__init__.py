"""What the quiz of the article computes: random jobs to work out, and answers judged in words.

Pure and seeded: a seed names one exercise, the same at build time, in the page and in a test.

Reading order:

1. `exercise` — a job, a question, hints, slips; sizes in words
2. `kept` — questions on what is kept between two steps
3. `passing` — … on what comes and goes within one
4. `compute_it` — the exercise of a seed, and a judge of answers
5. `find_the_lie` — which part of a peak a calculator left out
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from unfrozen.exercises import compute_it, find_the_lie
from unfrozen.exercises.compute_it import Json

QUESTIONS: Final[dict[str, Callable[[Mapping[str, Any]], Json]]] = {
    "exercise": lambda given: compute_it.as_json(given["seed"]),
    "judge": lambda given: compute_it.judge(given["seed"], given["text"]),
    "lie": lambda given: find_the_lie.as_json(given["seed"]),
}
"""What the page may ask, by name."""

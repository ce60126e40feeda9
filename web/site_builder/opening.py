"""The article's first figure: one recorded run of the demo model, a slider through its steps.

Everything in it is text and two bars that `<prose-slider>` changes: no Python is loaded for it.
"""

from __future__ import annotations

from typing import Any, Final

from markupsafe import Markup

from site_builder.formats import percent
from site_builder.measurements import read_json, read_methods
from site_builder.rendering import TEMPLATES, embed_json
from unfrozen.lab.demo import GENERAL, TASK

NO_ANSWER: Final = "(nothing)"


def figure() -> Markup:
    """Return the figure `#opening`, at the last step; `opening.json` is by docs/lab_runs.py."""
    recorded = read_json("opening.json")
    frames, prompts = recorded["frames"], recorded["prompts"]
    of = {suite: read_methods()["plain"][0]["exact"][suite][0] for suite in (TASK, GENERAL)}
    rows_of_task, known = sum(of[TASK]), of[GENERAL][0]
    sentences = [_texts(frame, prompts, rows_of_task, known) for frame in frames]
    sliders = [
        {
            "label": "Step of the run",
            "texts": [f"step {frame['step']}" for frame in frames],
            "start": len(frames) - 1,
        }
    ]
    html = TEMPLATES.get_template("opening.html.j2").render(
        prompts=[row["prompt"] for row in prompts],
        before=[format_answer(text) for text in frames[0]["answers"]],
        last=sentences[-1],
        data=Markup(embed_json({"sliders": sliders, "sentences": sentences}, "data")),
        rows_of_task=rows_of_task,
        known=known,
        steps=frames[-1]["step"],
    )
    return Markup(html)


def _texts(frame: dict[str, Any], prompts: list[dict[str, str]], of: int, known: int) -> list[str]:
    """Return what changes with the step, in the order in which the template has it."""
    texts = []
    for right, rows in ((frame["right"][TASK], of), (frame["right"][GENERAL], known)):
        texts += [percent(min(1, right / rows)), f"{right} of {rows}"]
    texts.append(str(frame["step"]))
    for answer, row in zip(frame["answers"], prompts, strict=True):
        texts += [format_answer(answer), "✓" if answer == row["right"] else "✗"]
    return texts


def format_answer(answer: str) -> str:
    """Return an answer as the figure shows it."""
    return answer.strip() or NO_ANSWER

"""The demo model in the article: the first figure, and the first view of `<page-run>`.

The figure is one recorded run and a slider through its steps: everything in it is text and two bars
that `<prose-slider>` changes, and no Python is loaded for it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from markupsafe import Markup

from site_builder import wheels
from site_builder.browser_python import DEMO, first_bytes, python_bytes
from site_builder.compression import transferred_bytes
from site_builder.formats import percent
from site_builder.measurements import read_json, read_methods
from site_builder.rendering import TEMPLATES, embed_json
from unfrozen.lab import choices
from unfrozen.lab.demo import FILES, GENERAL, TASK

QUESTIONS: Final = 16
"""Held-out rows of each set that the page can ask."""


def view(_: Mapping[str, object]) -> dict[str, Any]:
    """Return everything that `<page-run>` draws; it has no state to start from."""
    numpy = wheels.CACHE / wheels.read_lock()["packages"]["numpy"]["file_name"]
    files = [path.read_bytes() for path in (numpy, *(DEMO / name for name in FILES))]
    packed, plain = python_bytes()
    fetches = {
        "compressed": _download_note(packed + transferred_bytes(files)),
        "plain": _download_note(plain + sum(map(len, files))),
    }
    return choices.view() | {"fetches": fetches, "questions": _questions()}


def _questions() -> list[dict[str, str]]:
    """Return the first held-out rows of each set, one of each in turn: what a reader may ask."""
    sets = [
        [json.loads(line) for line in (DEMO / name).read_text("utf-8").splitlines()[:QUESTIONS]]
        for name in FILES
        if name == "data/task_eval.jsonl" or "general_" in name
    ]
    return [
        {"prompt": row["prompt"], "answer": row["completion"].strip()}
        for rows in zip(*sets, strict=True)
        for row in rows
    ]


def _download_note(total_bytes: int) -> str:
    return (
        f"The first time, it loads {first_bytes(total_bytes)}: Python, numpy, a language model and"
        " its data. Nothing leaves this page."
    )


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

"""What a job's framework set, as text and as plain data: each word, why, and where it is read."""

from __future__ import annotations

import textwrap
from typing import Final

from unfrozen.job import Job
from unfrozen.job.framework_defaults import AppliedDefault

WIDTH: Final = 100


def framework_text(job: Job) -> str:
    """The framework and each word that it set, a paragraph a word; empty where none is named."""
    if job.framework is None:
        return ""
    name, words = job.framework
    if not words:
        return f"{name}: the job says all that it would set."
    lines = [f"{name} sets, where the job says nothing:"]
    for word in words:
        text = f"{word.part}.{word.key} = {_value(word)}: {word.why} ({word.source})"
        lines += textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="      ")
    return "\n".join(lines)


def framework_json(job: Job) -> dict[str, object]:
    """{"framework": {"name", "words"}}; empty where none is named."""
    if job.framework is None:
        return {}
    words = [word._asdict() for word in job.framework.defaults]
    return {"framework": {"name": job.framework.name, "words": words}}


def _value(word: AppliedDefault) -> str:
    return "null" if word.value is None else str(word.value).lower()

"""Rows as text without a chat template; what is trained of each is in brackets.

⏎ is a newline, ␃ the end-of-text token:

    prompt/completion   {prompt}[{completion}␃]                  spaces are yours to give
    instruction         Instruction: …⏎Input: …⏎Response:[ …␃]
    chat                User: …⏎Assistant:[ …␃]⏎User: …⏎Assistant:[ …␃]
    text                [{text}␃]
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gpu_runner.data.chat.fields import BadRow, string
from gpu_runner.data.chat.messages import THOUGHTS, Chat


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of text, and whether the model learns to write it."""

    text: str
    trained: bool


def question_and_answer(row: Mapping[str, Any]) -> tuple[str, str] | None:
    """What is asked and answered in a row of prompt or instruction; None for any other.

    Raises `BadRow` for one that is not text.
    """
    if "prompt" in row or "completion" in row:
        return string(row, "prompt"), string(row, "completion")
    if "instruction" in row or "output" in row:
        task, answer = string(row, "instruction"), string(row, "output")
        extra = string(row, "input") if row.get("input") else ""
        return (f"{task}\n\n{extra}" if extra else task), answer
    return None


def asked(row: Mapping[str, Any], start: str, end: str) -> list[Segment]:
    """A row of prompt or instruction between the tokens `start` and `end`."""
    if "prompt" in row or "completion" in row:
        prompt, answer = string(row, "prompt"), string(row, "completion")
        return [Segment(start + prompt, False), Segment(answer + end, True)]
    task, answer = string(row, "instruction"), string(row, "output")
    extra = string(row, "input") if row.get("input") else ""
    middle = f"Input: {extra}\n" if extra else ""
    head = f"{start}Instruction: {task}\n{middle}Response:"
    return [Segment(head, False), Segment(f" {answer}{end}", True)]


def text(row: Mapping[str, Any], start: str, end: str) -> list[Segment]:
    """A row of text."""
    return [Segment(start, False), Segment(string(row, "text") + end, True)]


def chat(found: Chat, trained: Iterable[int], start: str, end: str) -> list[Segment]:
    """A chat of which some answers are trained. Raises `BadRow` for calls of tools."""
    learned = set(trained)
    segments = [Segment(start, False)]
    for index, message in enumerate(found.messages):
        if "tool_calls" in message:
            raise BadRow(
                f"message {index} calls a tool, and the tokenizer has no chat template that says"
                " how: give --chat-template a file with one"
            )
        if THOUGHTS[0] in message:
            found.notes.append(f'without a chat template "{THOUGHTS[0]}" is left out')
        role, content = message["role"], message["content"]
        if role == "assistant":
            segments += [Segment("Assistant:", False)]
            segments += [Segment(f" {content}{end}", index in learned), Segment("\n", False)]
        else:
            segments += [Segment(f"{role.capitalize()}: {content}\n", False)]
    if found.tools:
        found.notes.append('without a chat template "tools" are left out')
    return segments

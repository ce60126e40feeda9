"""The forms in which templates want their chats: each a little differently."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

from gpu_runner.data.chat.fields import parsed
from gpu_runner.data.chat.messages import THOUGHTS, Message

_SHORT_ID: Final = 9  # letters: what templates of Mistral want


@dataclass(frozen=True, slots=True)
class Form:
    """How a template wants its chats; what is false is as it was given, or as OpenAI has it."""

    text_arguments: bool = False  # of calls: JSON as text, not an object
    parts: bool = False  # words as [{"type": "text", "text": …}]
    merged: bool = False  # what the system says stands before the first question
    short_ids: bool = False  # of calls: nine letters
    as_system: bool = False  # a developer's message is the system's


def others(messages: Sequence[Message], tried: Sequence[Form]) -> Iterator[Form]:
    """Every other form that makes a difference to a chat, the nearest to what was given first."""
    calls = any("tool_calls" in message for message in messages)
    changes = {
        "text_arguments": calls,
        "parts": True,
        "merged": messages[0]["role"] in ("system", "developer") and len(messages) > 1,
        "short_ids": any("tool_call_id" in message for message in messages) or calls,
    }
    useful = [name for name, of_use in changes.items() if of_use]
    for count in range(len(useful) + 1):
        for names in combinations(useful, count):
            form = Form(**dict.fromkeys(names, True))
            if form not in tried:
                yield form


def shaped(messages: Sequence[Message], form: Form, *, developers: bool) -> list[Message]:
    """The messages in a form; `developers` where the template knows that role."""
    found = [_message(message, form, developers) for message in messages]
    if form.merged and found[0]["role"] in ("system", "developer") and len(found) > 1:
        system, first, *rest = found
        found = [{**first, "content": f"{system['content']}\n\n{first['content']}"}, *rest]
    if form.parts:
        return [{**m, "content": [{"type": "text", "text": m["content"]}]} for m in found]
    return found


def _message(message: Message, form: Form, developers: bool) -> Message:
    changed = message
    if THOUGHTS[0] in message:
        changed = {THOUGHTS[1]: message[THOUGHTS[0]], **changed}  # as gpt-oss calls them
    if message["role"] == "developer" and not developers:
        changed = {**changed, "role": "system"}
    if form.short_ids and "tool_call_id" in message:
        changed = {**changed, "tool_call_id": _short(message["tool_call_id"])}
    if "tool_calls" in message:
        changed = {**changed, "tool_calls": [_call(one, form) for one in message["tool_calls"]]}
    return changed


def _call(call: Mapping[str, Any], form: Form) -> dict[str, Any]:
    function = call["function"]
    given = function["arguments"]
    if form.text_arguments:
        given = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
    else:
        given = parsed(given)
    named = {"id": _short(call["id"])} if form.short_ids and "id" in call else {}
    return {**call, **named, "function": {**function, "arguments": given}}


def _short(name: str) -> str:
    """Nine letters or digits in place of an id: its last ones, which are what differs."""
    letters = "".join(filter(str.isalnum, name)) or "0"
    return letters[-_SHORT_ID:].rjust(_SHORT_ID, "0")

"""What a chat template has left out of a chat: told, or refused where it is to be learned."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from gpu_runner.data.chat.fields import BadRow, parsed
from gpu_runner.data.chat.messages import THOUGHTS, Message

_WORDS: Final = re.compile(r"\w+")


def left_out(
    messages: Sequence[Message], tools: list[dict[str, Any]] | None, text: str
) -> Iterator[str]:
    """What of a chat its text does not hold, in words, beside answers."""
    for message in messages:
        if message["role"] != "assistant" and not holds(text, message["content"]):
            yield f"the chat template leaves out messages of the role {message['role']}"
    for tool in tools or ():
        if not holds(text, tool["function"]["name"]):
            yield 'the chat template has no place for "tools", which are left out'
            break


def left_out_of_answer(index: int, message: Message, text: str) -> Iterator[str]:
    """The same of an answer that is trained, in the text from its start.

    Raises `BadRow` where that is a call.
    """
    for call in message.get("tool_calls", ()):
        if call["function"]["name"] not in text:
            raise BadRow(_no_call(call, index))
    words = _words_of(message)
    if message.get("tool_calls") and not holds(text, words):
        yield "the chat template leaves out what is said beside the call of a tool"
    if not words.strip() and "tool_calls" not in message:
        yield "an answer is empty, so that only its end is trained"
    thoughts = message.get(THOUGHTS[0])
    if thoughts and not holds(text, thoughts):
        yield f'the chat template has no place for "{THOUGHTS[0]}", which is left out'
    before, thought, _ = words.rpartition("</think>")
    if thought and not holds(text, before.replace("<think>", "")):
        yield "the chat template leaves out what is thought before an answer"


def holds(text: str, words: str) -> bool:
    """Whether a text has these words, perhaps escaped or trimmed by a template."""
    if words.strip() in text:
        return True
    longest = max(_WORDS.findall(words), key=len, default="")
    return longest in text


def check_answers(messages: Sequence[Message], text: str) -> None:
    """Raises `BadRow` where a text does not hold what the answers of a chat say."""
    for index, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        calls = message.get("tool_calls", ())
        for call in calls:
            if call["function"]["name"] not in text:
                raise BadRow(_no_call(call, index))
        if any(repr(parsed(call["function"]["arguments"])) in text for call in calls if _odd(call)):
            raise BadRow(f"the chat template writes the call in message {index} as Python")
        if not calls and not holds(text, _words_of(message).rpartition("</think>")[2]):
            raise BadRow(
                f"the chat template leaves out what message {index}, the assistant's, says: give"
                " --chat-template a file with one that writes it"
            )


def _no_call(call: Mapping[str, Any], index: int) -> str:
    return (
        f"the chat template leaves out the call of {call['function']['name']!r} in message {index}:"
        " give --chat-template a file with one that writes calls, or leave such rows out with"
        " --skip-bad-rows"
    )


def _odd(call: Mapping[str, Any]) -> bool:
    """Whether the arguments of a call look different in Python than in JSON."""
    arguments = parsed(call["function"]["arguments"])
    return repr(arguments) != json.dumps(arguments, ensure_ascii=False, default=str)


def _words_of(message: Message) -> str:
    return str(message["content"])

"""A chat in any of the forms people have, as one form: OpenAI's, with what templates look for.

| keys of the row                                   | whose                                   |
|---------------------------------------------------|-----------------------------------------|
| `messages`, (`tools`)                             | OpenAI, and most sets on the hub        |
| `conversations` [{from, value}, …], (`system`)    | ShareGPT                                |
| `prompt` [messages], `completion` [messages]      | TRL: of the prompt nothing is trained   |

A message has a role, words (`content`: a string, or parts of type text), perhaps calls of tools
(`tool_calls`, once `function_call`), the thoughts before an answer (`reasoning_content`,
`thinking` or `reasoning`), and a `weight`: 0 for an answer that is not to be trained. What is not
used is told.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from unfrozen.errors import is_deep

_SURROGATE: Final = re.compile("[\ud800-\udfff]")  # no text, and tokenizers refuse it


class BadRow(ValueError):
    """Why a row cannot be used; the reader of the file adds file and line number."""


def string(row: Mapping[str, Any], key: str) -> str:
    """The text under a key. Raises `BadRow` where it is none, or holds half a character."""
    value = row.get(key)
    if not isinstance(value, str):
        got = "is missing" if value is None else f"is {type(value).__name__} {value!r}"[:80]
        raise BadRow(f'"{key}" {got}, but must be a string')
    if (half := _SURROGATE.search(value)) is not None:
        raise BadRow(f'"{key}" holds half a character (\\u{ord(half[0]):04x} at {half.start()})')
    return value


def content(message: Mapping[str, Any]) -> str:
    """The words of a message: a string, or parts of type text, one after the other."""
    value = message.get("content")
    if not isinstance(value, list):
        return string(message, "content")
    for part in value:
        kind = part.get("type", "text") if isinstance(part, dict) else type(part).__name__
        if kind != "text":
            raise BadRow(
                f'"content" has a part of type {str(kind)[:40]!r}, and only text is trained: take'
                " such parts out, or leave such rows out with --skip-bad-rows"
            )
    return "".join(string(part, "text") for part in value)


def check_unicode(text: str) -> str:
    """A text that is to be encoded. Raises `BadRow` where it holds half a character."""
    if not text.isascii() and (half := _SURROGATE.search(text)) is not None:
        raise BadRow(f"it holds half a character (\\u{ord(half[0]):04x})")
    return text


def parsed(value: object) -> object:
    """What a string of JSON holds; anything else as it is."""
    if not isinstance(value, str) or is_deep(value):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


Message = dict[str, Any]
ROLES: Final = ("system", "developer", "user", "assistant", "tool")
_OTHER_ROLES: Final = {
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "function": "tool",
    "function_response": "tool",
    "observation": "tool",
    "ipython": "tool",
}
THOUGHTS: Final = ("reasoning_content", "thinking", "reasoning")  # the first is told to templates
CONVERSATIONS: Final = ("conversations", "conversation")
_OF_ROW: Final = ("tools", "functions", "parallel_tool_calls", "chat_template_kwargs", "system")
_OF_MESSAGE: Final = (
    *("role", "content", "weight", "name", "tool_call_id", "tool_calls", "function_call"),
    *("from", "value", *THOUGHTS),
)


@dataclass(slots=True)
class Chat:
    """Messages of one form. `trained` are the places of the answers that are to be learned."""

    messages: list[Message]
    trained: list[int]
    tools: list[dict[str, Any]] | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    """What else the template is told: `chat_template_kwargs` of the row."""
    notes: list[str] = field(default_factory=list)

    def upto(self, last: int, trained: list[int]) -> dict[str, Any]:
        """The messages up to number `last` as a row of their own that trains only some of them."""
        messages = [
            {**message, **({} if index in trained else {"weight": 0})}
            if message["role"] == "assistant"
            else message
            for index, message in enumerate(self.messages[: last + 1])
        ]
        row: dict[str, Any] = {"messages": messages}
        if self.tools:
            row["tools"] = self.tools
        if self.extra:
            row["chat_template_kwargs"] = self.extra
        return row


def is_chat(row: Mapping[str, Any]) -> bool:
    """Whether a row is a chat, by its keys."""
    named = any(row.get(key) is not None for key in ("messages", *CONVERSATIONS))
    return named or "messages" in row or isinstance(row.get("prompt"), list)


def read(row: Mapping[str, Any]) -> Chat:
    """The chat of a row. Raises `BadRow` with the message and the reason."""
    notes: list[str] = []
    if row.get("messages") is None and isinstance(row.get("prompt"), list):
        asked = _messages(row["prompt"], "prompt", notes)
        answered = _messages(_listed(row.get("completion")), "completion", notes)
        for message in asked:
            if message["role"] == "assistant":
                message["weight"] = 0
        messages = [*asked, *answered]
        main: tuple[str, ...] = ("prompt", "completion")
    else:
        key = next((k for k in ("messages", *CONVERSATIONS) if row.get(k) is not None), "messages")
        messages, main = _messages(row.get(key), key, notes), (key,)
    if isinstance(row.get("system"), str) and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": string(row, "system")})
    notes += unused(row, (*main, *_OF_ROW))
    trained = [
        index
        for index, message in enumerate(messages)
        if message.pop("weight", 1) and message["role"] == "assistant"
    ]
    return Chat(messages, trained, _tools(row), _extra(row), notes)


def unused(row: Mapping[str, Any], known: tuple[str, ...]) -> Iterator[str]:
    """A remark for each key of a row that changes nothing."""
    for key, value in row.items():
        if key not in known and value not in (None, "", []):
            yield f"{str(key)[:40]!r} is a key that nothing is made of"


def _listed(value: object) -> object:
    return [value] if isinstance(value, dict) else value


def _messages(value: object, key: str, notes: list[str]) -> list[Message]:
    value = parsed(value)  # a cell of a table holds JSON
    if not isinstance(value, list) or not value:
        raise BadRow(f'"{key}" must be a list of at least one {{"role", "content"}}')
    return [_message(index, message, notes) for index, message in enumerate(value)]


def _message(index: int, given: object, notes: list[str]) -> Message:
    if not isinstance(given, dict):
        raise BadRow(f"message {index} is {type(given).__name__}, but must be an object")
    said = given
    if "role" not in given and "from" in given:  # ShareGPT
        said = {**given, "role": given["from"], "content": given.get("value")}
    role = _OTHER_ROLES.get(str(said.get("role")), said.get("role"))
    if role not in ROLES:
        raise BadRow(
            f"message {index} has role {said.get('role')!r}, but must have one of"
            f" {', '.join(ROLES)}: write it as one of these, or leave such rows out with"
            " --skip-bad-rows"
        )
    message: Message = {"role": role}
    try:
        calls = _calls(said)
        if (calls and not said.get("content")) or said.get("role") == "function_call":
            message["content"] = ""  # what OpenAI writes as null or leaves out
        else:
            message["content"] = content(said)
        _add(message, said, calls)
    except BadRow as error:
        raise BadRow(f"message {index}: {error}") from None
    notes.extend(f"of its messages, {note}" for note in unused(said, _OF_MESSAGE))
    return message


def _add(message: Message, said: Mapping[str, Any], calls: list[dict[str, Any]]) -> None:
    """What else a message has."""
    if calls:
        message["tool_calls"] = calls
    thoughts = next((said[key] for key in THOUGHTS if said.get(key)), None)
    if thoughts is not None:
        message["reasoning_content"] = string({"reasoning_content": thoughts}, "reasoning_content")
    for key in ("name", "tool_call_id"):
        if said.get(key) is not None:
            message[key] = string(said, key)
    weight = said.get("weight", 1)
    if weight not in (None, 0, 1):
        raise BadRow(f'"weight" is {str(weight)[:40]}, but must be 0 (not trained) or 1')
    message["weight"] = 1 if weight is None else int(weight)


def _calls(said: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Its calls of tools as OpenAI writes them now. Arguments stay as they were given."""
    given = said.get("tool_calls") or []
    if said.get("role") == "function_call":  # ShareGPT with tools: JSON in place of words
        given = parsed(said.get("content"))
        given = given if isinstance(given, list) else [given]
    elif said.get("function_call"):
        given = [said["function_call"]]
    if not isinstance(given, list):
        raise BadRow(f'"tool_calls" is {type(given).__name__}, but must be a list')
    calls = []
    for call in given:
        inner = call.get("function", call) if isinstance(call, dict) else call
        if not isinstance(inner, dict) or not isinstance(inner.get("name"), str):
            raise BadRow('a call of a tool has no name: it is {"name", "arguments"}')
        arguments = inner.get("arguments")
        function = {"name": inner["name"], "arguments": {} if arguments is None else arguments}
        named = {"id": call["id"]} if isinstance(call.get("id"), str) else {}
        calls.append({**named, "type": "function", "function": function})
    return calls


def _tools(row: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """The tools that the model is told of, each as OpenAI writes it now."""
    given = parsed(row.get("tools") or row.get("functions"))
    if not given:
        return None
    if not isinstance(given, list):
        raise BadRow(f'"tools" is {type(given).__name__}, but must be a list of tools')
    tools = []
    for tool in map(parsed, given):
        inner = tool.get("function", tool) if isinstance(tool, dict) else tool
        if not isinstance(inner, dict) or not isinstance(inner.get("name"), str):
            raise BadRow('one of "tools" has no name: it is {"name", "description", "parameters"}')
        tools.append({"type": "function", "function": inner})
    return tools


def _extra(row: Mapping[str, Any]) -> dict[str, Any]:
    extra = parsed(row.get("chat_template_kwargs") or {})
    if not isinstance(extra, dict) or not all(isinstance(key, str) for key in extra):
        raise BadRow('"chat_template_kwargs" must be an object')
    return extra

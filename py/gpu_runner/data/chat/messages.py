"""Chats in the formats of public data sets, converted to OpenAI's as chat templates read it.

| keys of the row                                   | format                                  |
|---------------------------------------------------|-----------------------------------------|
| `messages`, (`tools`)                             | OpenAI, and most data sets on the hub   |
| `conversations` [{from, value}, …], (`system`)    | ShareGPT                                |
| `prompt` [messages], `completion` [messages]      | TRL: the prompt is not trained          |

A message has a role, a `content` (a string, or parts of type text), perhaps tool calls
(`tool_calls`, formerly `function_call`), the reasoning before an answer (`reasoning_content`,
`thinking` or `reasoning`), and a `weight`: 0 for an answer that is not to be trained. Other keys
are reported as unused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from unfrozen.errors import is_deep

_SURROGATE: Final = re.compile("[\ud800-\udfff]")  # tokenizers refuse it


class BadRow(ValueError):
    """A row cannot be used, for a reason to which the caller adds the place."""


def string(row: Mapping[str, Any], key: str) -> str:
    """Return the text under a key. Raises `BadRow` for no text, or half a surrogate pair."""
    value = row.get(key)
    if not isinstance(value, str):
        got = "is missing" if value is None else f"is {type(value).__name__} {value!r}"[:80]
        raise BadRow(f'"{key}" {got}, but must be a string')
    if (half := _SURROGATE.search(value)) is not None:
        raise BadRow(f'"{key}" holds half a character (\\u{ord(half[0]):04x} at {half.start()})')
    return value


def content(message: Mapping[str, Any]) -> str:
    """Return the text of a message, which is a string or parts of type text. Raises `BadRow`."""
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
    """Return a text that is to be encoded. Raises `BadRow` for half a surrogate pair."""
    if not text.isascii() and (half := _SURROGATE.search(text)) is not None:
        raise BadRow(f"it holds half a character (\\u{ord(half[0]):04x})")
    return text


def parsed(value: object) -> object:
    """Return the value of a JSON string; anything else unchanged."""
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
THOUGHTS: Final = ("reasoning_content", "thinking", "reasoning")
"""Keys of the reasoning before an answer; templates are given the first."""
CONVERSATIONS: Final = ("conversations", "conversation")
_OF_ROW: Final = ("tools", "functions", "parallel_tool_calls", "chat_template_kwargs", "system")
_OF_MESSAGE: Final = (
    *("role", "content", "weight", "name", "tool_call_id", "tool_calls", "function_call"),
    *("from", "value", *THOUGHTS),
)


_MEDIA: Final = ("image", "images", "video", "videos", "audio", "audios")


@dataclass(frozen=True, slots=True)
class Chat:
    """Messages in OpenAI's format; `trained` are the indices of the answers to be trained."""

    messages: list[Message]
    trained: list[int]
    tools: list[dict[str, Any]] | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    """Further variables of the template: `chat_template_kwargs` of the row."""
    notes: tuple[str, ...] = ()
    """Remarks about what is not used."""

    def as_row(self, last: int, trained: Collection[int]) -> dict[str, Any]:
        """Return the messages up to index `last` as a row that trains only some of the answers."""
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
    """Return whether the keys of a row are those of a chat."""
    named = any(row.get(key) is not None for key in ("messages", *CONVERSATIONS))
    return named or "messages" in row or isinstance(row.get("prompt"), list)


def read_chat(row: Mapping[str, Any]) -> Chat:
    """Return the chat of a row. Raises `BadRow` with the index of the message and the reason."""
    if row.get("messages") is None and isinstance(row.get("prompt"), list):
        asked, notes = _messages(row["prompt"], "prompt")
        answered, more = _messages(_listed(row.get("completion")), "completion")
        for message in asked:
            if message["role"] == "assistant":
                message["weight"] = 0
        messages, notes = [*asked, *answered], [*notes, *more]
        main: tuple[str, ...] = ("prompt", "completion")
    else:
        key = next((k for k in ("messages", *CONVERSATIONS) if row.get(k) is not None), "messages")
        (messages, notes), main = _messages(row.get(key), key), (key,)
    if isinstance(row.get("system"), str) and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": string(row, "system")})
    notes += unused_keys(row, (*main, *_OF_ROW))
    trained = [
        index
        for index, message in enumerate(messages)
        if message.pop("weight", 1) and message["role"] == "assistant"
    ]
    return Chat(messages, trained, _tools(row), _extra(row), tuple(notes))


def unused_keys(row: Mapping[str, Any], known: tuple[str, ...]) -> list[str]:
    """Return a remark for each key of a row that is not used.

    Raises `BadRow` for pictures and sounds: answers to them would be trained without them.
    """
    if media := next((key for key in _MEDIA if row.get(key)), None):
        raise BadRow(
            f'"{media}" is not read, only text is trained: take the key out where the text stands'
            " for itself, or leave such rows out with --skip-bad-rows"
        )
    return [
        f"the key {str(key)[:40]!r} is not used"
        for key, value in row.items()
        if key not in known and value not in (None, "", [])
    ]


def _listed(value: object) -> object:
    return [value] if isinstance(value, dict) else value


def _messages(value: object, key: str) -> tuple[list[Message], list[str]]:
    """Return the messages under a key, and remarks about their unused keys. Raises `BadRow`."""
    value = parsed(value)  # a cell of a table holds JSON
    if not isinstance(value, list) or not value:
        raise BadRow(f'"{key}" must be a list of at least one {{"role", "content"}}')
    messages = [_message(index, message) for index, message in enumerate(value)]
    unused = [note for message in value for note in unused_keys(message, _OF_MESSAGE)]
    return messages, [f"of its messages, {note}" for note in unused]


def _message(index: int, given: object) -> Message:
    if not isinstance(given, dict):
        raise BadRow(f"message {index} is {type(given).__name__}, but must be an object")
    fields = given
    if "role" not in given and "from" in given:  # ShareGPT
        fields = {**given, "role": given["from"], "content": given.get("value")}
    role = _OTHER_ROLES.get(str(fields.get("role")), fields.get("role"))
    if role not in ROLES:
        raise BadRow(
            f"message {index} has role {fields.get('role')!r}, but must have one of"
            f" {', '.join(ROLES)}: write it as one of these, or leave such rows out with"
            " --skip-bad-rows"
        )
    message: Message = {"role": role}
    try:
        calls = _calls(fields)
        if (calls and not fields.get("content")) or fields.get("role") == "function_call":
            message["content"] = ""  # what OpenAI writes as null or leaves out
        else:
            message["content"] = content(fields)
        return message | _optional_fields(fields, calls)
    except BadRow as error:
        raise BadRow(f"message {index}: {error}") from None


def _optional_fields(fields: Mapping[str, Any], calls: list[dict[str, Any]]) -> Message:
    """Return what a message has beside role and content. Raises `BadRow`."""
    message: Message = {"tool_calls": calls} if calls else {}
    thoughts = next((fields[key] for key in THOUGHTS if fields.get(key)), None)
    if thoughts is not None:
        message["reasoning_content"] = string({"reasoning_content": thoughts}, "reasoning_content")
    for key in ("name", "tool_call_id"):
        if fields.get(key) is not None:
            message[key] = string(fields, key)
    weight = fields.get("weight", 1)
    if weight not in (None, 0, 1):
        raise BadRow(f'"weight" is {str(weight)[:40]}, but must be 0 (not trained) or 1')
    message["weight"] = 1 if weight is None else int(weight)
    return message


def _calls(fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the tool calls of a message in OpenAI's format, arguments unchanged."""
    given = fields.get("tool_calls") or []
    if fields.get("role") == "function_call":  # ShareGPT with tools: JSON in place of text
        given = parsed(fields.get("content"))
        given = given if isinstance(given, list) else [given]
    elif fields.get("function_call"):
        given = [fields["function_call"]]
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
    """Return the tools of a row in OpenAI's format. Raises `BadRow`."""
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

"""Chats as people have them, read as one form."""

import json
from typing import Any

import pytest

from chat_corpus import CALL, RESULT, WEATHER, asks, says
from gpu_runner.data.chat.messages import BadRow, read_chat

ARGUMENTS = '{"city": "Oslo"}'


def test_openai_writes_no_words_beside_a_call() -> None:
    for words in ({"content": ""}, {"content": None}, {}):
        called = {key: value for key, value in CALL.items() if key != "content"} | words
        chat = read_chat({"messages": [asks("Hi?"), called, RESULT], "tools": [WEATHER]})
        assert chat.messages[1]["content"] == ""
        assert chat.messages[1]["tool_calls"][0]["function"]["name"] == "get_weather"
        assert (chat.trained, chat.tools, chat.notes) == ([1], [WEATHER], ())


def test_calls_and_tools_of_older_files_are_read() -> None:
    called = {"role": "assistant", "content": None}
    called |= {"function_call": {"name": "get_weather", "arguments": ARGUMENTS}}
    result = {"role": "function", "name": "get_weather", "content": "rain"}
    row = {"messages": [asks("Hi?"), called, result], "functions": [WEATHER["function"]]}
    chat = read_chat(row)
    assert chat.messages[1]["tool_calls"][0]["function"] == called["function_call"]
    assert chat.messages[2]["role"] == "tool"
    assert chat.tools == [WEATHER]
    assert read_chat(row | {"functions": json.dumps([WEATHER])}).tools == [WEATHER]


def test_sharegpt_is_read_with_its_system_and_its_calls() -> None:
    call = json.dumps({"name": "get_weather", "arguments": {"city": "Oslo"}})
    turns = [("human", "Hi?"), ("function_call", call), ("observation", "rain"), ("gpt", "Rain.")]
    row = {
        "conversations": [{"from": who, "value": words} for who, words in turns],
        "system": "Terse.",
        "tools": json.dumps([WEATHER["function"]]),
    }
    chat = read_chat(row)
    roles = [message["role"] for message in chat.messages]
    assert roles == ["system", "user", "assistant", "tool", "assistant"]
    assert chat.messages[2]["tool_calls"][0]["function"]["arguments"] == {"city": "Oslo"}
    assert (chat.trained, chat.tools, chat.notes) == ([2, 4], [WEATHER], ())


def test_of_a_conversational_prompt_no_answer_is_trained() -> None:
    row: dict[str, Any] = {"prompt": [asks("a"), says("b"), asks("c")], "completion": [says("d")]}
    assert read_chat(row).trained == [3]
    assert read_chat(row | {"completion": says("d")}).trained == [3]


def test_thoughts_have_several_names_and_become_one() -> None:
    for name in ("reasoning_content", "thinking", "reasoning"):
        chat = read_chat({"messages": [asks("Hi?"), says("Yes.", **{name: "Hmm."})]})
        assert chat.messages[1] == says("Yes.", reasoning_content="Hmm.")
        assert chat.notes == ()


def test_words_may_come_in_parts() -> None:
    parts = [{"type": "text", "text": "Hi"}, {"type": "text", "text": "?"}]
    assert read_chat({"messages": [{"role": "user", "content": parts}]}).messages == [asks("Hi?")]


def test_what_nothing_is_made_of_is_reported() -> None:
    row = {"messages": [asks("Hi?"), says("Yes.", mood="glad")], "meta": 1, "empty": None}
    assert read_chat(row).notes == (
        "of its messages, the key 'mood' is not used",
        "the key 'meta' is not used",
    )


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (says("a", weight=0.5), r'message 0: "weight" is 0\.5, but must be 0 \(not trained\) or 1'),
        (says("a", tool_calls={}, name=3), 'message 0: "name" is int 3'),
        (says("a", tool_calls="f"), 'message 0: "tool_calls" is str, but must be a list'),
        (says("a", tool_calls=[{"function": {}}]), "message 0: a call of a tool has no name"),
        (asks([{"type": "image_url"}]), "a part of type 'image_url', and only text is trained"),
        ({"role": "narrator", "content": "a"}, "has role 'narrator', but must have one of system"),
        ({"from": "narrator", "value": "a"}, "has role 'narrator'"),
    ],
)
def test_a_message_of_no_known_form_is_refused_with_the_reason(
    message: dict[str, Any], reason: str
) -> None:
    with pytest.raises(BadRow, match=reason):
        read_chat({"messages": [message]})


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"tools": {"a": 1}}, '"tools" is dict, but must be a list of tools'),
        ({"tools": [{"type": "function"}]}, 'one of "tools" has no name'),
        ({"chat_template_kwargs": [1]}, '"chat_template_kwargs" must be an object'),
    ],
)
def test_what_stands_beside_the_messages_is_refused_with_the_reason(
    more: dict[str, Any], reason: str
) -> None:
    with pytest.raises(BadRow, match=reason):
        read_chat({"messages": [asks("a")], **more})

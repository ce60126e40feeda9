"""Chat templates in the style of each family of models, and chats to send through them."""

import re
from pathlib import Path
from typing import Any

import tiny_llama

FOLDER = Path(__file__).parent / "gpu_runner" / "data" / "chat" / "corpus"
FAMILIES = tuple(sorted(path.stem for path in FOLDER.glob("*.jinja")))
_TOKEN = re.compile(r"<\|?[\w/▁｜|]+\|?>|\[/?[A-Z_a-z]+\]")

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
CALL = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {
            "id": "call_abc123DEF",
            "type": "function",
            "function": {"name": "get_weather", "arguments": '{"city": "Oslo"}'},
        }
    ],
}
RESULT = {"role": "tool", "tool_call_id": "call_abc123DEF", "content": "rain, 4 degrees"}


def source(family: str) -> str:
    """The template of a family."""
    return (FOLDER / f"{family}.jinja").read_text("utf-8").rstrip("\n")


def tokenizer(template: str) -> Any:
    """One token a byte, and every token of its own that a template names."""
    made = tiny_llama.tokenizer()
    made.add_special_tokens({"bos_token": "<s>"})
    made.add_tokens(sorted(set(_TOKEN.findall(template)) - {"<s>", "</s>"}), special_tokens=True)
    made.chat_template = template
    return made


def asks(words: str) -> dict[str, Any]:
    """A message of the user."""
    return {"role": "user", "content": words}


def says(words: str, **more: Any) -> dict[str, Any]:
    """One of the assistant."""
    return {"role": "assistant", "content": words, **more}


CHATS: dict[str, dict[str, Any]] = {
    "single": {"messages": [asks("Hi?"), says("Yes.")]},
    "turns": {"messages": [asks("Hi?"), says("Yes."), asks("So?"), says("No.")]},
    "system": {"messages": [{"role": "system", "content": "Terse."}, asks("Hi?"), says("Yes.")]},
    "developer": {
        "messages": [{"role": "developer", "content": "Terse."}, asks("Hi?"), says("Yes.")]
    },
    "thinking": {
        "messages": [
            asks("Hi?"),
            says("Yes.", reasoning_content="Hmm."),
            asks("So?"),
            says("No.", reasoning_content="Mm."),
        ]
    },
    "tools": {
        "messages": [asks("Hi?"), CALL, RESULT, says("Rain."), asks("So?"), says("No.")],
        "tools": [WEATHER],
    },
}

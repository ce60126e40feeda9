"""How a template ends answers: with a token of its own, or with the first of the next turn."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Any, Final

from gpu_runner.data.chat.fields import BadRow
from gpu_runner.data.chat.messages import Message
from gpu_runner.data.chat.template import Template

_LOOKS_LIKE_ONE: Final = r"<[|｜][^<>\n]{1,40}[|｜]>|</?s>|<(?:start|end)_of_\w{1,20}>"
_SAMPLES: Final = ("\ufdd2question", "\ufdd3answer", "\ufdd4reply")  # texts that no template has
_LONGEST: Final = 60  # characters of a token


class Ends:
    """What stands around the answers of one template, found out from samples."""

    def __init__(self, template: Template, tokenizer: Any) -> None:
        self._template = template
        special = {str(token.content) for token in tokenizer.added_tokens_decoder.values()}
        told = "|".join(re.escape(token) for token in sorted(special, key=len, reverse=True))
        self._token = re.compile(f"{told}|{_LOOKS_LIKE_ONE}" if told else _LOOKS_LIKE_ONE)
        self._last_resort = str(tokenizer.eos_token or "")

    def common(self, one: str, other: str) -> int:
        """Characters that two texts have in common from their start, no token taken apart."""
        length = alike(one, other)
        for text in (one, other):
            for token in self._token.finditer(text, max(0, length - _LONGEST)):
                if token.start() >= length:
                    break
                if token.end() > length:
                    length = token.start()
        return length

    def ends(self, text: str) -> bool:
        """Whether a text ends in a token of its own."""
        bare = text.rstrip()
        return any(
            token.end() == len(bare)
            for token in self._token.finditer(bare, max(0, len(bare) - _LONGEST))
        )

    def only_tokens(self, text: str) -> bool:
        """Whether there is nothing but such tokens and space in a text."""
        return not self._token.sub("", text).strip()

    def first_token(self, text: str) -> re.Match[str] | None:
        """The first token of its own in a text, if only space stands before it."""
        token = self._token.search(text)
        return token if token is not None and not text[: token.start()].strip() else None

    @cached_property
    def header(self) -> str:
        """What the template writes where the model is to begin, behind a question."""
        asked = [_user(_SAMPLES[0])]
        try:
            after = self._template.render(asked, answer_next=True).text
            return after[alike(after, self._template.render(asked).text) :]
        except BadRow:
            return ""

    @cached_property
    def closes(self) -> bool:
        """Whether the template writes an end behind an answer."""
        question, answer, _ = _SAMPLES
        return bool(self._sampled([_user(question), _assistant(answer)], answer).strip())

    @cached_property
    def next_turn(self) -> str:
        """What ends an answer where the template ends none: the first token of the next turn."""
        question, answer, reply = _SAMPLES
        text = self._sampled([_user(question), _assistant(answer), _user(reply)], answer)
        return self._first(text.partition(reply)[0]) or self._last_resort

    @cached_property
    def next_result(self) -> str:
        """The same behind the call of a tool."""
        question, _, reply = _SAMPLES
        call = {"type": "function", "function": {"name": "call", "arguments": {}}}
        asked = [_user(question), {**_assistant(""), "tool_calls": [call]}]
        try:
            before = self._template.render(asked).text
            after = self._template.render([*asked, {"role": "tool", "content": reply}]).text
        except BadRow:
            return self.next_turn
        return (after.startswith(before) and self._first(after[len(before) :])) or self.next_turn

    def missing(self, message: Message) -> str:
        """What is to be added behind an answer so that the model learns to stop."""
        if self.closes:
            return ""
        return self.next_result if "tool_calls" in message else self.next_turn

    @cached_property
    def remark(self) -> str:
        """What is to be said of the ends, "" for nothing."""
        if self.closes or self.next_turn != self._last_resort:
            return ""
        if not self._last_resort:
            return (
                "neither the chat template nor the tokenizer has an end for answers, so that the"
                " model does not learn to stop"
            )
        return (
            f"the chat template ends no answer, so that {self._last_resort} is added behind the"
            " last one of a row, for the model to learn to stop"
        )

    def _first(self, text: str) -> str:
        token = self._token.search(text)
        return token[0] if token else ""

    def _sampled(self, messages: list[Message], behind: str) -> str:
        """What the template writes behind some words of a sample."""
        try:
            _, found = self._template.fitted(messages, None, {})
        except BadRow:
            return ""
        return found.text.rpartition(behind)[2]


def alike(one: str, other: str) -> int:
    """How many characters two texts have in common from their start."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _user(words: str) -> Message:
    return {"role": "user", "content": words}


def _assistant(words: str) -> Message:
    return {"role": "assistant", "content": words}
